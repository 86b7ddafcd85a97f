"""memoryd sync"""

from __future__ import annotations

import os
import sys

import typer

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def sync(context: typer.Context) -> None:
    """Keep Redis and MongoDB telling one story: the sync service; or status, verify, repair, rebuild, dead.

    Without a word it runs the service until it is stopped (the same as `memoryd-sync`).
    """
    # A process of its own package: memoryd does not import what stands on it.
    os.execv(sys.executable, [sys.executable, "-m", "memoryd_sync", *context.args])  # noqa: S606
