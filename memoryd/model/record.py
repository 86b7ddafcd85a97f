"""A memory together with its vector, and the seal that tells our own writes from other people's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

import msgspec

from memoryd.model.memory import Memory, MemoryType
from memoryd.model.scope import Scope

# What a person may edit in the archive. Counters, hashes and vectors are ours: they follow from these.
SEALED = (
    "tenant", "project", "agent_id", "session_id", "memory_type", "tier", "content", "importance", "source_tool",
    "metadata", "tags", "related", "derived_from", "version", "valid_from", "valid_until", "shared_with",
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """What both stores keep of a memory. `vector` is little-endian float32, None while pending; `followed_by` are the ids of the
    events after it that the vector has read."""

    memory: Memory
    vector: bytes | None = None
    followed_by: tuple[str, ...] = ()


class Tombstone(msgspec.Struct, frozen=True):
    """What remains of a forgotten memory: never content. Times are in microseconds since 1970.

    `forgotten_at` is the daemon's time, for people; `said_at` is Redis's, and decides what came first.
    """

    id: str
    tenant: str
    project: str
    agent_id: str
    session_id: str
    memory_type: MemoryType
    version: int
    forgotten_at: int
    said_at: int

    @property
    def scope(self) -> Scope:
        """Where the memory was stored."""
        return Scope(self.tenant, self.project, self.agent_id, self.session_id)

    def place(self, now: datetime) -> Memory:
        """A memory of which nothing but the place and the version is known."""
        return Memory(
            id=self.id, tenant=self.tenant, project=self.project, agent_id=self.agent_id, session_id=self.session_id,
            memory_type=self.memory_type, content="", content_hash="", importance=0, created_at=now, last_accessed=now,
            version=self.version, valid_from=now, recorded_at=now,
        )  # fmt: skip


def seal(memory: Memory) -> str:
    """A digest of everything that only memoryd changes together with the version.

    A document whose seal does not fit its content was written by someone else and needs a version of its own.
    """
    values = [getattr(memory, name) for name in SEALED]
    if not memory.shared_with:  # the last: a memory that is nobody else's has the seal that it had before there were shares
        values.pop()
    return hashlib.sha256(msgspec.json.encode(values, order="deterministic")).hexdigest()
