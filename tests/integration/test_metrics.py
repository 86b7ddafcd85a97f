"""The metrics say what has happened to memories and how much there is of them; whose they are and what they say, never."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import pytest

import memoryd.health.gauges
import memoryd_sync.watch
from memoryd.config import Settings
from memoryd.errors import MemorydError, NotFound
from memoryd.local.ports import free_port
from memoryd_telemetry import names
from memoryd_telemetry.metrics import prometheus_name, setup_metrics
from tests.http import Page, fetch
from tests.integration.test_compression import SAID, remember
from tests.waiting import eventually, settles
from tests.world import World

CANARY = "zzcanary7f3a"


@pytest.fixture
async def measured(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A memoryd whose metrics can be fetched from the daemon's port: both of its parts run in this process."""
    setup_metrics("memoryd-test", fetched=True)  # once of a process: the providers of later tests are this one
    for module in (memoryd.health.gauges, memoryd_sync.watch):
        monkeypatch.setattr(module, "METRICS_LOOK_SECONDS", 0.1)
    async with World(settings.model_copy(update={"health_port": free_port()})) as world:
        await world.start("daemon", "sync")
        yield world


async def page_of(world: World) -> Page:
    """What Prometheus would fetch now."""
    page = await fetch(world.settings.health_port, "/metrics")
    assert page.status == 200
    return page


async def test_what_happens_to_memories_is_counted_by_verb_tier_and_outcome(measured: World) -> None:
    """Operations, reads, recalls, moves, tokens, hits of the cache; each by what it was."""
    before = await page_of(measured)
    async with measured.connect() as memory:
        await remember(memory, "s1")
        kept = await memory.store("Ada prefers tea.", type="fact")
        await measured.drained(memory)
        await memory.get(kept.id)
        with contextlib.suppress(NotFound):
            await memory.get("mem_" + "0" * 32)
        await memory.recall("Which dog did Ada adopt?")
        [group] = (await memory.compress(session="s1")).groups
        assert group.moved == len(SAID)
        await memory.expand(group.summary, restore=True)

    async def told() -> None:
        counted(before, await page_of(measured))

    await settles(told)  # some are counted by who follows


def counted(before: Page, after: Page) -> None:
    """Asserts that what has happened in between is told."""

    def more(metric: names.Metric, **labels: str) -> float:
        name = prometheus_name(metric)
        found = {f"memoryd_{label}": value for label, value in labels.items()}
        return after.value(name, **found) - before.value(name, **found)

    said = sum(map(len, SAID))
    assert more(names.OPERATION_COUNT, verb="store", outcome="ok") == 1
    assert more(names.OPERATION_COUNT, verb="get", outcome="not_found") == 1
    assert after.value("memoryd_operation_duration_seconds_count", memoryd_verb="store") >= 1
    assert more(names.READS, tier="short") == 1
    assert more(names.RECALLS, outcome="found") == 1
    assert more(names.RECALLED, tier="short") == len(SAID) + 1
    assert more(names.TOKENS, verb="store") > said / 4  # the summary is stored, too
    assert more(names.TOKENS, verb="recall") == -(-(said + len("Ada prefers tea.")) // 4)
    assert more(names.EMBED_CACHE_LOOKS, outcome="miss") >= len(SAID) + 2  # and the question
    assert more(names.TIER_MOVES, moved_from="short", moved_to="archive", reason="compressed") == len(SAID)
    assert more(names.TIER_MOVES, moved_from="archive", moved_to="short", reason="expanded") == len(SAID)


async def test_the_gauges_show_how_much_there_is_in_both_stores(measured: World) -> None:
    """Each is looked at by itself in an interval; a scrape asks nobody."""
    async with measured.connect() as memory:
        await memory.store("Ada prefers tea.", type="fact")
        await memory.recall("What does Ada drink?")
        await measured.drained(memory)

    async def shown() -> Page | None:
        page = await page_of(measured)
        there = page.value("memoryd_memories", memoryd_tier="short") == page.value("memoryd_archive_documents") == 1
        rest = (page.value("memoryd_memories_pending"), page.value("memoryd_follow_holders")) == (0, 1)
        return page if there and rest and page.value("memoryd_filter_fill", memoryd_filter="questions") else None

    page = await eventually(shown, what="the gauges have looked")
    assert page.value("memoryd_hot_bytes") > 1_000_000
    assert page.value("memoryd_archive_bytes") > 1_000
    assert page.value("memoryd_oplog_window_seconds") >= 0
    assert page.value("memoryd_memories_pending") == 0
    assert 0 < page.value("memoryd_filter_fill", memoryd_filter="contents") < 0.01
    assert page.value("memoryd_follow_holders") == 1
    assert page.value("memoryd_follow_place_age_seconds") < 600


async def test_lag_is_told_in_entries_and_in_seconds(measured: World) -> None:
    """Of a follower that gets no further; and how much was given up and waits for a person."""

    async def shown() -> bool:
        page = await page_of(measured)
        return (
            page.value("memoryd_journal_backlog", memoryd_follower="embed") == 1
            and page.value("memoryd_journal_lag_seconds", memoryd_follower="embed") > 0
            and page.value("memoryd_dead_letters_waiting") == 1
        )

    measured.embedder.away = True
    async with measured.connect() as memory:
        await memory.store("Ada sails.", type="fact")
    await measured.redis.xadd("aether:journal:dead", {"group": "embed", "id": "mem_" + "0" * 32, "reason": "test"})
    await eventually(shown, what="the lag is shown")
    measured.embedder.away = False


async def test_neither_texts_nor_names_nor_numbers_of_agents_are_in_the_metrics(measured: World) -> None:
    """Ten more agents do not make ten more series of anything, nor does what they invent as verbs; their texts are nowhere."""
    more = 10

    async def work(agent: str) -> None:
        async with measured.connect(agent=agent, session=f"{CANARY}-session") as memory:
            kept = await memory.store(f"{CANARY} {agent}", metadata={CANARY: CANARY}, tags=[CANARY])
            await memory.get(kept.id)
            await memory.recall(CANARY, tags=[CANARY])
            await memory.forget(kept.id)
            for verb in (f"{CANARY}{agent}", "get"):
                with contextlib.suppress(MemorydError):
                    await memory._connection.call(verb, {"id": f"{CANARY}{agent}"}, dict)
            await measured.drained(memory)

    for _ in range(5):  # what seldom happens has its series by then
        await work(f"{CANARY}-0")
    before = series_of(await page_of(measured))
    for number in range(1, 1 + more):
        await work(f"{CANARY}-{number}")
    page = await page_of(measured)

    assert CANARY not in page.body
    new = series_of(page) - before
    grown = Counter(name for name, *_ in new)  # a machine that stands still may be the first to lose a span, for one
    assert {name: sorted(new) for name, count in grown.items() if count >= more} == {}


def series_of(page: Page) -> set[tuple[object, ...]]:
    """Names and labels of all series; a histogram's are one, whatever its buckets."""
    return {
        (name.removesuffix("_bucket"), *sorted((label, value) for label, value in labels.items() if label != "le"))
        for name, labels, _ in page.samples()
        if "created" not in name
    }
