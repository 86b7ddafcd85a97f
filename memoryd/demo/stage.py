"""What every chapter has at hand: the open stores, a client, the ledger and the voice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from memoryd.archive.store import Archive
from memoryd.config import Settings
from memoryd.demo.conversation import Conversation
from memoryd.demo.ledger import Ledger
from memoryd.demo.spans import Receiver
from memoryd.demo.voice import Voice
from memoryd.demo.wait import until
from memoryd.keys import Keys
from memoryd.model.results import Stats
from memoryd.protocol.client import MemoryClient, connect

TENANT, AGENT = "demo", "scout"


@dataclass(frozen=True)
class Stage:
    """`memory` speaks the agent protocol. Redis and the archive are open only to be looked into, as a person would."""

    voice: Voice
    settings: Settings
    data: Path
    memory: MemoryClient
    redis: Redis
    blocking: Redis
    archive: Archive
    keys: Keys
    spans: Receiver
    has_model: bool
    conversation: Conversation
    ledger: Ledger

    def connect(self, *, project: str) -> MemoryClient:
        """A client of the same daemon for another project."""
        return connect(self.settings.redis_url, tenant=TENANT, project=project, agent=AGENT)

    async def drained(self) -> Stats:
        """Wait until the journal's followers have seen everything. Raises NeverHappened."""

        async def look() -> Stats | None:
            stats = await self.memory.stats()
            return stats if idle(stats, has_model=self.has_model) else None

        return await until(look, "the journals are drained")


def idle(stats: Stats, *, has_model: bool) -> bool:
    """Whether nothing is left to embed or to archive."""
    return not (stats.embed_backlog or stats.archive_backlog or (has_model and stats.pending))


def text(fields: Mapping[bytes, bytes], name: str) -> str:
    """A field of a Redis hash or stream entry as text."""
    return fields.get(name.encode(), b"").decode()
