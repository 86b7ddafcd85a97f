"""What a verb of the protocol is: the forms of its arguments and its result, and who carries it out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from memoryd.hot.changes import Request
from memoryd.model.scope import Scope

Handler: TypeAlias = Callable[[Scope, Any, Request], Awaitable[Any]]
"""Carries out one verb for a scope that is checked: gets the parsed arguments, gives the result. Raises MemorydErrors."""


@dataclass(frozen=True)
class Form:
    """The shapes of one verb on the wire. `shown` stands for `args` in its JSON Schema, where the daemon parses later."""

    args: Any
    result: Any
    writes: bool = False
    """Whether it is refused while too many requests wait or Redis has little room; reads, and what makes room, go on."""
    shown: Any = None
    long: bool = False
    """Whether it may take longer than a dead daemon's request waits for its takeover; it is kept from one meanwhile."""
