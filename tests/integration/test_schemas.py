"""Applying the schemas to real servers, again and again and at once, and what the validators let in."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace
from typing import Any

import pytest
from bson import Binary, Int64
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import WriteError
from redis.asyncio import Redis

from memoryd_schemas import mongo_apply, redis_state
from memoryd_schemas.errors import SchemaError, VectorMismatch
from memoryd_schemas.indexes import KINDS, VectorSettings
from memoryd_schemas.mongo_apply import apply_mongo
from memoryd_schemas.redis_apply import apply_redis
from memoryd_schemas.redis_server import check_server
from memoryd_schemas.redis_state import drop_vectors, load_state
from tests.waiting import eventually

Document = dict[str, Any]
Mongo = AsyncDatabase[Document]

KEY = "aether:schema"
VECTOR = VectorSettings(dims=4, algorithm="hnsw", datatype="float32", m=16, ef_construction=200, ef_runtime=150)
ID = "mem_" + "0a" * 16


async def apply(
    client: Redis, *, model: str | None = "one", vector: VectorSettings | None = VECTOR, buckets: int = 16
) -> list[str]:
    return await apply_redis(client, state_key=KEY, model=model, vector=vector, buckets=buckets)


async def knows_vectors(client: Redis, kind: str) -> bool:
    """Whether an index has a vector field, whichever form FT.INFO answers in."""
    info: Any = await client.execute_command("FT.INFO", f"aether:index:{kind}")  # type: ignore[no-untyped-call]
    return "VECTOR" in str(info)


async def found(client: Redis, kind: str, query: str, *params: Any) -> set[str]:
    """The keys that a query finds."""
    command = ["FT.SEARCH", f"aether:index:{kind}", query, "NOCONTENT", *params, "DIALECT", "2"]
    reply: Any = await client.execute_command(*command)  # type: ignore[no-untyped-call]
    if isinstance(reply, dict):
        return {one[b"id"].decode() for one in reply[b"results"]}
    return {key.decode() for key in reply[1:]}


# --- Redis ----------------------------------------------------------------------------------------------------------


async def test_the_first_apply_creates_every_index_and_the_second_does_nothing(redis: Redis) -> None:
    assert await apply(redis) == [f"created index aether:index:{kind}" for kind in KINDS]
    assert await apply(redis) == []


async def test_a_memory_is_found_by_its_words_its_scope_and_its_meaning(redis: Redis) -> None:
    await apply(redis)
    key, vector = "aether:memory:semantic:{0a}:Acme:p:" + ID, struct.pack("<4f", 1, 0, 0, 0)
    fields: Any = {"id": ID, "tenant": "Acme", "project": "p", "content": "Ada prefers teas", "embedding": vector}
    await redis.hset(key, mapping=fields)
    assert await found(redis, "semantic", "@content:(tea)") == {key}
    assert await found(redis, "semantic", "@tenant:{Acme}") == {key}
    assert await found(redis, "semantic", "@tenant:{acme}") == set()
    nearest = await found(redis, "semantic", "*=>[KNN 1 @embedding $v]", "PARAMS", "2", "v", vector)
    assert nearest == {key}


async def test_json_documents_are_found_by_what_they_hold(redis: Redis) -> None:
    await apply(redis)
    session: Any = {"tenant": "t", "head": {"status": "open", "message_count": 2}}
    await redis.json().set("aether:memory:working:{0a}:t:p:s1", "$", session)
    agent: Any = {"tenant": "t", "agent_id": "scout", "task": "reading maps", "tools": ["web", "shell"]}
    await redis.json().set("aether:agent:state:{0a}:t:p:scout", "$", agent)
    assert await found(redis, "working", "@status:{open} @message_count:[2 2]") == {"aether:memory:working:{0a}:t:p:s1"}
    assert await found(redis, "agent_state", "@tools:{shell} @task:map") == {"aether:agent:state:{0a}:t:p:scout"}


async def test_a_changed_definition_is_rebuilt_and_keeps_the_documents(redis: Redis) -> None:
    await apply(redis)
    await redis.hset("aether:memory:semantic:{0a}:t:p:" + ID, mapping={"tenant": "t", "content": "kettle"})
    done = await apply(redis, vector=replace(VECTOR, m=32))
    assert [one.split(":")[2] for one in done] == ["semantic", "episodic"]
    assert all("its definition changed" in one for one in done)

    async def again() -> bool:
        return bool(await found(redis, "semantic", "@content:kettle"))

    await eventually(again, what="the memory is indexed again")
    assert await apply(redis, vector=replace(VECTOR, m=32)) == []


async def test_another_width_of_the_search_rebuilds_nothing(redis: Redis) -> None:
    """Each query says its own `ef_runtime`."""
    await apply(redis)
    assert await apply(redis, vector=replace(VECTOR, ef_runtime=50)) == []


async def test_a_redis_emptied_at_the_wrong_moment_is_prepared_again(redis: Redis) -> None:
    """Somebody wrote one field beside a state that had just gone; no daemon could read what was left, for ever."""
    await apply(redis)
    client: Any = redis
    await client.delete(KEY)
    await client.hset(KEY, "origin", "0a1b")
    await apply(redis)
    assert await load_state(redis, KEY) is not None
    assert await client.hget(KEY, "origin") == b"0a1b"


async def test_an_index_that_somebody_dropped_is_created_again(redis: Redis) -> None:
    await apply(redis)
    await redis.ft("aether:index:episodic").dropindex()
    assert await apply(redis) == ["created index aether:index:episodic"]


async def test_an_index_of_unknown_origin_is_rebuilt(redis: Redis) -> None:
    """An apply that died before it noted the state leaves such indexes behind."""
    await apply(redis)
    await redis.delete(KEY)
    assert len(await apply(redis)) == len(KINDS)


@pytest.mark.parametrize(
    ("model", "vector"),
    [("two", VECTOR), ("one", replace(VECTOR, dims=8)), ("one", replace(VECTOR, datatype="float16"))],
)
async def test_vectors_of_another_model_or_form_change_nothing(
    redis: Redis, model: str, vector: VectorSettings
) -> None:
    await apply(redis)
    before = await redis.hgetall(KEY)
    with pytest.raises(VectorMismatch) as caught:
        await apply(redis, model=model, vector=vector)
    assert "memoryd reindex" in (caught.value.hint or "")
    assert await redis.hgetall(KEY) == before
    assert await apply(redis) == []


async def test_a_forgotten_model_makes_room_for_another(redis: Redis) -> None:
    await apply(redis)
    await drop_vectors(redis, KEY)
    assert len(await apply(redis, model="two", vector=replace(VECTOR, dims=8))) == 3  # those with vectors
    state = await load_state(redis, KEY)
    assert state is not None
    assert state.vectors is not None
    assert (state.vectors.model, state.vectors.settings.dims) == ("two", 8)


async def test_another_number_of_buckets_is_refused(redis: Redis) -> None:
    await apply(redis)
    with pytest.raises(SchemaError, match="buckets are fixed once data exists"):
        await apply(redis, buckets=32)


async def test_a_newer_state_is_refused(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    await apply(redis)
    monkeypatch.setattr(redis_state, "SCHEMA_VERSION", 0)
    with pytest.raises(SchemaError, match="written by a newer memoryd"):
        await apply(redis)


async def test_a_store_of_words_gets_its_vector_field_with_its_first_model(redis: Redis) -> None:
    await apply(redis, model=None, vector=None)
    assert not await knows_vectors(redis, "semantic")
    assert len(await apply(redis)) == 3
    assert await knows_vectors(redis, "semantic")


async def test_a_daemon_without_a_model_keeps_the_vectors_that_are_there(redis: Redis) -> None:
    await apply(redis)
    await redis.ft("aether:index:semantic").dropindex()
    assert await apply(redis, model=None, vector=None) == ["created index aether:index:semantic"]
    assert await knows_vectors(redis, "semantic")
    assert await apply(redis) == []


async def test_daemons_that_start_at_once_agree(redis: Redis) -> None:
    done = await asyncio.gather(*(apply(redis) for _ in range(8)))
    assert sorted(len(one) for one in done) == [0] * 7 + [len(KINDS)]


async def test_of_two_first_daemons_with_different_models_one_is_refused(redis: Redis) -> None:
    results = await asyncio.gather(apply(redis), apply(redis, model="two"), return_exceptions=True)
    assert sorted(isinstance(one, VectorMismatch) for one in results) == [False, True]


async def test_nothing_but_the_state_is_left_behind(redis: Redis) -> None:
    await apply(redis)
    assert await redis.keys("*") == [KEY.encode()]


async def test_a_redis_that_may_evict_memories_is_refused(redis: Redis) -> None:
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(SchemaError, match="allkeys-lru") as caught:
            await apply(redis)
        assert "CONFIG SET maxmemory-policy" in (caught.value.hint or "")
        await redis.config_set("maxmemory-policy", "volatile-ttl")
        await check_server(redis)
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")


async def test_a_redis_without_the_modules_is_refused_by_name(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    async def bare() -> list[dict[bytes, bytes]]:
        return [{b"name": b"search"}, {b"name": b"ReJSON"}]

    monkeypatch.setattr(redis, "module_list", bare)
    with pytest.raises(SchemaError, match=r"RedisBloom \(bf\), RedisTimeSeries \(timeseries\)"):
        await apply(redis)


async def test_another_database_than_0_is_refused(redis: Redis) -> None:
    async with redis.client() as other:
        await other.select(1)
        with pytest.raises(SchemaError, match="database 0 only"):
            await apply(other)
        await other.select(0)


# --- MongoDB --------------------------------------------------------------------------------------------------------

BY_HAND: Document = {"_id": ID, "tenant": "t", "project": "p", "memory_type": "fact", "content": "Ada prefers tea."}
WHOLE: Document = {
    **BY_HAND, "agent_id": "", "session_id": "s", "tier": "short", "content_hash": "x", "importance": 0.5,
    "created_at": Int64(1), "last_accessed": Int64(1), "valid_from": Int64(1), "recorded_at": Int64(1),
    "valid_until": None, "access_count": 0, "source_tool": "", "metadata": {"a": 1}, "tags": ["x"], "related": [],
    "derived_from": [], "version": 1, "seal": "x", "embedding_model": "m",
    "embedding": Binary(b"\x27\x00" + bytes(16), 9),
}  # fmt: skip
TOMBSTONE: Document = {
    "_id": ID, "tombstone": True, "tenant": "t", "project": "p", "agent_id": "", "session_id": "",
    "memory_type": "fact", "version": 2, "forgotten_at": Int64(1),
}  # fmt: skip
VERSION: Document = {**WHOLE, "_id": f"{ID}:1", "memory_id": ID, "op": "stored"}


async def test_the_first_apply_makes_the_collections_and_the_second_does_nothing(mongo: Mongo) -> None:
    done = await apply_mongo(mongo)
    assert [one for one in done if "collection " in one] == [f"created collection {n}" for n in mongo_apply.COLLECTIONS]
    assert "created index history on versions" in done
    assert await apply_mongo(mongo) == []
    assert set(await mongo.list_collection_names()) == set(mongo_apply.COLLECTIONS)


async def test_daemons_that_start_at_once_make_one_archive(mongo: Mongo) -> None:
    await asyncio.gather(*(apply_mongo(mongo) for _ in range(6)))
    assert await apply_mongo(mongo) == []
    assert await mongo["sync_state"].count_documents({}) == 1


async def test_a_collection_that_was_born_without_its_validator_gets_it(mongo: Mongo) -> None:
    await mongo["memories"].insert_one({"_id": "written by a person before there was a schema"})
    assert "changed the validator of collection memories" in await apply_mongo(mongo)
    with pytest.raises(WriteError):
        await mongo["memories"].insert_one({"_id": "another"})


async def test_a_newer_archive_is_refused_and_left_alone(mongo: Mongo) -> None:
    await mongo["sync_state"].insert_one({"_id": mongo_apply.SCHEMA_ID, "version": mongo_apply.SCHEMA_VERSION + 1})
    with pytest.raises(SchemaError, match="written by a newer memoryd"):
        await apply_mongo(mongo)
    assert await mongo.list_collection_names() == ["sync_state"]


async def test_a_newer_memoryd_that_came_between_wins(mongo: Mongo, monkeypatch: pytest.MonkeyPatch) -> None:
    await apply_mongo(mongo)
    monkeypatch.setattr(mongo_apply, "SCHEMA_VERSION", 2)
    await apply_mongo(mongo)
    monkeypatch.setattr(mongo_apply, "SCHEMA_VERSION", 1)
    with pytest.raises(SchemaError, match="written by a newer memoryd"):
        await mongo_apply._record(mongo)


async def test_a_foreign_index_in_the_way_is_named(mongo: Mongo) -> None:
    await mongo["versions"].create_index([("op", 1)], name="history")
    await mongo["memories"].create_index([("tenant", 1), ("project", 1), ("session_id", 1)], name="mine")
    with pytest.raises(SchemaError, match="index on memories") as caught:
        await apply_mongo(mongo)
    assert "dropIndex" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "document",
    [BY_HAND, WHOLE, TOMBSTONE, {**BY_HAND, "created_at": 1.7e15, "version": 2}, {**BY_HAND, "pinned": True}],
    ids=["by hand", "whole", "tombstone", "numbers of mongosh", "a field of a later version"],
)
async def test_memories_and_tombstones_are_let_in(mongo: Mongo, document: Document) -> None:
    await apply_mongo(mongo)
    await mongo["memories"].insert_one(document)


BAD_MEMORIES: dict[str, Document] = {
    "no content": {k: v for k, v in BY_HAND.items() if k != "content"},
    "no tenant": {**BY_HAND, "tenant": ""},
    "another id": {**BY_HAND, "_id": "mem_0A" + "0a" * 15},
    "an id with a newline": {**BY_HAND, "_id": ID + "\n"},
    "another type": {**BY_HAND, "memory_type": "opinion"},
    "another tier": {**BY_HAND, "tier": "hot"},
    "content that is no text": {**BY_HAND, "content": 7},
    "importance above 1": {**BY_HAND, "importance": 1.01},
    "importance that is no number": {**BY_HAND, "importance": float("nan")},
    "a time that is no number": {**BY_HAND, "created_at": float("nan")},
    "a time without end": {**BY_HAND, "valid_until": float("inf")},
    "version 0": {**BY_HAND, "version": 0},
    "tags that are no strings": {**BY_HAND, "tags": [1]},
    "a vector without its model": {**BY_HAND, "embedding": Binary(b"x")},
    "a vector as a list": {**BY_HAND, "embedding": [1.0], "embedding_model": "m"},
    "a tombstone with content": {**TOMBSTONE, "content": "Ada prefers tea."},
    "a tombstone with anything else": {**TOMBSTONE, "metadata": {}},
    "a tombstone without a version": {k: v for k, v in TOMBSTONE.items() if k != "version"},
    "a tombstone that denies it": {**TOMBSTONE, "tombstone": False},
    "a memory that is called a tombstone": {**WHOLE, "tombstone": True},
    "a memory that is called no tombstone": {**WHOLE, "tombstone": False},
}


@pytest.mark.parametrize("document", BAD_MEMORIES.values(), ids=BAD_MEMORIES.keys())
async def test_what_is_no_memory_is_kept_out(mongo: Mongo, document: Document) -> None:
    await apply_mongo(mongo)
    with pytest.raises(WriteError):
        await mongo["memories"].insert_one(document)


async def test_a_tombstone_takes_the_place_of_its_memory(mongo: Mongo) -> None:
    await apply_mongo(mongo)
    await mongo["memories"].insert_one(WHOLE)
    await mongo["memories"].replace_one({"_id": ID}, TOMBSTONE)
    with pytest.raises(WriteError):
        await mongo["memories"].update_one({"_id": ID}, {"$set": {"content": "back again"}})


async def test_versions_say_whose_they_are(mongo: Mongo) -> None:
    await apply_mongo(mongo)
    await mongo["versions"].insert_one(VERSION)
    with pytest.raises(WriteError):
        await mongo["versions"].insert_one({**VERSION, "_id": f"{ID}:0"})
    with pytest.raises(WriteError):
        await mongo["versions"].insert_one({**VERSION, "_id": f"{ID}:2", "memory_id": "elsewhere"})


async def test_a_forgetting_in_the_history_says_nothing_of_what_was_forgotten(mongo: Mongo) -> None:
    await apply_mongo(mongo)
    with pytest.raises(WriteError):
        await mongo["versions"].insert_one({**VERSION, "op": "forgotten"})
    bare = {"_id": f"{ID}:2", "memory_id": ID, "version": 2, "op": "forgotten", "tenant": "t", "project": "p"}
    await mongo["versions"].insert_one(bare)
