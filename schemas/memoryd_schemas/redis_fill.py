"""Another model's vectors beside those that are read: their index is made, and takes over in one step when they are whole."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis

from memoryd_schemas.errors import SchemaError
from memoryd_schemas.indexes import OTHER_MODEL, PASSING, WITH_VECTORS, alias_of, other_slot
from memoryd_schemas.redis_apply import alone, create_index, drop_index, fingerprints
from memoryd_schemas.redis_state import (
    FILLING,
    FINGERPRINT,
    NAMES,
    RedisState,
    Vectors,
    fields_of,
    index_name,
    index_of,
    load_state,
    save_state,
)

LACKING = f"-@{OTHER_MODEL}:{{$model}} -@pending:{{1}}"
"""Memories that are found by the vectors that are read, and lack those of the `model`."""
FLIP = (files(__package__) / "redis" / "flip.lua").read_text()


async def begin_fill(client: Redis, state_key: str, vectors: Vectors) -> RedisState:
    """Notes that `vectors` are filled, and makes their index. The state then; its `filling` is None when they are read already.

    Safe to repeat. Raises SchemaError where there is nothing to be beside, or another model is being filled.
    """
    async with alone(client, state_key):
        state = await load_state(client, state_key)
        if state is None or state.vectors is None:
            raise SchemaError("this Redis holds no vectors to fill others beside", hint="configure the model and start the daemon")
        if str(state.vectors) == str(vectors):
            return replace(state, filling=None)
        if state.filling and str(state.filling) != str(vectors):
            raise SchemaError(
                f"vectors of another model are being filled: {state.filling}",
                hint="go on with that model, or give it up with `memoryd reindex --abandon`",
            )
        state = replace(state, filling=replace(vectors, slot=other_slot(state.vectors.slot)))
        await save_state(client, state_key, state)
        for kind in WITH_VECTORS:
            await create_index(client, kind, state.filling)
    return state


async def flip(client: Redis, state_key: str, state: RedisState, *, lacking_max: int) -> bool:
    """Has everybody read the filled vectors from now on, if at most so many memories that are found by meaning lack them.

    One step for the aliases and the state: nobody can see the one without the other.
    """
    filled = state.filling
    assert filled is not None, "begun"
    prints = [(f"{FINGERPRINT}{kind}", value) for kind, value in fingerprints(filled).items()]
    fields = [part for pair in (*fields_of(filled).items(), *prints) for part in pair]
    gone = [f"{FILLING}{name}" for name in NAMES]
    aliases = [part for kind in WITH_VECTORS for part in (alias_of(kind), index_name(kind, filled))]
    async with alone(client, state_key):
        script: Any = client.eval
        args = [lacking_max, LACKING, filled.model, len(aliases), *aliases, len(gone), *gone, *fields]
        return bool(await script(FLIP, 1, state_key, *args))


async def end_fill(client: Redis, state_key: str) -> None:
    """Drops the index of the slot that is not read, and makes those anew whose vectors are not filled."""
    async with alone(client, state_key):
        state = await load_state(client, state_key)
        if state and state.vectors and not state.filling:
            await _drop_other(client, state.vectors)
            for kind in PASSING:
                await drop_index(client, index_name(kind, state.vectors))
                await create_index(client, kind, state.vectors)


async def abandon_fill(client: Redis, state_key: str) -> Vectors | None:
    """Gives up what is being filled; returns what that was. The vectors in the records are the caller's."""
    async with alone(client, state_key):
        state = await load_state(client, state_key)
        if state is None or state.filling is None or state.vectors is None:
            return None
        await client.hdel(state_key, *(f"{FILLING}{name}" for name in NAMES))
        await _drop_other(client, state.vectors)
        return state.filling


async def _drop_other(client: Redis, vectors: Vectors) -> None:
    await drop_index_of(client, other_slot(vectors.slot))


async def drop_index_of(client: Redis, slot: str) -> None:
    """Drops the indexes of a slot; nothing may be reading them."""
    for kind in WITH_VECTORS:
        await drop_index(client, index_of(kind, slot))
