"""Ranking: pure functions over candidates. What was found is decided in `hot.search`, what comes first here.

`pool` holds the candidates of one recall as arrays, each of `words`, `speech`, `meaning`, `when` and `worth` some
signals, `profiles` what they weigh, `rank` their sum, `diverse` another order. See docs/recall.md.
"""
