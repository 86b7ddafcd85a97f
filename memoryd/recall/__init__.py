"""Ranking: pure functions over candidates. What was found is decided in `hot.search`, what comes first here.

`pool` holds the candidates of one recall as arrays, each of `words`, `speech`, `meaning` and `worth` some signals,
`profiles` what they weigh, `rank` their sum. See docs/recall.md.
"""
