"""Many memories that nobody has asked for: they are written past daemon and model, by the atomic step with which a daemon brings
what the archive holds to Redis. So their records are as a daemon writes them; their vectors are random.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import numpy as np
from redis.asyncio import Redis

from memoryd.config import Settings
from memoryd.exchange import BadItem, read
from memoryd.hot.changes import Projection
from memoryd.hot.projecting import project_many
from memoryd.hot.records import Records
from memoryd.keys import Keys
from memoryd.model.ids import event_id, hash_content
from memoryd.model.memory import Memory, MemoryType
from memoryd.model.record import Record
from memoryd.model.scope import Scope

BATCH, AT_ONCE = 250, 3  # one is made and one is read while Redis writes a third
START = datetime(2026, 1, 1, tzinfo=UTC)

# What is asked for lies in scopes that are searched vector by vector, so no recall looks at the graph: it is built as fast
# as Redis builds one. As configured by default it is most of a load (55,000 memories: 2 ms of Redis each instead of 0.5).
GRAPH = {"vector_ef_construction": 16}


def words_of(path: Path) -> list[str]:
    """Every word of a file in LoCoMo's form, as often as it is there."""
    return [word for one in read(path) if not isinstance(one, BadItem) for word in one["content"].split()]


def strangers(words: Sequence[str], count: int, model: str) -> Iterator[Memory]:
    """Memories of others, made of the same words."""
    chance = random.Random(7)
    for number in range(count):
        scope = Scope(f"stranger-{number % 40}", f"project-{number % 80}", "agent", f"session-{number // 50}")
        content = " ".join(chance.choices(words, k=chance.randint(5, 60)))
        yield event(scope, number, content, chance.choice(words), model)


def event(scope: Scope, number: int, content: str, speaker: str, model: str, follows: Sequence[str] = ()) -> Memory:
    """What somebody said, `number` seconds after the first."""
    content_hash, moment = hash_content(content), START + timedelta(seconds=number)
    return Memory(
        id=event_id(scope, str(number), content_hash), tenant=scope.tenant, project=scope.project, agent_id=scope.agent,
        session_id=scope.session, memory_type=MemoryType.EPISODIC, content=content, content_hash=content_hash,
        importance=0.5, created_at=moment, last_accessed=moment, version=1, valid_from=moment, recorded_at=moment,
        embedding_model=model, metadata={"speaker": speaker}, follows=list(follows),
    )  # fmt: skip


def random_vector(chance: random.Random, dims: int) -> bytes:
    """A vector of length 1 in any direction."""
    row = np.random.default_rng(chance.getrandbits(64)).standard_normal(dims).astype("<f4")
    return bytes((row / np.linalg.norm(row)).astype("<f4").tobytes())


async def fill(redis: Redis, settings: Settings, memories: Iterable[Memory], dims: int | None) -> None:
    """Writes them, each with a vector of so many numbers; without vectors where `dims` is None."""
    records, chance, left = Records(redis, Keys(settings.buckets)), random.Random(3), iter(memories)

    async def write() -> None:
        while some := list(islice(left, BATCH)):
            await project_many(records, [Projection(Record(one, random_vector(chance, dims) if dims else None)) for one in some])

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(write())
