"""Looks for bytes in every place of both stores, knowing nothing of how memoryd arranges them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.database import AsyncDatabase
from redis.asyncio import Redis


async def keys_holding(redis: Redis, needles: Sequence[bytes]) -> list[str]:
    """Every key whose name or value, of whatever type, holds one of the needles."""
    return [
        key.decode() async for key in redis.scan_iter(count=1000) if _in(needles, key, *await _value(redis, key))
    ]  # fmt: skip


async def documents_holding(database: AsyncDatabase[Any], collection: str, needles: Sequence[bytes]) -> list[str]:
    """The ids of every document of a collection that holds one of the needles, in whatever field."""
    raw = database.get_collection(collection, codec_options=CodecOptions(document_class=RawBSONDocument))
    return [str(one["_id"]) async for one in raw.find({}) if _in(needles, one.raw)]


def _in(needles: Sequence[bytes], *texts: bytes) -> bool:
    return any(needle in text for needle in needles for text in texts)


async def _value(redis: Any, key: bytes) -> list[bytes]:
    """All of a key's value: as its type reads it, and as Redis would write it to disk."""
    raw = [await redis.dump(key) or b""]
    match await redis.type(key):
        case b"string":
            raw.append(await redis.get(key) or b"")
        case b"hash":
            raw += [part for pair in (await redis.hgetall(key)).items() for part in pair]
        case b"stream":
            raw += [part for _, fields in await redis.xrange(key) for pair in fields.items() for part in pair]
    return raw
