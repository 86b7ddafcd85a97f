"""Sync: the archiver (journal → MongoDB) and the follower (MongoDB's change stream → Redis). See docs/sync.md."""
