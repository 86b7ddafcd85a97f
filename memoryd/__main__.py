"""`python -m memoryd` is the command `memoryd`."""

from memoryd.cli import main

main()
