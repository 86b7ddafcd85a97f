"""memoryd sync"""

from __future__ import annotations

import os
import sys


def sync() -> None:
    """Run the sync service, which keeps Redis and MongoDB telling one story (the same as `memoryd-sync`)."""
    # A process of its own package: memoryd does not import what stands on it.
    os.execv(sys.executable, [sys.executable, "-m", "memoryd_sync"])  # noqa: S606
