"""The agent protocol, version 1: requests on a stream, answers and events over pub/sub. See docs/protocol.md."""
