"""Chapter 5: a person edits the memory in MongoDB, and agents see it."""

from __future__ import annotations

from time import perf_counter

from memoryd.demo.journey import Memory
from memoryd.demo.stage import Stage
from memoryd.demo.wait import until
from memoryd.model.memory import Memory as Remembered
from memoryd.traces.span import Span

EDITED = "The kumquat marmalade on the top shelf is for Maximilian's wedding."
QUESTION = "Whose wedding is the marmalade for?"


async def edit(stage: Stage, memory: Memory) -> None:
    """Change the document's content and wait until a recall gives it."""
    voice = stage.voice
    voice.chapter(
        "A person edits it in MongoDB",
        "sync follows MongoDB's change stream. What a person writes there has no version yet: sync gives it one, brings it "
        "to Redis, and the memory is embedded anew.",
    )
    voice.typed(f'db.memories.updateOne({{_id: "{memory.id}"}}, {{$set: {{content: "{EDITED}"}}}})')
    started = perf_counter()
    await stage.archive.memories.update_one({"_id": memory.id}, {"$set": {"content": EDITED}})
    now = await _edited(stage, memory)
    voice.say(f"{(perf_counter() - started) * 1000:.0f} ms later Redis had it, as version {now.version}.")
    stage.ledger.edited(memory.id, EDITED)
    await stage.drained()
    hits = (await stage.memory.recall(QUESTION, limit=1)).hits
    voice.say(f"“{QUESTION}”", style="bold")
    for hit in hits:
        why = ", ".join(f"{name} {part.contribution:.2f}" for name, part in hit.why.items())
        voice.table(["score", "why", "memory"], [(f"{hit.score:.2f}", why, hit.memory.content)])
    await _show_versions(stage, memory)


async def _edited(stage: Stage, memory: Memory) -> Remembered:
    async def look() -> Remembered | None:
        one = await stage.memory.get(memory.id)
        return one if one.content == EDITED else None

    return await until(look, "the edit reaches Redis")


async def _show_versions(stage: Stage, memory: Memory) -> None:
    rows = []
    async for one in stage.archive.versions.find({"memory_id": memory.id}).sort("version", 1):
        giver = await _giver(stage, one["traceparent"])
        rows.append((one["version"], one["op"], one["content"], f"{giver.service} ({giver.name})"))
    stage.voice.say("`versions` has both. Who gave each is known from the trace that the version names:")
    stage.voice.table(["version", "what", "content", "given by"], rows)


async def _giver(stage: Stage, traceparent: str) -> Span:
    async def look() -> Span | None:
        return next((span for span in stage.spans.seen if span.span_id == traceparent.split("-")[2]), None)

    return await until(look, "the span that a version names arrives")
