"""Each fault that can be made on a real installation is found by its check and by no other; a healthy one is well."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memoryd import MemoryClient, limits
from memoryd.archive.client import open_mongo
from memoryd.archive.store import Archive
from memoryd.config import EmbedderKind, Settings
from memoryd.doctor import mongo, redis_server, surroundings
from memoryd.doctor.examine import CHECKS, Examination, examine, name_of
from memoryd.doctor.patient import Patient
from memoryd.hot.client import open_redis
from memoryd.keys import DEAD_LETTERS, FOLLOWER_LEASE, FOLLOWER_PLACE, REQUESTS, SCHEMA
from memoryd.local.ports import free_port
from memoryd.stores import prepare_redis
from memoryd_schemas.mongo_apply import apply_mongo
from tests.fakes import HashEmbedder
from tests.integration.commands import Commands, Said, run
from tests.mongot import COPY, answering
from tests.waiting import eventually, settles
from tests.world import World

ELSEWHERE = {"append-only-errors", "replica-set"}  # of servers of their own, in test_doctor_servers.py
NOBODY = "mem_" + "0f" * 16


@dataclass
class Case:
    """One installation, and what a fault may change of it."""

    world: World
    memory: MemoryClient
    patch: pytest.MonkeyPatch
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def redis(self) -> Any:
        """Its Redis."""
        return self.world.redis

    @property
    def database(self) -> Any:
        """Its archive."""
        return self.world.archive.database

    async def examine(self) -> Examination:
        """What the doctor says."""
        settings = self.world.settings.model_copy(update=self.settings)
        async with open_redis(settings.redis_url) as redis, open_mongo(settings.mongo_url) as client:
            return await examine(Patient(settings, redis, Archive(client[settings.mongo_database]), self.environment))

    async def findings(self) -> set[str]:
        """Which checks have found something."""
        return {one.check for one in (await self.examine()).findings}

    async def prepare(self) -> None:
        """What a daemon does at its start."""
        await prepare_redis(self.world.redis, self.world.keys, self.world.settings, self.world.embedder)


Fault = Callable[[Case], Any]
"""Makes a fault for a block."""


def config(**lines: Any) -> Fault:
    """Lines of Redis's configuration, a value or what makes one of INFO."""

    @asynccontextmanager
    async def fault(case: Case) -> AsyncIterator[None]:
        info = await case.redis.info()
        before: dict[str, Any] = {}
        for name, value in ((name.replace("_", "-"), value) for name, value in lines.items()):
            before |= await case.redis.config_get(name)
            await case.redis.config_set(name, value(info) if callable(value) else value)
        yield
        for name, value in before.items():
            await case.redis.config_set(name, value)

    return fault


@asynccontextmanager
async def large_blocks(case: Case) -> AsyncIterator[None]:
    """A Redis that makes room for many vectors at a time."""
    client: Any = case.redis
    [before] = dict(await client.execute_command("FT.CONFIG", "GET", "VSS_MAX_RESIZE")).values()
    await client.execute_command("FT.CONFIG", "SET", "VSS_MAX_RESIZE", 0)
    yield
    await client.execute_command("FT.CONFIG", "SET", "VSS_MAX_RESIZE", before)


def setting(**changes: Any) -> Fault:
    """Settings of whoever asks the doctor; a value, or what makes one of the test's folder."""

    @asynccontextmanager
    async def fault(case: Case) -> AsyncIterator[None]:
        case.settings = {name: value(case.folder) if callable(value) else value for name, value in changes.items()}
        yield
        case.settings = {}

    return fault


def environment(**variables: str) -> Fault:
    """Variables of whoever asks."""

    @asynccontextmanager
    async def fault(case: Case) -> AsyncIterator[None]:
        case.environment = variables
        yield
        case.environment = {}

    return fault


def mark(owner: Any, name: str, value: Any) -> Fault:
    """Another mark to hold what is there against: for what no test can make, as a full disk."""

    @asynccontextmanager
    async def fault(case: Case) -> AsyncIterator[None]:
        with case.patch.context() as patch:
            patch.setattr(owner, name, value)
            yield

    return fault


def in_hash(key: str, **values: Any) -> Fault:
    """Fields of a hash in Redis."""

    @asynccontextmanager
    async def fault(case: Case) -> AsyncIterator[None]:
        names = [name.replace("__", ":") for name in values]
        before = dict(zip(names, await case.redis.hmget(key, names), strict=True))
        await case.redis.hset(key, mapping=dict(zip(names, values.values(), strict=True)))
        yield
        for name, value in before.items():
            await (case.redis.hdel(key, name) if value is None else case.redis.hset(key, name, value))

    return fault


def all_of(*faults: Fault) -> Fault:
    """Several at once."""

    @asynccontextmanager
    async def fault(case: Case) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for one in faults:
                await stack.enter_async_context(one(case))
            yield

    return fault


@asynccontextmanager
async def a_replica(case: Case) -> AsyncIterator[None]:
    await case.redis.execute_command("REPLICAOF", "127.0.0.1", free_port())
    yield
    await case.redis.execute_command("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def dropped_index(case: Case) -> AsyncIterator[None]:
    await case.redis.execute_command("FT.DROPINDEX", "aether:index:working")
    yield
    await case.prepare()


@asynccontextmanager
async def unindexable(case: Case) -> AsyncIterator[None]:
    key = case.world.keys.memory("semantic", case.memory.scope, NOBODY)
    await case.redis.hset(key, mapping={"importance": "a lot", "created_at": "once"})
    yield
    await case.redis.delete(key)
    await case.redis.execute_command("FT.DROPINDEX", "aether:index:semantic:1")
    await case.prepare()


@asynccontextmanager
async def a_lost_vector(case: Case) -> AsyncIterator[None]:
    key = await anything(case)
    await case.redis.hset(key, "pending", "1")
    yield
    await case.redis.hdel(key, "pending")


@asynccontextmanager
async def an_endless_key(case: Case) -> AsyncIterator[None]:
    await case.redis.set("aether:claim:x", "1")
    yield
    await case.redis.delete("aether:claim:x")


@asynccontextmanager
async def an_unarchived_record(case: Case) -> AsyncIterator[None]:
    key = await anything(case)
    other = key[: -len(NOBODY)] + key[-len(NOBODY) :][:6] + b"0" * 30
    await case.redis.restore(other, 0, await case.redis.dump(key))
    yield
    await case.redis.delete(other)


async def anything(case: Case) -> Any:
    """The key of some record."""
    return await anext(case.redis.scan_iter(match="aether:memory:semantic:*"))


@asynccontextmanager
async def no_daemon(case: Case) -> AsyncIterator[None]:
    await case.world.stop("daemon")
    await case.redis.delete(REQUESTS)
    await case.redis.xadd(REQUESTS, {"id": "x"}, id="1-1")
    yield
    await case.world.start("daemon")


@asynccontextmanager
async def no_model(case: Case) -> AsyncIterator[None]:
    case.world.embedder.away = True
    kept = await case.memory.store("Ada sails.", type="fact")
    await eventually(partial(_archived, case), what="it is archived")
    yield
    case.world.embedder.away = False
    await case.memory.forget(kept.id)
    await case.world.drained(case.memory)
    await case.redis.delete(DEAD_LETTERS)


@asynccontextmanager
async def a_dead_letter(case: Case) -> AsyncIterator[None]:
    await case.redis.xadd(DEAD_LETTERS, {"group": "embed", "id": NOBODY, "reason": "test"})
    yield
    await case.redis.delete(DEAD_LETTERS)


@asynccontextmanager
async def nothing(case: Case) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def no_group(case: Case) -> AsyncIterator[None]:
    await case.redis.xgroup_destroy("aether:journal:{00}", "archive")
    yield
    await case.redis.xgroup_create("aether:journal:{00}", "archive", id="0")


@asynccontextmanager
async def unarchived_writes(case: Case) -> AsyncIterator[None]:
    kept = await case.memory.store("Ada paints.", type="fact")
    await case.memory.forget(kept.id)
    yield


@asynccontextmanager
async def a_lazy_follower(case: Case) -> AsyncIterator[None]:
    await case.redis.set(FOLLOWER_LEASE, "somebody:1", ex=60)
    yield
    await case.redis.delete(FOLLOWER_LEASE)


@asynccontextmanager
async def a_newer_archive(case: Case) -> AsyncIterator[None]:
    await case.database["sync_state"].update_one({"_id": "schema"}, {"$set": {"version": 99}})
    yield
    await case.database["sync_state"].update_one({"_id": "schema"}, {"$set": {"version": 1}})


def changed_archive(change: Callable[[Any], Any]) -> Fault:
    """Something about a collection that sync makes."""

    @asynccontextmanager
    async def fault(case: Case) -> AsyncIterator[None]:
        await change(case.database)
        yield
        await apply_mongo(case.database)

    return fault


@asynccontextmanager
async def a_profiler(case: Case) -> AsyncIterator[None]:
    await case.database.command("profile", 1, slowms=100_000)
    yield
    await case.database.command("profile", 0)
    await case.database.drop_collection("system.profile")


@asynccontextmanager
async def another_models_index(case: Case) -> AsyncIterator[None]:
    with case.patch.context() as patch:
        search = answering(patch)
        await case.world.archive.vector_search.make(7)
        yield
        assert search.listed
    await case.database.drop_collection(COPY)


def wrong_clock(module: Any) -> Fault:
    """The time of this machine, as one of the doctor's files is told it."""
    return mark(module, "time", SimpleNamespace(time=lambda: time.time() + 60))


HTTP = {"embedder": EmbedderKind.HTTP, "embed_url": "http://127.0.0.1:1/v1"}
ONNX = {"embedder": EmbedderKind.ONNX, "model": "hash-embedder", "cache_dir": lambda folder: folder}
TORCH = {"embedder": EmbedderKind.TRANSFORMERS, "model": "some/other-model"}
LATE = mark(limits, "HEALTH_LAG_SECONDS", 0.0)
FAULTS: Mapping[str, tuple[Fault, set[str]]] = {
    "redis-answers": (setting(redis_url="redis://127.0.0.1:1"), set()),
    "redis-version": (mark(redis_server, "VERSION_MIN", (99, 0)), set()),
    "redis-modules": (mark(redis_server, "MODULES", {"nonsense": "Nonsense"}), set()),
    "redis-is-primary": (a_replica, set()),
    "redis-database": (lambda case: setting(redis_url=f"{case.world.settings.redis_url}/1")(case), set()),
    "eviction-policy": (config(maxmemory_policy="allkeys-lru"), set()),
    "memory-headroom": (config(maxmemory=lambda info: int(info["used_memory"] / 0.85)), set()),
    "append-only-file": (config(appendonly="no"), set()),
    "fsync-policy": (config(appendfsync="no"), set()),
    "stream-nodes": (config(stream_node_max_entries=100), set()),
    "compact-records": (config(hash_max_listpack_value=64), set()),
    "graph-blocks": (large_blocks, set()),
    "client-connections": (config(maxclients=lambda info: info["connected_clients"] + 4), set()),
    "redis-clock": (wrong_clock(redis_server), set()),
    "bucket-count": (setting(buckets=32), set()),
    "indexes-exist": (dropped_index, set()),
    "index-definitions": (in_hash(SCHEMA, fingerprint__working="old"), set()),
    "indexing-failures": (unindexable, set()),
    "reindex-unfinished": (
        in_hash(
            SCHEMA, filling__model="m", filling__slot="2", filling__source="", filling__dims=3, filling__algorithm="flat",
            filling__datatype="float32", filling__m=16, filling__ef_construction=200, filling__ef_runtime=10,
        ),
        set(),
    ),
    "vector-model": (setting(**TORCH), set()),
    "pending-without-work": (a_lost_vector, set()),
    "keys-without-end": (an_endless_key, set()),
    "unarchived-records": (an_unarchived_record, set()),
    "daemon-answers": (no_daemon, {"requests-waiting"}),
    "embedding-lag": (all_of(no_model, LATE), {"follower-place"}),
    "dead-letters": (a_dead_letter, set()),
    "mongo-answers": (setting(mongo_url="mongodb://127.0.0.1:1/?directConnection=true"), set()),
    "mongo-version": (mark(mongo, "MONGO_MAJOR_MIN", 99), set()),
    "oplog": (mark(mongo, "OPLOG_FULL", 0.0), set()),
    "archive-schema": (a_newer_archive, set()),
    "collections": (changed_archive(lambda database: database.drop_collection("agent_states")), set()),
    "validators": (changed_archive(lambda database: database.command("collMod", "receipts", validator={})), set()),
    "archive-indexes": (changed_archive(lambda database: database["receipts"].drop_indexes()), set()),
    "profiler": (a_profiler, set()),
    "vector-index": (another_models_index, set()),
    "mongo-disk": (mark(mongo, "DISK_PERCENT_MAX", 0), set()),
    "mongo-clock": (wrong_clock(mongo), set()),
    "unknown-settings": (environment(MEMORYD_REDIS_ULR="redis://x"), set()),
    "cache-folder": (setting(cache_dir=lambda folder: folder / "file" / "cache"), set()),
    "cache-disk": (mark(surroundings, "DISK_BYTES_MIN", 10**18), set()),
    "model-prepared": (setting(**ONNX), set()),
    "embedding-endpoint": (setting(**HTTP), set()),
    "telemetry-endpoint": (environment(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1"), set()),
    "health-pages": (setting(health_port=1), set()),
}
# While no sync service runs, which is the first of them.
LEASE = {"follower-lease"}
WITHOUT_SYNC: Mapping[str, tuple[Fault, set[str]]] = {
    "follower-lease": (nothing, set()),
    "journal-groups": (no_group, LEASE),
    "follower-place": (all_of(a_lazy_follower, in_hash(FOLLOWER_PLACE, saved_at=1)), set()),
    "journal-room": (all_of(unarchived_writes, mark(limits, "JOURNAL_ENTRIES_MAX", 1)), LEASE),
    "archive-lag": (all_of(unarchived_writes, LATE), LEASE | {"receipts-chained"}),
}
WITH_NOTHING: Mapping[str, tuple[Fault, set[str]]] = {"schema-prepared": (in_hash(SCHEMA, version=99), set())}
AT_THE_SAME_TIME = {"requests-waiting", "receipts-chained"}  # made with another fault


@pytest.fixture
async def case(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Case]:
    """An installation with a memory in it, all of whose parts run."""
    monkeypatch.setattr(limits, "DOCTOR_CHECK_SECONDS", 2.0)  # how long an answer of the daemon is waited for
    monkeypatch.setattr("memoryd.archive.store.ARCHIVE_ANSWER_SECONDS", 4.0)  # one of the faults is that it is away
    (tmp_path / "file").touch()
    async with World(settings.model_copy(update={"cache_dir": tmp_path})) as world, world.connect() as memory:
        world.embedder = HashEmbedder(model="hash-embedder+context")  # as a local model is called
        await world.start("daemon", "sync")
        await memory.store("Ada prefers tea.", type="fact")
        await memory.recall("What does Ada drink?")
        await world.drained(memory)
        yield Case(world, memory, monkeypatch, tmp_path)


def test_every_check_is_proven() -> None:
    """A check that nobody has seen finding something is a promise."""
    names = [name_of(check) for check in CHECKS]
    assert len(names) == len(set(names)) >= 30
    assert set(names) == FAULTS.keys() | WITHOUT_SYNC.keys() | WITH_NOTHING.keys() | ELSEWHERE | AT_THE_SAME_TIME


async def test_each_fault_is_found_by_its_check_and_by_no_other(case: Case) -> None:
    """One after the other on one installation, which is well before the first, and again at the end."""
    await settles(partial(_is_whole, case))
    wrong = await wrongly_found(case, FAULTS)
    await eventually(partial(_well, case), what="all is well again")
    await case.world.stop("sync")
    wrong |= await wrongly_found(case, WITHOUT_SYNC)
    await case.world.stop("daemon")  # it would end at once
    wrong |= await wrongly_found(case, WITH_NOTHING)
    assert wrong == {}


async def wrongly_found(case: Case, faults: Mapping[str, tuple[Fault, set[str]]]) -> dict[str, set[str]]:
    """What was found of each fault, one after the other, where it is not what should be."""
    wrong = {}
    for name, (fault, also) in faults.items():
        async with fault(case):
            try:
                await settles(partial(_is_found, case, {name} | also))
            except AssertionError:
                wrong[name] = await case.findings()
    return wrong


async def _archived(case: Case) -> bool:
    return not (await case.memory.stats()).archive_backlog


async def _is_found(case: Case, names: set[str]) -> None:
    """Asserts that these checks find something and no others; what a machine that stood still was late with passes."""
    assert await case.findings() == names


async def _is_whole(case: Case) -> None:
    healthy = await case.examine()
    assert (healthy.findings, healthy.unchecked, healthy.checked) == ([], {}, len(CHECKS))


async def _well(case: Case) -> bool:
    return not await case.findings()


async def _ends(ask: Callable[[], Awaitable[Said]], code: int) -> Said | None:
    """What it says, when it ends with this code."""
    said = await ask()
    return said if said.code == code else None


async def test_the_command_tells_what_is_wrong_what_follows_and_what_mends_it(case: Case) -> None:
    """By its exit code, too; as a text and as JSON, without a password."""
    memoryd = Commands(case.world.settings)
    memoryd.environment["MEMORYD_CACHE_DIR"] = str(case.folder)

    async def asked() -> Said:
        return await run(("doctor", "--json"), memoryd.environment)

    await eventually(partial(_ends, asked, 0), what="nothing is wrong")
    well = await run(("doctor",), memoryd.environment)
    assert "checks: nothing is wrong" in well.out
    async with config(maxmemory_policy="allkeys-lru")(case):
        said = await eventually(partial(_ends, asked, 1), what="something is wrong")
    [found] = said.json["findings"]
    assert found["check"] == "eviction-policy"
    assert "noeviction" in found["mend"]
    assert found["consequence"]
