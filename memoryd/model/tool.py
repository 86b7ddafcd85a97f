"""What the verbs of tool results answer."""

from __future__ import annotations

from typing import Any

import msgspec


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a tool's result, or what to do without one."""

    outcome: str
    """hit and failed: it is known; compute: this caller does; wait: somebody does; bypass: compute, it is not kept."""
    key: str
    """Names tool and input when the computation is ended."""
    token: str = ""
    """Of `compute`: proves who computes."""
    result: Any = None
    error: str = ""
    age_seconds: float = 0.0
    retry_after_seconds: float = 0.0
    """Of `wait`: when to claim again."""
    distance: float = 0.0
    """Of what is known for another question: how far that is; 0 for the same."""
    degraded: str = ""
    """Why no similar question was looked for, where one was to be."""


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """How a computation ended. late: the claim was not the caller's any more, and nothing was kept."""

    outcome: str


class Invalidated(msgspec.Struct, frozen=True, kw_only=True):
    """What an invalidation dropped."""

    removed: int


class ToolCounts(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's kept results, and how its claims ended since there were none."""

    entries: int
    bytes: int
    hits: int
    similar: int
    """Those of the hits that another question's answer was."""
    failures: int
    misses: int
    waits: int
