"""Bring a Redis to the schemas: create what is missing, rebuild what changed, refuse what does not fit.

What queries name is an alias: behind it stands the index of the vectors that are read. So another model's index can be
filled beside it and take its place in one step (`redis_fill`).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace

from redis.asyncio import Redis
from redis.commands.search.field import Field, TagField
from redis.commands.search.index_definition import IndexDefinition, IndexType
from redis.exceptions import LockNotOwnedError, ResponseError
from redisvl.schema import IndexSchema

from memoryd_schemas.errors import SchemaError
from memoryd_schemas.fingerprint import fingerprint
from memoryd_schemas.indexes import (
    KINDS,
    OTHER_MODEL,
    SLOTS,
    WITH_VECTORS,
    VectorSettings,
    alias_of,
    definition,
    other_slot,
)
from memoryd_schemas.redis_server import check_server, text
from memoryd_schemas.redis_state import RedisState, Vectors, index_name, load_state, refuse_unfit, save_state

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
    async with alone(client, state_key):
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
        vectors = configured.vectors or stored.vectors
        if stored.vectors and vectors:
            vectors = replace(vectors, slot=stored.vectors.slot, source=stored.vectors.source)
        configured = replace(configured, vectors=vectors, filling=stored.filling)
    return replace(configured, fingerprints=fingerprints(configured.vectors))


def fingerprints(vectors: Vectors | None) -> dict[str, str]:
    """What is built for these vectors, by kind."""
    # Each query says its own ef_runtime: another default is no reason to build a graph again.
    built = replace(vectors.settings, ef_runtime=0) if vectors else None
    how = (vectors.slot, OTHER_MODEL) if vectors else ()
    return {kind: fingerprint([definition(kind, built), how if kind in WITH_VECTORS else ()]) for kind in KINDS}


async def _apply_indexes(client: Redis, stored: RedisState | None, wanted: RedisState) -> list[str]:
    existing = {text(name) for name in await client.execute_command("FT._LIST")}  # type: ignore[no-untyped-call]
    known = stored.fingerprints if stored else {}
    done = []
    for kind in KINDS:
        alias, name = alias_of(kind), index_name(kind, wanted.vectors)
        if alias in existing and alias != name:  # an earlier memoryd's, which had no alias: an index hides one of its name
            await drop_index(client, alias)
        if name not in existing:
            await create_index(client, kind, wanted.vectors)
            done.append(f"created index {alias}")
        elif known.get(kind) != wanted.fingerprints[kind]:
            await drop_index(client, name)
            await create_index(client, kind, wanted.vectors)
            done.append(f"recreated index {alias}: its definition changed; Redis is filling it again")
        if alias != name:
            await client.execute_command("FT.ALIASUPDATE", alias, name)  # type: ignore[no-untyped-call]
    return done


async def create_index(client: Redis, kind: str, vectors: Vectors | None) -> None:
    """Creates the index of a kind for these vectors; Redis fills it in the background."""
    index = IndexSchema.from_dict(definition(kind, vectors.settings if vectors else None))
    storage = IndexType[index.index.storage_type.name]
    by_prefix = IndexDefinition(prefix=[index.index.prefix], index_type=storage)  # type: ignore[no-untyped-call]
    fields = index.redis_fields if kind not in WITH_VECTORS else _in_slot(index.redis_fields, vectors)
    with _already("Index already exists"):
        await client.ft(index_name(kind, vectors)).create_index(fields, definition=by_prefix)


def _in_slot(fields: Sequence[Field], vectors: Vectors | None) -> list[Field]:
    """The fields of an index, with those of the vector taken from its slot of a record, under their plain names."""
    slot = vectors.slot if vectors else SLOTS[0]
    for field in fields:
        if field.name in ("embedding", "half", "embedding_model") and slot:
            field.name, field.as_name = f"{field.name}{slot}", field.name
    return [*fields, TagField(f"embedding_model{other_slot(slot)}", as_name=OTHER_MODEL, case_sensitive=True, separator=",")]


async def drop_index(client: Redis, name: str) -> None:
    """Drops an index, whether or not it is there; the records stay."""
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
async def alone(client: Redis, state_key: str) -> AsyncIterator[None]:
    """One apply at a time, or two first daemons with different models would both believe to have set up the store."""
    lock = client.lock(f"{state_key}:lock", timeout=APPLY_SECONDS_MAX, blocking_timeout=WAIT_SECONDS_MAX)
    if not await lock.acquire():
        raise SchemaError("another memoryd has been applying the schemas for too long", hint="start this one again")
    try:
        yield
    finally:
        with contextlib.suppress(LockNotOwnedError):  # it ran out, and every step above is safe beside another apply
            await lock.release()
