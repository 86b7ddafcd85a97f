"""What the stores hold after a run, read past memoryd: raw keys and documents."""

from __future__ import annotations

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
    evidence = Evidence(hot={}, archived=archived, versions=versions, canaries_in_mongo=await _canaries_in_mongo(lab))
    hot: dict[str, Seen] = {}
    async for key in lab.redis.scan_iter(count=BATCH):
        evidence.canaries_in_redis |= await _canaries_of(lab, key)
        if await lab.redis.ttl(key) == -1 and not key.decode().startswith(PERMANENT_PREFIXES):
            evidence.other.append(f"a key without a TTL that is not declared permanent: {_kind(key)}")
        if key.startswith(b"aether:memory:"):
            fields: Any = await lab.redis.hgetall(key)
            evidence.other += _unfinished(fields)
            if fields[b"tenant"] == tenant.encode():
                hot[fields[b"id"].decode()] = _hot(fields)
    evidence.hot = hot
    evidence.other += await _dead_letters(lab)
    return evidence


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


async def _canaries_of(lab: Lab, key: bytes) -> set[str]:
    """The canaries in a key's name and in everything that it holds. DUMP compresses long strings: they are read too."""
    redis: Any = lab.redis
    found = canaries_in(key) | canaries_in(await redis.dump(key) or b"")
    match await redis.type(key):
        case b"string":
            found |= canaries_in(await redis.get(key) or b"")
        case b"hash":
            found |= canaries_in(b"\0".join(part for pair in (await redis.hgetall(key)).items() for part in pair))
        case b"stream":
            for _, fields in await redis.xrange(key):
                found |= canaries_in(b"\0".join(part for pair in fields.items() for part in pair))
    return found


async def _canaries_in_mongo(lab: Lab) -> set[str]:
    found: set[str] = set()
    for name in await lab.archive.database.list_collection_names():
        async for document in lab.archive.database[name].find({}):
            found |= canaries_in(bson.encode(document))
    return found


def _kind(key: bytes) -> str:
    return ":".join(key.decode().split(":")[:3])
