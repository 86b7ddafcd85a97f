"""memoryd doctor: what is wrong with an installation, what that leads to, and the command that mends it.

A check is a small function whose name says what it looks at; it answers None when all is well. The files go by subject, and
`examine` runs them all. A check changes nothing: what it reads is bounded, and it has a time limit.
"""
