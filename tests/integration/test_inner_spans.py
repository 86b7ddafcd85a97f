"""What a verb does inside is told part by part, and what nobody waits for is told with its cause, wherever that was written."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from memoryd import MemoryClient
from tests.integration.test_tiers import demoted
from tests.integration.test_tracing import linked, of, own, verb_of
from tests.integration.tools import caught_up
from tests.waiting import eventually
from tests.world import World

PARTS_OF_RECALL = {
    "memoryd.search.words", "memoryd.embed.query", "memoryd.search.meaning", "memoryd.search.archive", "memoryd.fuse",
    "memoryd.fetch",
}  # fmt: skip


def span_id(span: ReadableSpan) -> int:
    """Its id."""
    assert span.context is not None
    return int(span.context.span_id)


def parts(spans: list[ReadableSpan], whole: ReadableSpan) -> dict[str, ReadableSpan]:
    """The inner parts of a span, by name; each comes once."""
    found = [one for one in spans if one.parent and one.parent.span_id == span_id(whole)]
    assert len({one.name for one in found}) == len(found), [one.name for one in found]
    return {one.name: one for one in found}


async def test_a_recall_tells_its_parts_with_counts_and_scores(
    world: World, memory: MemoryClient, spans: list[ReadableSpan]
) -> None:
    """Each search, the question's vector, the ranking, the reading: which took long, and what came of it."""
    await memory.store_many([{"content": "Ada prefers tea."}, {"content": "Ada sails."}, {"content": "It rains."}])
    await caught_up(world, memory)
    spans.clear()
    await memory.recall("What does Ada prefer?", deep=True)

    served = verb_of(spans, "recall", SpanKind.SERVER)
    found = parts(spans, served)
    assert found.keys() == PARTS_OF_RECALL
    assert all(served.start_time <= one.start_time <= one.end_time <= served.end_time for one in found.values())  # type: ignore[operator]
    told = {name: dict(one.attributes or {}) for name, one in found.items()}
    words, meaning = told["memoryd.search.words"], told["memoryd.search.meaning"]
    fused, fetched = told["memoryd.fuse"], told["memoryd.fetch"]
    assert (words["memoryd.searched"], words["memoryd.candidates"]) == (3, 2)
    assert (meaning["memoryd.candidates"], fused["memoryd.candidates"]) == (3, 3)
    assert meaning["memoryd.score.max"] >= meaning["memoryd.score.min"]  # type: ignore[operator]
    assert fused["memoryd.score.max"] > fused["memoryd.score.min"]  # type: ignore[operator]
    assert (fetched["gen_ai.memory.record.count"], fetched["memoryd.tiers"]) == (3, ("short",))

    for asked in ("hit", "miss"):
        spans.clear()
        if asked == "miss":
            await memory.store("Ada swims.")
            await caught_up(world, memory)
            spans.clear()
        for _ in range(3):  # the answer to what was asked once more is kept
            await memory.recall("Who sails?")
        served = of(spans, "search_memory", SpanKind.SERVER)[-1]
        assert (served.attributes or {})["memoryd.query.cache"] == "hit"
        assert parts(spans, served).keys() == {"memoryd.fetch"}


async def test_a_recall_by_words_only_tells_of_no_vector(unsynced: World, spans: list[ReadableSpan]) -> None:
    """Without an embedding model nothing is embedded; with one that is away it was tried, and that has taken its time."""
    for model, embedded in ((unsynced.embedder, True), (None, False)):
        await unsynced.stop("daemon")
        unsynced.embedder.away = True
        unsynced.embedder = model  # type: ignore[assignment]
        await unsynced.start("daemon")
        async with unsynced.connect() as memory:
            spans.clear()
            assert (await memory.recall("What does Ada prefer?")).searched == ["words"]
        found = parts(spans, verb_of(spans, "recall", SpanKind.SERVER))
        assert ("memoryd.embed.query" in found) == embedded


async def test_a_store_tells_its_step_and_its_waits(world: World, memory: MemoryClient, spans: list[ReadableSpan]) -> None:
    """The atomic step with the buckets that it was in; the wait for the archive; and a known content's question there."""
    kept = await memory.store("Ada prefers tea.", type="fact", durability="archived")
    found = parts(spans, verb_of(spans, "store", SpanKind.SERVER))
    assert found.keys() == {"memoryd.write", "memoryd.wait"}
    assert (found["memoryd.write"].attributes or {})["memoryd.buckets"] == (world.keys.bucket(kept.id),)
    assert (found["memoryd.wait"].attributes or {})["memoryd.waited_for"] == "archived"

    await caught_up(world, memory)
    key = (await world.redis.keys(f"*{kept.id}"))[0]
    await world.lose(key)
    spans.clear()
    await memory.store("Ada prefers tea.", type="fact")
    served = verb_of(spans, "store", SpanKind.SERVER)
    names = [one.name for one in spans if one.parent and one.parent.span_id == span_id(served)]
    assert names == ["memoryd.write", "memoryd.ask_archive", "memoryd.write"]


def archived_after(spans: list[ReadableSpan], cause: ReadableSpan) -> list[ReadableSpan]:
    """The archiving of what this has written."""
    return [one for one in of(spans, "memoryd.archive", SpanKind.CONSUMER) if own(cause) in linked(one)]


async def test_a_move_links_to_the_write_and_its_archiving_to_the_move(
    world: World, memory: MemoryClient, spans: list[ReadableSpan]
) -> None:
    """Days later, by another process: the cause is kept with what was written. So from where a memory is, the way leads back."""
    kept = await memory.store("Ada prefers tea.", type="fact")
    write = own(verb_of(spans, "store", SpanKind.SERVER))
    await demoted(world, memory, [kept.id])
    [move] = [one for one in of(spans, "memoryd.move", SpanKind.CONSUMER) if one.links]
    assert linked(move) == {write}
    told = move.attributes or {}
    assert (told["memoryd.moved.to"], told["memoryd.reasons"], told["gen_ai.memory.record.count"]) == ("long", ("aged",), 1)
    await eventually(lambda: archived_after(spans, move), what="its archiving leads back to it")

    spans.clear()
    await world.memories.delete_one({"_id": kept.id})
    [deleted] = await eventually(lambda: of(spans, "memoryd.follow", SpanKind.CONSUMER), what="the deletion is followed")
    await eventually(lambda: archived_after(spans, deleted), what="its archiving leads back to it")


async def test_a_compression_tells_its_groups_and_moves_with_the_writes_that_they_are_of(
    world: World, memory: MemoryClient, spans: list[ReadableSpan]
) -> None:
    """Inside of the verb that asked for it, each linked to what wrote the memories."""
    talk = ("Ada lives in Porto.", "Ada works in a bakery in Porto.", "Ada bakes bread every morning in Porto.")
    await memory.store_many([{"content": one, "type": "episodic", "session": "s1"} for one in talk])
    write = own(verb_of(spans, "store_many", SpanKind.SERVER))
    await caught_up(world, memory)
    spans.clear()
    done = await memory.compress(session="s1")

    [served] = of(spans, "memoryd.compress", SpanKind.SERVER)
    groups = of(spans, "memoryd.compress.group", SpanKind.INTERNAL)
    assert len(groups) == len(done.groups)
    for group in groups:
        assert group.parent is not None
        assert group.parent.span_id == span_id(served)
        assert linked(group) == {write}
    moves = of(spans, "memoryd.move", SpanKind.INTERNAL)
    assert [(one.attributes or {})["memoryd.batch_size"] for one in moves] == [one.moved for one in done.groups if one.moved]
