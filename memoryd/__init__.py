"""memoryd: the memory of AI agents, as a daemon.

The map: `protocol` (how agents speak to it) → `engine` (the verbs) → `hot` (Redis) and `archive` (MongoDB);
`embed` and the package `memoryd_sync` follow the journal that every write leaves; `recall` ranks; `local` brings
the servers to a laptop; `cli` is the command. Words, keys and limits: `model`, `keys`, `limits`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memoryd.errors import MemorydError

if TYPE_CHECKING:
    from memoryd.model.memory import Memory
    from memoryd.protocol.client import MemoryClient, connect

__version__ = "0.1.0"
__all__ = ["Memory", "MemoryClient", "MemorydError", "connect"]

_HOMES = {
    "Memory": "memoryd.model.memory",
    "MemoryClient": "memoryd.protocol.client",
    "connect": "memoryd.protocol.client",
}


def __getattr__(name: str) -> Any:
    # The client brings redis along; a daemon's command that only prints its help should not wait for it.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'memoryd' has no attribute {name!r}")
