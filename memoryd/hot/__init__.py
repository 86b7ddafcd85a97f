"""Redis: the hot tier. Records, the journal, search, and the atomic steps in `lua/`."""
