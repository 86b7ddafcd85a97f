"""`python -m memoryd_sync` is the command `memoryd-sync`."""

from __future__ import annotations

import sys

from memoryd.cli.output import extra_missing


def main() -> None:
    """The console script."""
    try:
        from memoryd_sync.cli import app

        app()
    except ModuleNotFoundError as error:
        sys.exit(extra_missing(error))


if __name__ == "__main__":
    main()
