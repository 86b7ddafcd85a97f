"""`python -m memoryd_sync` is the command `memoryd-sync`."""

from memoryd_sync.cli import main

main()
