"""The log is kept in MongoDB for a week where that is asked for; lines are lost there before anything waits for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from opentelemetry.sdk.trace import ReadableSpan

import memoryd.logs
import memoryd_telemetry.kept
from memoryd.archive.client import open_mongo
from memoryd.archive.store import Archive
from memoryd.config import LogsKept, Settings
from memoryd.logs import give_lines
from memoryd_telemetry import logs
from memoryd_telemetry.kept import KeptLines
from memoryd_telemetry.logs import get_logger, kept_lines, setup_logs
from memoryd_telemetry.tracing import operation
from tests.waiting import eventually
from tests.world import World

log = get_logger("memoryd.test_logs")
CANARY = "zzmedlar3d"


@pytest.fixture
def lines() -> Iterator[KeptLines]:
    """The lines of this process from now on; afterwards its loggers are as they were."""
    root, packages = logging.getLogger(), [logging.getLogger(name) for name in logs.OUR_PACKAGES]
    before = (list(root.handlers), root.level, [one.level for one in packages])
    setup_logs("INFO", "memoryd-test", kept=True)
    found = kept_lines()
    assert found is not None
    yield found
    setup_logs("INFO", "memoryd-test")
    root.handlers, level, levels = before
    root.setLevel(level)
    for package, one in zip(packages, levels, strict=True):
        package.setLevel(one)


@pytest.fixture
def prompt_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are given away soon."""
    monkeypatch.setattr(memoryd.logs, "LOGS_SEND_SECONDS", 0.1)


async def test_what_is_logged_is_found_in_mongodb_by_event_level_and_trace(
    settings: Settings, lines: KeptLines, spans: list[ReadableSpan], prompt_logs: None
) -> None:
    """With what belongs to it, whatever that is; what a memory says, never."""
    async with World(settings.model_copy(update={"logs": LogsKept.MONGO})) as world:
        await world.start("daemon", "sync")
        with operation("get"):
            log.warning("test.odd", huge=2**80, half="\ud800", object=object(), nested={"a\0b": [1, None, 2.5]})
        log.error("test.failed", exc_info=ValueError(CANARY))
        async with world.connect() as memory:
            await memory.store(f"Ada prefers {CANARY}.", type="fact")
            await world.drained(memory)
        found = world.archive.database["logs"]

        async def written() -> bool:
            return {"test.odd", "test.failed", "daemon.ready"} <= {one["event"] async for one in found.find()}

        await eventually(written, what="the lines are in MongoDB")
        odd = await found.find_one({"event": "test.odd"})
        assert odd is not None
        assert odd["level"] == "warning"
        assert len(odd["trace_id"]) == 32
        assert abs((datetime.now(UTC) - odd["at"].replace(tzinfo=UTC)).total_seconds()) < 600
        assert odd["fields"] == {"huge": str(2**80), "half": "?", "object": "object", "nested": {"a b": [1, None, 2.5]}}
        failed = await found.find_one({"event": "test.failed", "level": "error"})
        assert failed is not None
        assert failed["fields"]["exc_type"] == "ValueError"
        assert CANARY not in str(await found.find().to_list())


async def test_nothing_is_kept_unless_it_is_asked_for(settings: Settings, lines: KeptLines, prompt_logs: None) -> None:
    """Whatever is logged."""
    async with World(settings) as world:
        await world.start("daemon", "sync")
        log.warning("test.nobody")
        await world.stop("daemon")
        await world.stop("sync")
        assert await world.archive.database["logs"].count_documents({}) == 0


async def test_too_many_lines_and_too_long_ones_are_dropped(lines: KeptLines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest; who logs never waits."""
    dropped: list[dict[str, str]] = []
    monkeypatch.setattr(memoryd_telemetry.kept, "measure", lambda _, count, attributes: dropped.append(attributes))
    monkeypatch.setattr(memoryd_telemetry.kept, "QUEUE_MAX", 5)
    log.warning("test.long", text="x" * 10_000)
    for number in range(8):
        log.warning("test.many", number=number)
    kept = lines.take(100)
    assert [f'"number": {number}' in line for number, line in enumerate(kept)] == [True] * 5
    assert dropped == [{"memoryd.outcome": "queue"}] * 4


async def test_a_mongodb_that_is_away_costs_lines_and_does_not_hold_up_a_stop(
    lines: KeptLines, prompt_logs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait, one write is tried at the end."""
    lost: list[int] = []
    monkeypatch.setattr(memoryd.logs, "measure", lambda _, count, attributes: lost.append(count))
    monkeypatch.setattr(memoryd.logs, "LOGS_BATCH_MAX", 10)
    async with open_mongo("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300") as nobody:
        for number in range(200):
            log.warning("test.many", number=number)
        stop = asyncio.Event()
        stop.set()
        await give_lines(Archive(nobody["nothing"]), lines, stop, process="test")
    assert lost == [10]
    assert "logs.lost" in lines.take(1_000)[-1]
