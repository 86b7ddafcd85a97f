"""MongoDB: the warm and cold archive. `memories` holds what is, `versions` everything that was."""
