"""The vectors in context, judged when all is quiet: each is of what its memory says that it is made of, and of nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from memoryd.archive.codec import to_record as from_document
from memoryd.embed.protocol import InContext, Text
from memoryd.embed.texts import vectors_of
from memoryd.hot.codec import to_record as from_hash
from memoryd.keys import KINDS, memories
from memoryd.model.memory import MemoryType
from memoryd.model.record import Record
from tests.fakes import HashEmbedder
from tests.faults.embeddings import DIMS
from tests.faults.lab import Lab

SETTLE_SECONDS = 10.0  # in which what MongoDB's change stream brings last has come
SAME = 0.999  # the cosine of a vector and itself in halves or bytes; those of two texts do not come near

Records: TypeAlias = Mapping[str, Record]


async def misread(lab: Lab, tenant: str) -> list[str]:
    """What is wrong with a tenant's vectors in the end."""
    turns_after = lab.shape.turns_after
    if turns_after is None:
        return []
    until = time.monotonic() + SETTLE_SECONDS
    while True:
        wrong = await judge(*await _look(lab, tenant), turns_after)
        if not wrong or time.monotonic() > until:
            return wrong
        await asyncio.sleep(0.2)


async def judge(hot: Records, archived: Records, history: Sequence[Record], turns_after: int) -> list[str]:
    """Everything that is wrong, in words. `history` are versions, which may have no vector any more."""
    wrong = []
    for one, place in _places(hot, turns_after).items():
        if (said := _place(hot[one])) != place:
            wrong.append(f"order: {one} stands between {place}, and is read between {said}")
    for one in hot.keys() & archived.keys():
        here, there = ((*_place(found), found.memory.context) for found in (hot[one], archived[one]))
        if here != there:
            wrong.append(f"context: {one} is read between {here} in Redis, {there} in memories")
    wrong += [f"unread: {one} has no vector in Redis" for one, found in hot.items() if found.vector is None]
    for store, records in (("Redis", hot.values()), ("memories", archived.values()), ("versions", history)):
        wrong += await _judge_vectors(store, [one for one in records if one.vector], archived)
    return wrong


async def _judge_vectors(store: str, records: Sequence[Record], living: Records) -> list[str]:
    """Whether each is of the words that it names, as they are now."""
    wrong, texts = [], []
    for one in records:
        before, after = _place(one)
        gone = [other for other in (*before, *after) if other not in living]
        wrong += [f"trace: {one.memory.id} v{one.memory.version} reads {other}, which is gone, in {store}" for other in gone]
        texts.append(_text(one, living))
    made = await vectors_of(HashEmbedder(DIMS, reads_context=True), texts)
    for one, row in zip(records, made, strict=True):
        has = np.frombuffer(one.vector or b"", "<f4")
        if float(row @ has) < SAME * float(np.linalg.norm(has)):
            memory = one.memory
            wrong.append(f"trace: {memory.id} v{memory.version} context {memory.context} has another vector in {store}")
    return wrong


def _text(record: Record, living: Records) -> Text:
    before, after = (" ".join(living[one].memory.content for one in ids if one in living) for ids in _place(record))
    return InContext(before, record.memory.content, after) if before or after else record.memory.content


def _place(record: Record) -> tuple[list[str], list[str]]:
    """Between which events it is read: the earliest first."""
    return record.memory.follows[::-1], list(record.followed_by)


def _places(records: Records, turns_after: int) -> dict[str, tuple[list[str], list[str]]]:
    """Between which each stands: the events of a session by their time, and all others alone."""
    sessions: dict[tuple[str, str], list[str]] = {}
    for memory in sorted((one.memory for one in records.values()), key=lambda one: (one.valid_from, one.id)):
        if memory.memory_type is MemoryType.EPISODIC and memory.session_id:
            sessions.setdefault((memory.agent_id, memory.session_id), []).append(memory.id)
    alone: dict[str, tuple[list[str], list[str]]] = {one: ([], []) for one in records}
    return alone | {
        one: (order[max(0, at - 2) : at], order[at + 1 : at + 1 + turns_after])
        for order in sessions.values()
        for at, one in enumerate(order)
    }


async def _look(lab: Lab, tenant: str) -> tuple[Records, Records, list[Record]]:
    keys = [key for kind in KINDS async for key in lab.redis.scan_iter(match=f"{memories(kind)}*", count=1000)]
    async with lab.redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hgetall(key)
        rows = await pipe.execute() if keys else []
    hot = [from_hash(row, "float32") for row in rows if row.get(b"tenant") == tenant.encode()]
    living = {"tenant": tenant, "tombstone": {"$ne": True}}
    archived = [from_document(one) async for one in lab.archive.memories.find(living)]
    history = [from_document({**one, "_id": one["memory_id"]}) async for one in lab.archive.versions.find(living)]
    return {one.memory.id: one for one in hot}, {one.memory.id: one for one in archived}, history
