"""What an agent is told leads back to what caused it: a span of its own, linked to the write, wherever that was done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, TypeVar

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from memoryd import MemoryClient
from memoryd.model.scope import Scope
from memoryd_telemetry import tracing
from tests.integration.test_tracing import linked, of, own, verb_of
from tests.integration.tools import caught_up
from tests.waiting import PATIENCE_SECONDS, eventually
from tests.world import World

T = TypeVar("T")
PROJECT = Scope("acme", "support")


async def first(told: AsyncGenerator[T, None] | AsyncIterator[T], count: int = 1) -> list[T]:
    """The first of what is told without end."""
    found: list[T] = []
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(told) as heard:  # type: ignore[type-var]
        async for one in heard:
            found.append(one)
            if len(found) == count:
                break
    return found


def written(traceparent: str) -> tuple[str, str]:
    """Trace and span of a traceparent."""
    return traceparent.split("-")[1], traceparent.split("-")[2]


def received(spans: list[ReadableSpan]) -> list[ReadableSpan]:
    """The spans of what was told."""
    return of(spans, "memoryd.receive", SpanKind.CONSUMER)


async def test_an_event_leads_to_the_write_live_and_later(world: World, memory: MemoryClient, spans: list[ReadableSpan]) -> None:
    """Who listens, and who was away; also that the memory has its vector now has the write as its cause."""
    place = await memory.place()
    live = asyncio.create_task(first(memory.events(after=place), 2))
    await asyncio.sleep(0)
    kept = await memory.store("Ada prefers tea.", type="fact")
    write = own(verb_of(spans, "store", SpanKind.SERVER))
    heard = await live
    assert {one.op for one in heard} == {"stored", "embedded"}
    assert {written(one.traceparent) for one in heard} == {write}
    assert set().union(*(linked(one) for one in received(spans))) == {write}
    assert all(one.parent is None for one in received(spans))
    told: list[Any] = [(one.attributes or {})["memoryd.record.ids"] for one in received(spans)]  # one by one, or both at once
    assert sorted(memory_id for ids in told for memory_id in ids) == [kept.id, kept.id]

    spans.clear()
    missed = await first(memory.events(after=place), 2)
    [span] = received(spans)
    assert [written(one.traceparent) for one in missed] == [write, write]
    assert linked(span) == {write}
    assert (span.attributes or {})["memoryd.batch_size"] == 2


async def test_every_kind_of_change_leads_to_what_made_it(
    world: World, memory: MemoryClient, spans: list[ReadableSpan]
) -> None:
    """By verbs, and by a person's hand in MongoDB."""
    kept = await memory.store("Ada prefers tea.", type="fact", durability="archived")
    await caught_up(world, memory)
    for change in (
        memory.store("Ada prefers tea.", type="fact"), memory.update(kept.id, importance=0.9), memory.share(kept.id, "other"),
        memory.forget(kept.id),
    ):  # fmt: skip
        place = await memory.place()
        spans.clear()
        await change
        [event] = await first(memory.events(after=place))
        causes = [one for one in spans if one.kind is SpanKind.SERVER and (one.attributes or {})["memoryd.verb"] != "events"]
        assert written(event.traceparent) == own(causes[0]), event.op
        assert linked(received(spans)[-1]) == {own(causes[0])}, event.op

    other = await memory.store("Ada sails.", type="fact", durability="archived")
    await caught_up(world, memory)
    place = await memory.place()
    spans.clear()
    await world.memories.update_one({"_id": other.id}, {"$set": {"content": "Ada swims."}})
    [event] = await first(memory.events(after=place))
    await eventually(lambda: of(spans, "memoryd.follow", SpanKind.CONSUMER), what="its span has ended, too")
    assert written(event.traceparent) in {own(one) for one in of(spans, "memoryd.follow", SpanKind.CONSUMER)}


async def test_a_message_and_a_log_entry_lead_to_who_said_and_recorded_them(
    unsynced: World, spans: list[ReadableSpan]
) -> None:
    """Each answer with several of them is one span with as many links."""
    async with unsynced.connect() as memory:
        for number in range(3):
            await memory.channels.publish("news", {"number": number})
        said = [own(one) for one in of(spans, "memoryd.channel.publish", SpanKind.SERVER)]
        messages = await first(memory.channels.subscribe("news", after="0-0"), 3)
        assert [written(one.traceparent) for one in messages] == said
        [span] = received(spans)
        assert linked(span) == set(said)

        spans.clear()
        following = asyncio.create_task(first(memory.episodes.follow(), 2))
        await memory.episodes.record("look")
        await memory.episodes.record("leap")
        await following
        recorded = {own(one) for one in of(spans, "create_memory", SpanKind.SERVER)}
        assert set().union(*(linked(one) for one in received(spans))) <= recorded


async def test_where_nothing_is_traced_a_notification_is_as_it_was(
    unsynced: World, spans: list[ReadableSpan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a byte more, and no span."""
    monkeypatch.setattr(tracing, "_tracer", trace.NoOpTracer())
    redis: Any = unsynced.redis
    async with unsynced.connect() as memory:
        place = await memory.place()
        await memory.store("Ada prefers tea.", type="fact")
        await memory.channels.publish("news", "tea")
        [event] = await first(memory.events(after=place))
        [message] = await first(memory.channels.subscribe("news", after="0-0"))
    assert (event.traceparent, message.traceparent) == ("", "")
    streams = [unsynced.keys.channel(PROJECT, "news")]
    streams += [unsynced.keys.kept_events(bucket, PROJECT) for bucket in unsynced.keys.all_buckets()]
    entries = [fields for stream in streams for _, fields in await redis.xrange(stream)]
    assert len(entries) >= 2
    assert all(b"traceparent" not in fields for fields in entries)
    assert spans == []
