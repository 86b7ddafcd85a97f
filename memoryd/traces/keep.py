"""Spans on their way: from the process to a bounded stream in Redis, and from there to MongoDB, where a week of them stays.

They are in Redis before what they tell of is acknowledged, an operation by its answer, a batch by the journal: who is killed
takes no trace of it along. A Redis that takes none is not waited for.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
from pymongo.errors import BulkWriteError
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from memoryd.archive.client import archive_errors
from memoryd.archive.store import Archive
from memoryd.errors import MemorydError
from memoryd.hot.client import hot_errors
from memoryd.keys import TRACES
from memoryd.limits import TRACES_BATCH_MAX, TRACES_KEPT_MAX, TRACES_SEND_SECONDS
from memoryd.retry import wait_for_stop
from memoryd.traces.span import Span
from memoryd_telemetry.kept import KeptSpans
from memoryd_telemetry.logs import get_logger
from memoryd_telemetry.tracing import untraced

log = get_logger("memoryd.traces")

GROUP = "archive"
BLOCK_SECONDS = 0.5  # how soon a stop is noticed
COLLECTION = "traces"


class Giving:
    """Gives the finished spans of this process to the stream."""

    def __init__(self, redis: Redis, spans: KeptSpans) -> None:
        self._redis: Any = redis
        self._spans = spans
        self._turn = asyncio.Lock()
        self._losing = False

    async def run(self, stop: asyncio.Event) -> None:
        """Gives what has ended, until told to stop and then once more."""
        stopped = False
        while not stopped:
            stopped = await wait_for_stop(stop, TRACES_SEND_SECONDS)
            async with self._turn:
                await self._give()

    async def now(self) -> None:
        """Gives what has ended; who comes meanwhile finds its own given with the next ones. While Redis takes none, `run` tries."""
        if self._losing:
            return
        async with self._turn:
            await self._give()

    async def _give(self) -> None:
        while batch := self._spans.take(TRACES_BATCH_MAX):
            try:
                with untraced(), hot_errors("keep spans"):
                    async with self._redis.pipeline(transaction=False) as pipe:
                        for one in batch:
                            pipe.xadd(TRACES, {"span": one}, maxlen=TRACES_KEPT_MAX, approximate=True)
                        await pipe.execute()
            except MemorydError as error:
                self._spans.put_back(batch)
                if not self._losing:
                    log.warning("traces.late", code=error.code)
                self._losing = True
                return
            self._losing = False


async def archive_spans(redis: Redis, blocking: Redis, archive: Archive, consumer: str) -> None:
    """Brings the next spans of the stream to MongoDB. Raises HotUnavailable, ArchiveUnavailable.

    What is trimmed before it was read, or read and not written, is lost.
    """
    reader: Any = blocking
    with hot_errors("read spans"):
        try:
            answer = await reader.xreadgroup(
                GROUP, consumer, {TRACES: ">"}, count=TRACES_BATCH_MAX, block=int(BLOCK_SECONDS * 1000), noack=True
            )
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            await redis.xgroup_create(TRACES, GROUP, id="0", mkstream=True)
            return
    spans = [span for _, rows in answer or [] for _, fields in rows if (span := read(fields))]
    if spans:
        with archive_errors("keep spans"):
            try:
                await archive.database[COLLECTION].insert_many([_document(one) for one in spans], ordered=False)
            except BulkWriteError:
                log.warning("traces.refused", spans=len(spans))  # kept already, by a reader that ended on its way


def read(fields: dict[bytes, bytes]) -> Span | None:
    """A span of the stream; None for what is none."""
    try:
        return msgspec.json.decode(fields[b"span"], type=Span)
    except (KeyError, msgspec.MsgspecError):
        return None


def _document(span: Span) -> dict[str, Any]:
    kept = {name: value for name, value in msgspec.structs.asdict(span).items() if name not in ("links", "attributes")}
    return {
        "_id": f"{span.trace_id}:{span.span_id}", **kept, "links": [list(one) for one in span.links],
        "caused_by": sorted({trace_id for trace_id, _ in span.links}),
        # MongoDB's names of fields must not hold the dots that attributes have.
        "attributes": [{"name": name, "value": value} for name, value in span.attributes.items()],
        "memories": sorted(span.memories), "took": span.end - span.start, "at": datetime.fromtimestamp(span.end / 1e9, UTC),
    }  # fmt: skip


def from_document(document: dict[str, Any]) -> Span:
    """A span of MongoDB."""
    given = {name: document[name] for name in Span.__struct_fields__ if name not in ("links", "attributes")}
    links = [(one[0], one[1]) for one in document["links"]]
    return Span(**given, links=links, attributes={one["name"]: one["value"] for one in document["attributes"]})
