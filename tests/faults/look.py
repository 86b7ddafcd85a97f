"""What the stores hold after a run, read past memoryd: raw keys and documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import bson
import msgspec

from memoryd.keys import DEAD_LETTERS, PERMANENT_PREFIXES
from tests.faults.lab import Lab
from tests.faults.model import Evidence, Seen, canaries_in

BATCH = 500


async def look(lab: Lab, tenant: str) -> Evidence:
    """Everything of one tenant, and what is wrong for all."""
    versions: dict[str, list[Seen]] = {}
    async for document in lab.archive.versions.find({"tenant": tenant}):
        versions.setdefault(document["memory_id"], []).append(_archived(document))
    archived = {one["_id"]: _archived(one) async for one in lab.archive.memories.find({"tenant": tenant})}
    evidence = Evidence(hot={}, archived=archived, versions=versions, canaries=await _canaries_in_mongo(lab))
    keys = [key async for key in lab.redis.scan_iter(count=BATCH)]
    for start in range(0, len(keys), BATCH):
        for key in await _held(lab, keys[start : start + BATCH]):
            _note(key, evidence, tenant)
    evidence.other += await _dead_letters(lab)
    return evidence


@dataclass
class _Key:
    """A key, and what it holds: compressed, as DUMP gives it, and in its own form where it may be long."""

    name: bytes
    ttl: int
    dump: bytes
    value: Any

    def texts(self) -> Iterator[bytes]:
        """Every byte of it."""
        yield self.name
        yield self.dump
        match self.value:
            case bytes():
                yield self.value
            case dict():
                yield from (part for pair in self.value.items() for part in pair)
            case list():
                yield from (part for _, fields in self.value for pair in fields.items() for part in pair)


_READ = {b"string": "get", b"hash": "hgetall", b"stream": "xrange"}


async def _held(lab: Lab, keys: Sequence[bytes]) -> list[_Key]:
    """In two round trips, because a run leaves thousands of keys."""
    async with lab.redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.ttl(key)
            pipe.dump(key)
            pipe.type(key)
        rows = await pipe.execute()
    async with lab.redis.pipeline(transaction=False) as pipe:
        for key, kind in zip(keys, rows[2::3], strict=True):
            getattr(pipe, _READ.get(kind, "type"))(key)
        values = await pipe.execute()
    return [_Key(*one) for one in zip(keys, rows[::3], [dump or b"" for dump in rows[1::3]], values, strict=True)]


def _note(key: _Key, evidence: Evidence, tenant: str) -> None:
    evidence.canaries |= dict.fromkeys(canaries_in(b"\0".join(key.texts())), f"Redis: {_kind(key.name)}")
    if key.ttl == -1 and not key.name.decode().startswith(PERMANENT_PREFIXES):
        evidence.other.append(f"a key without a TTL that is not declared permanent: {_kind(key.name)}")
    if key.name.startswith(b"aether:memory:") and isinstance(key.value, dict):
        evidence.other += _unfinished(key.value)
        if key.value[b"tenant"] == tenant.encode():
            evidence.hot[key.value[b"id"].decode()] = _hot(key.value)


def _hot(fields: dict[bytes, bytes]) -> Seen:
    metadata = msgspec.json.decode(fields.get(b"metadata", b"{}") or b"{}")
    return Seen(
        int(fields[b"version"]),
        fields[b"content"].decode(),
        int(fields[b"access_count"]),
        _request_of(fields, metadata),
    )


def _request_of(fields: dict[bytes, bytes], metadata: dict[str, Any]) -> str:
    return str(metadata.get("rq", "")) if fields[b"memory_type"] == b"episodic" else ""


def _archived(document: dict[str, Any]) -> Seen:
    if document.get("tombstone"):
        return Seen(int(document["version"]), None)
    event = document["memory_type"] == "episodic"
    request = str(document["metadata"].get("rq", "")) if event else ""
    return Seen(int(document["version"]), document["content"], int(document["access_count"]), request)


def _unfinished(fields: dict[bytes, bytes]) -> list[str]:
    return [f"pending: {fields[b'id'].decode()} never got its vector"] if fields.get(b"pending") == b"1" else []


async def _dead_letters(lab: Lab) -> list[str]:
    rows: Any = await lab.redis.xrange(DEAD_LETTERS)
    return [f"dead letter: {fields[b'group'].decode()}: {fields[b'reason'].decode()}" for _, fields in rows]


async def _canaries_in_mongo(lab: Lab) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in await lab.archive.database.list_collection_names():
        async for document in lab.archive.database[name].find({}):
            found |= dict.fromkeys(canaries_in(bson.encode(document)), f"MongoDB: {name}")
    return found


def _kind(key: bytes) -> str:
    return ":".join(key.decode().split(":")[:3])
