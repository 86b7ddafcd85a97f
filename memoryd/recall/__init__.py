"""Ranking: pure functions over candidates. What was found is decided in `hot.search`, what comes first here."""
