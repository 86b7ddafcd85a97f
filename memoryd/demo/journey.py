"""Chapter 4: the journey of one memory, from an agent's request to both stores, with times; and its trace."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np

from memoryd.demo.spans import EXPORT_SECONDS
from memoryd.demo.stage import Stage, text
from memoryd.demo.voice import short
from memoryd.demo.wait import until
from memoryd.demo.watch import Watch, watching
from memoryd.hot.client import entry_order
from memoryd.hot.codec import from_hot_vector
from memoryd.keys import kind_of
from memoryd.model.memory import MemoryType
from memoryd.model.results import Stored
from memoryd.traces.span import Span
from memoryd.traces.tree import tree
from memoryd_telemetry import names as telemetry

FACT = "The kumquat marmalade on the top shelf is for Theodora's birthday."
MARK = "kumquat"  # a word that nobody in the conversation uses: by it the memory is looked for everywhere

Fields = dict[bytes, bytes]


@dataclass(frozen=True)
class Memory:
    """The memory whose life the next chapters follow."""

    id: str
    key: str


async def journey(stage: Stage) -> Memory:
    """Store one fact and show every place that it comes to."""
    stage.voice.chapter(
        "The journey of one memory",
        "An agent stores a fact. One atomic step in Redis writes the record and an entry in a journal; the embedder and "
        "the archiver follow the journal, each at its own pace.",
    )
    async with watching(stage) as watch:
        sent = time.time()
        kept = await stage.memory.store(FACT, type="fact", importance=0.8, metadata={"source": "the demo"})
        acknowledged = time.time()
        memory = Memory(kept.id, stage.keys.memory(kind_of(MemoryType.FACT), stage.memory.scope, kept.id))
        await _arrived(stage, watch, memory.id)
    stage.ledger.stored(kept, FACT)
    await _show_request(stage, watch, kept)
    record = await _show_record(stage, memory)
    _show_journal(stage, watch, memory.id)
    if stage.has_model:
        _show_vector(stage, record)
    await _show_documents(stage, memory.id)
    _show_times(stage, watch, memory.id, sent, acknowledged)
    await _show_trace(stage, watch, memory.id)
    return memory


async def _arrived(stage: Stage, watch: Watch, memory_id: str) -> None:
    """It has come everywhere: as a document, and then as that document's vector."""
    writes = 2 if stage.has_model else 1
    for collection in ("memories", "versions"):
        await watch.seen(
            f"the memory is in {collection}",
            lambda collection=collection: len(watch.changes_of(memory_id, collection)) >= writes,  # type: ignore[misc]
        )
    await watch.seen("its journal entries", lambda: bool(watch.entries_of(memory_id, "stored")))
    if stage.has_model:
        await watch.seen("its vector's journal entry", lambda: bool(watch.entries_of(memory_id, "embedded")))


async def _show_request(stage: Stage, watch: Watch, kept: Stored) -> None:
    await watch.seen("the request in the stream", lambda: bool(watch.envelope))
    stage.voice.say("The request, as it went through the stream aether:requests:")
    stage.voice.typed(msgspec.json.format(watch.envelope, indent=2).decode())
    stage.voice.say(f"The answer: {kept.outcome} as {kept.id}, version {kept.version}.")


async def _show_record(stage: Stage, memory: Memory) -> Fields:
    fields = cast("Fields", await stage.redis.hgetall(memory.key))
    kind = cast("bytes", await stage.redis.type(memory.key)).decode()
    shown = [(name.decode(), value.decode()) for name, value in sorted(fields.items()) if name != b"embedding"]
    stage.voice.fields(f"Its record in Redis, a {kind} at {memory.key}:", shown)
    return fields


def _show_journal(stage: Stage, watch: Watch, memory_id: str) -> None:
    entries = [one for one in watch.entries if one.memory_id == memory_id]
    journal = stage.keys.journal(stage.keys.bucket(memory_id))
    stage.voice.say(f"Its entries in the journal {journal}, read before they were trimmed:")
    rows = [(one.entry_id, one.op, one.version, len(one.fields), one.traceparent) for one in entries]
    stage.voice.table(["entry", "what", "version", "fields", "caused by (traceparent)"], rows)


def _show_vector(stage: Stage, record: Fields) -> None:
    vector = np.frombuffer(from_hot_vector(record[b"embedding"], stage.settings.vector_type), dtype="<f4")
    begins = ", ".join(f"{number:+.4f}" for number in vector[:5])
    stage.voice.say(
        f"Its vector, by {text(record, 'embedding_model')}: {len(vector)} numbers of length "
        f"{float(np.linalg.norm(vector)):.4f}, beginning {begins} …"
    )


async def _show_documents(stage: Stage, memory_id: str) -> None:
    current = await stage.archive.memories.find_one({"_id": memory_id})
    assert current is not None
    stage.voice.fields("Its document in MongoDB's `memories`:", [*_parts(current)])
    async for version in stage.archive.versions.find({"memory_id": memory_id}):
        stage.voice.fields("The copy of this version in `versions`, which is never changed:", [*_parts(version)])


def _parts(document: dict[str, Any]) -> list[tuple[str, str]]:
    names = ("_id", "memory_id", "op", "version", "content", "embedding_model", "embedding", "seal")
    return [(name, _shown(document[name])) for name in names if name in document]


def _shown(value: Any) -> str:
    return f"{len(value):,} bytes" if isinstance(value, bytes) else short(str(value))


def _show_times(stage: Stage, watch: Watch, memory_id: str, sent: float, acknowledged: float) -> None:
    began = int(sent * 1000)
    seen = [(entry_order(one.entry_id)[0], f"journal: {one.op}") for one in watch.entries if one.memory_id == memory_id]
    for collection in ("memories", "versions"):
        for change, what in zip(watch.changes_of(memory_id, collection), ("the document", "its vector"), strict=False):
            seen.append((change.at, f"MongoDB {collection}: {what} is written"))
    rows = [(0, "the agent sends its request"), *((at - began, what) for at, what in seen)]
    rows.append((round((acknowledged - sent) * 1000), "the agent has its answer"))
    stage.voice.say("When each of these happened, in milliseconds after the agent's call (each server by its clock):")
    stage.voice.table(["ms", "what"], sorted(rows))


async def _show_trace(stage: Stage, watch: Watch, memory_id: str) -> None:
    trace_id = watch.entries_of(memory_id, "stored")[0].traceparent.split("-")[1]
    await stage.drained()
    wanted = {telemetry.ARCHIVE, *([telemetry.EMBED] if stage.has_model else [])}

    async def whole() -> tuple[list[Span], list[Span]] | None:
        spans = stage.spans.of_trace(trace_id)
        linked = stage.spans.linked_to(spans)
        there = len({span.service for span in spans}) > 1 and wanted <= {span.name for span in linked}
        return (spans, linked) if there else None

    await until(whole, "the spans of the trace arrive")
    await asyncio.sleep(2 * EXPORT_SECONDS)  # all of its spans have ended: within this time each process sends them
    spans = stage.spans.of_trace(trace_id)
    stage.voice.say(
        "Its trace, as the processes sent it (⇢ is work of another process or batch that links to its cause):"
    )
    stage.voice.show(tree(spans, stage.spans.linked_to(spans)))
