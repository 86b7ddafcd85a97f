"""Metrics are kept in both stores without any other tool, and are lost before anything waits for them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from redis.asyncio import Redis

import memoryd.metrics.keep
import memoryd.metrics.series
import memoryd_telemetry.metrics
from memoryd.config import Kept, Settings
from memoryd.errors import NotFound
from memoryd.hot.client import open_redis
from memoryd.keys import Keys
from memoryd.limits import METRICS_TTL_SECONDS
from memoryd.metrics.keep import give
from memoryd.metrics.periods import Measured, Periods
from memoryd.metrics.series import SeriesSink
from memoryd_telemetry import names
from memoryd_telemetry.metrics import keep_metrics, setup_metrics
from memoryd_telemetry.readings import KeptMetrics
from tests.waiting import PATIENCE_SECONDS, eventually
from tests.world import World

CANARY = "zzquince9b"


@pytest.fixture
def kept() -> Iterator[KeptMetrics]:
    """The metrics of this process from now on: a process can set its provider once, and all tests share it."""
    setup_metrics("memoryd-test", fetched=True)
    provider = metrics.get_meter_provider()
    assert isinstance(provider, MeterProvider)
    reading = keep_metrics(provider)
    yield reading
    provider.remove_metric_reader(reading._reader)
    memoryd_telemetry.metrics._kept = None


@pytest.fixture
async def measured(settings: Settings, kept: KeptMetrics, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A memoryd that keeps its metrics in both stores, soon."""
    monkeypatch.setattr(memoryd.metrics.keep, "METRICS_PERIOD_SECONDS", 0.2)
    monkeypatch.setattr(memoryd.metrics.keep, "METRICS_ARCHIVED_SECONDS", 0.3)
    async with World(settings.model_copy(update={"metrics": Kept.MONGO})) as world:
        await world.start("daemon", "sync")
        yield world


async def work(world: World) -> None:
    """Two stores, a recall, and a read of what there is not."""
    async with world.connect() as memory:
        await memory.store(f"Ada prefers {CANARY}.", type="fact")
        await memory.store(f"Bob prefers {CANARY}.", type="fact")
        await memory.recall(f"What about {CANARY}?")
        with pytest.raises(NotFound):
            await memory.get("mem_" + "0" * 32)
        await world.drained(memory)


async def series(redis: Redis, *filters: str) -> dict[str, tuple[dict[str, str], list[tuple[int, float]]]]:
    """The time series that fit: labels and values by their keys. What has only begun counts, too."""
    client: Any = redis
    found = await client.execute_command("TS.MRANGE", "-", "+", "LATEST", "WITHLABELS", "FILTER", *filters)
    return {
        key.decode(): (
            {name.decode(): value.decode() for name, value in row[0].items()},
            [(int(at), float(value)) for at, value in row[-1]],
        )
        for key, row in found.items()
    }


def total(found: dict[str, tuple[dict[str, str], list[tuple[int, float]]]]) -> float:
    """Of all values of all of them."""
    return sum(value for _, values in found.values() for _, value in values)


async def test_operations_become_time_series_with_labels_and_rules(measured: World) -> None:
    """Counted once, although the daemon and sync of this test are one process that both give."""
    await work(measured)
    redis = measured.redis

    async def stored() -> bool:
        rows = ("service=memoryd", "metric=memoryd.operations", "verb=get", "outcome=not_found", "kept=raw")
        return total(await series(redis, *rows)) >= 1

    await eventually(stored, what="the operations are in Redis")
    stores = ("service=memoryd", "metric=memoryd.operations", "verb=store", "outcome=ok")

    async def both() -> bool:
        return total(await series(redis, *stores, "kept=raw")) >= 2

    await eventually(both, what="both stores are in Redis")
    [(key, (labels, values))] = (await series(redis, *stores, "kept=raw")).items()
    assert sum(value for _, value in values) == 2
    assert labels == {
        "metric": "memoryd.operations", "service": "memoryd", "shows": "increase", "verb": "store", "outcome": "ok", "kept": "raw"
    }  # fmt: skip
    assert key.startswith("aether:metrics:{")
    assert all(at % 10_000 == 0 for at, _ in values)
    coarser = await series(redis, *stores, "kept!=raw")
    assert {(about["kept"], about["by"]) for about, _ in coarser.values()} == {("minute", "sum"), ("hour", "sum")}
    assert all(total({name: found}) == 2 for name, found in coarser.items()), "Redis adds them up itself"

    took = await series(redis, "service=memoryd", "metric=memoryd.operation.duration", "verb=recall", "kept=raw")
    shown = {about["shows"]: values[-1][1] for about, values in took.values()}
    assert shown["count"] == 1
    assert 0 < shown["p50"] <= shown["p95"] <= shown["p99"] <= 30
    assert 0 < shown["sum"] <= 30
    highest = await series(redis, "service=memoryd", "metric=memoryd.operation.duration", "verb=recall", "shows=p99", "kept=hour")
    assert {about["by"] for about, _ in highest.values()} == {"avg", "max"}
    tiers = await series(redis, "service=memoryd", "metric=memoryd.memories", "tier=short", "kept=raw")
    assert [about["shows"] for about, _ in tiers.values()] == ["level"]

    for name in await redis.keys("aether:metrics:*"):
        assert 0 < await redis.ttl(name) <= METRICS_TTL_SECONDS
        assert CANARY not in str(name)


async def test_a_process_leaves_a_document_of_each_period(measured: World) -> None:
    """What it has counted since the last one; whose memories, and what they say, never."""
    await work(measured)
    collection = measured.archive.database["metrics"]
    counted = {"metric": "memoryd.operations", "verb": "store", "outcome": "ok"}

    async def written() -> list[dict[str, Any]]:
        rows = await (
            await collection.aggregate([
                {"$unwind": "$values"},
                {"$match": {"service": "memoryd", **{f"values.{name}": value for name, value in counted.items()}}},
            ])
        ).to_list()
        return list(rows) if sum(one["values"]["increase"] for one in rows) == 2 else []

    found = await eventually(written, what="documents have both stores, of one period or of two")
    one = found[0]
    assert one["process"]
    assert 0 < one["seconds"] < 600

    async def both() -> bool:
        return {row["service"] async for row in collection.find()} == {"memoryd", "memoryd-sync"}

    await eventually(both, what="sync has its documents, too")
    assert CANARY not in str(await collection.find().to_list())


async def test_nothing_is_kept_unless_it_is_asked_for(settings: Settings, kept: KeptMetrics) -> None:
    """Whatever is measured."""
    async with World(settings) as world:
        await world.start("daemon", "sync")
        await work(world)
        await world.stop("daemon")
        await world.stop("sync")
        assert await world.redis.keys("aether:metrics:*") == []
        assert await world.archive.database["metrics"].count_documents({}) == 0


async def test_what_two_processes_do_adds_up_and_each_period_counts_once(redis: Redis, kept: KeptMetrics) -> None:
    """Two daemons of one service share their series; of a level the highest of them counts."""
    one, two = (SeriesSink(redis, Keys(16), "memoryd") for _ in range(2))
    counted = {"verb": "get", "outcome": "ok"}
    # One period of 10 s holds both writes, unless it ends just between them: the sums are the same.
    await one.write([Measured("memoryd.operations", counted, {"increase": 3}), Measured("memoryd.embed.queue", {}, {"level": 7})])
    await two.write([Measured("memoryd.operations", counted, {"increase": 4}), Measured("memoryd.embed.queue", {}, {"level": 2})])
    assert total(await series(redis, "metric=memoryd.operations", "kept=minute")) == 7
    highest = await series(redis, "metric=memoryd.embed.queue", "kept=hour", "by=max")
    assert max(value for _, values in highest.values() for _, value in values) == 7
    # An emptied Redis: one period is lost, then the series are there again.
    await redis.flushall()
    assert await one.write([Measured("memoryd.operations", counted, {"increase": 1})]) == 1
    assert await one.write([Measured("memoryd.operations", counted, {"increase": 1})]) == 0
    assert total(await series(redis, "metric=memoryd.operations", "kept=hour")) == 1


async def test_too_many_series_are_dropped_and_counted(
    redis: Redis, kept: KeptMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that there are go on."""
    monkeypatch.setattr(memoryd.metrics.series, "METRIC_SERIES_MAX", 5)
    sink, before = SeriesSink(redis, Keys(16), "memoryd"), dropped(kept, "series")
    many = [Measured("memoryd.operations", {"verb": str(number)}, {"increase": 1}) for number in range(8)]
    await sink.write(many)
    await sink.write(many)
    found = await series(redis, "metric=memoryd.operations", "kept=raw")
    assert (len(found), total(found)) == (5, 10)
    assert dropped(kept, "series") - before == 6


async def test_a_redis_without_time_series_is_said_once(
    redis: Redis, kept: KeptMetrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing else happens."""
    monkeypatch.setattr(memoryd.metrics.series.Series, "made", lambda _: iter([("TS.NOSUCH", "command")]))
    sink = SeriesSink(redis, Keys(16), "memoryd")
    for _ in range(3):
        assert await sink.write([Measured("memoryd.embed.queue", {}, {"level": 1})]) == 0
    assert str([one.msg for one in caplog.records]).count("metrics.not_kept") == 1
    assert await redis.dbsize() == 0


async def test_a_place_that_does_not_answer_costs_its_own_values_and_no_memory_waits(
    measured: World, kept: KeptMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that takes a connection and says nothing, a MongoDB that is not there."""
    monkeypatch.setattr(memoryd.metrics.series, "METRICS_WRITE_SECONDS", 5.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        before = dropped(kept, "redis")
        async with open_redis(f"redis://127.0.0.1:{silent.getsockname()[1]}", connections=1, tries=0) as nobody:
            stop, periods = asyncio.Event(), Periods(kept)
            giving = asyncio.create_task(give(SeriesSink(nobody, Keys(16), "memoryd"), periods, stop, seconds=0.05))
            async with measured.connect() as memory:
                began = time.monotonic()
                for number in range(20):
                    await memory.store(f"Note {number}.")
                each = (time.monotonic() - began) / 20
            await eventually(lambda: dropped(kept, "redis") > before, what="what was not taken is counted")
            stop.set()
            await asyncio.wait_for(giving, PATIENCE_SECONDS)
    assert each < 5, "a store has waited for the metrics"


def dropped(kept: KeptMetrics, why: str) -> float:
    """How many values were not kept, as the metrics say."""
    mine = (one for one in kept.look() if one.metric == names.METRICS_DROPPED.name)
    return sum(one.value for one in mine if one.attributes[names.OUTCOME] == why)
