"""What the daemons and sync do by the clock: when it is due, who does it, how it ended. See docs/jobs.md."""
