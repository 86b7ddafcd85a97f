"""Bring a Redis to the schemas: create what is missing, rebuild what changed, refuse what does not fit."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

from redis.asyncio import Redis
from redis.commands.search.index_definition import IndexDefinition, IndexType
from redis.exceptions import LockNotOwnedError, ResponseError
from redisvl.schema import IndexSchema

from memoryd_schemas.errors import SchemaError
from memoryd_schemas.fingerprint import fingerprint
from memoryd_schemas.indexes import KINDS, VectorSettings, definition
from memoryd_schemas.redis_server import check_server, text
from memoryd_schemas.redis_state import RedisState, Vectors, load_state, refuse_unfit, save_state

APPLY_SECONDS_MAX = 10.0  # applying takes milliseconds; Redis fills and frees indexes in the background
WAIT_SECONDS_MAX = 15.0  # must exceed APPLY_SECONDS_MAX: a daemon that died while applying is waited out


async def apply_redis(
    client: Redis, *, state_key: str, model: str | None, vector: VectorSettings | None, buckets: int
) -> list[str]:
    """Make the indexes what the schemas and `vector` say; returns what was done, in words, empty when nothing was due.

    Idempotent, and safe when several daemons start at once. Without a model the store knows words only, unless it
    has had a model before: then its vectors stay searchable. Documents are never touched: a changed index is rebuilt
    from them by Redis in the background. Raises SchemaError or VectorMismatch before anything is changed.
    """
    vectors = Vectors(model, vector) if model is not None and vector is not None else None
    await check_server(client)
    async with _alone(client, f"{state_key}:lock"):
        stored = await load_state(client, state_key)
        wanted = _wanted(stored, RedisState(buckets, vectors))
        done = await _apply_indexes(client, stored, wanted)
        if stored != wanted:
            await save_state(client, state_key, wanted)
    return done


def _wanted(stored: RedisState | None, configured: RedisState) -> RedisState:
    """The state to reach. Raises when it cannot be reached from `stored`."""
    if stored is not None:
        refuse_unfit(stored, configured)
        configured = replace(configured, vectors=configured.vectors or stored.vectors)
    vector = _settings(configured)
    # Each query says its own ef_runtime: another default is no reason to build a graph again.
    built = replace(vector, ef_runtime=0) if vector else None
    return replace(configured, fingerprints={kind: fingerprint(definition(kind, built)) for kind in KINDS})


def _settings(state: RedisState) -> VectorSettings | None:
    return state.vectors.settings if state.vectors else None


async def _apply_indexes(client: Redis, stored: RedisState | None, wanted: RedisState) -> list[str]:
    existing = {text(name) for name in await client.execute_command("FT._LIST")}  # type: ignore[no-untyped-call]
    known = stored.fingerprints if stored else {}
    done = []
    for kind in KINDS:
        index = IndexSchema.from_dict(definition(kind, _settings(wanted)))
        if index.index.name not in existing:
            await _create(client, index)
            done.append(f"created index {index.index.name}")
        elif known.get(kind) != wanted.fingerprints[kind]:
            await _drop(client, index.index.name)
            await _create(client, index)
            done.append(f"recreated index {index.index.name}: its definition changed; Redis is filling it again")
    return done


async def _create(client: Redis, index: IndexSchema) -> None:
    storage = IndexType[index.index.storage_type.name]
    by_prefix = IndexDefinition(prefix=[index.index.prefix], index_type=storage)  # type: ignore[no-untyped-call]
    with _already("Index already exists"):
        await client.ft(index.index.name).create_index(index.redis_fields, definition=by_prefix)


async def _drop(client: Redis, name: str) -> None:
    with _already("no such index", "Unknown Index name", "Unknown index name"):
        await client.ft(name).dropindex(delete_documents=False)


@contextlib.contextmanager
def _already(*messages: str) -> Iterator[None]:
    """Let pass what somebody else did a moment ago."""
    try:
        yield
    except ResponseError as error:
        if not any(message in str(error) for message in messages):
            raise


@contextlib.asynccontextmanager
async def _alone(client: Redis, name: str) -> AsyncIterator[None]:
    """One apply at a time, or two first daemons with different models would both believe to have set up the store."""
    lock = client.lock(name, timeout=APPLY_SECONDS_MAX, blocking_timeout=WAIT_SECONDS_MAX)
    if not await lock.acquire():
        raise SchemaError("another memoryd has been applying the schemas for too long", hint="start this one again")
    try:
        yield
    finally:
        with contextlib.suppress(LockNotOwnedError):  # it ran out, and every step above is safe beside another apply
            await lock.release()
