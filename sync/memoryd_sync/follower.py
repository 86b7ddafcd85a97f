"""The follower: MongoDB's change stream → Redis, only if newer; the place is saved after the effect.

Our own archiver's writes come back as equal versions and do nothing. A document whose seal does not fit its content
was written by someone else: it is given a version first, and then comes back as a change like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from pymongo.errors import DuplicateKeyError

from memoryd.archive.codec import Document, completed, to_record, to_tombstone
from memoryd.archive.store import Archive, archive_errors
from memoryd.clock import Clock, to_microseconds
from memoryd.errors import ArchiveUnavailable, HotUnavailable, MemorydError
from memoryd.hot.client import hot_errors
from memoryd.hot.records import Records, Request
from memoryd.keys import SCHEMA
from memoryd.model.ids import check_id
from memoryd.model.memory import Memory, check_content, check_metadata
from memoryd.model.record import Record, seal
from memoryd.model.scope import Scope
from memoryd_sync.lease import RENEW_SECONDS, Lease
from memoryd_sync.place import Places
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.logs import get_logger
from memoryd_telemetry.metrics import measure
from memoryd_telemetry.propagation import inject
from memoryd_telemetry.tracing import linked_span

log = get_logger("memoryd.follower")

HISTORY_LOST = 286  # the oplog no longer holds the token
SAVE_SECONDS = 0.5  # also when idle: a quiet collection's token would age out of the oplog
AWAIT_MILLISECONDS = 250  # how long the server holds an idle poll


class Follower:
    """Brings one Redis what others write to the archive, while it holds the lease."""

    def __init__(self, records: Records, archive: Archive, places: Places, lease: Lease, clock: Clock) -> None:
        self._records = records
        self._archive = archive
        self._places = places
        self._lease = lease
        self._clock = clock
        self._model = ""

    async def step(self, stop: asyncio.Event) -> None:
        """Follows while the lease is held, or stands by for a moment."""
        if not await self._knows_model() or not await self._lease.hold():
            await asyncio.sleep(RENEW_SECONDS)
            return
        log.info("follow.active", holder=self._lease.holder)
        try:
            await self._follow(stop)
        except MemorydError as error:
            if getattr(error.__cause__, "code", None) != HISTORY_LOST:
                raise
            await self._start_over()

    async def _knows_model(self) -> bool:
        """Whether a daemon has prepared this Redis; then its embedding model is known, or that it has none."""
        with hot_errors("follow"):
            state = cast("dict[bytes, bytes]", await self._records.redis.hgetall(SCHEMA))
        self._model = state.get(b"model", b"").decode()
        return bool(state)

    async def leave(self) -> None:
        """Lets the next follower begin at once."""
        await self._lease.give_back()

    async def _start_over(self) -> None:
        place = await self._places.load()
        age = (to_microseconds(self._clock.now()) - place.saved_at) / 1e6 if place else 0
        log.warning("follow.history_lost", place_age_seconds=round(age), next="copying every memory again")
        await self._places.drop()

    async def _follow(self, stop: asyncio.Event) -> None:
        """Opens the stream at the saved place, or copies everything first, and applies change after change."""
        place = await self._places.load()
        with archive_errors("follow"):
            stream = await self._archive.memories.watch(
                full_document="updateLookup",
                resume_after=place.token if place else None,
                max_await_time_ms=AWAIT_MILLISECONDS,
            )
            async with stream:
                if place is None:
                    token = stream.resume_token  # taken before the copy: what changes meanwhile comes again, harmlessly
                    await self._copy_all(stop)
                    if token:
                        await self._places.save(token, self._lease)
                await self._apply_changes(stream, stop)

    async def _apply_changes(self, stream: Any, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        saved = renewed = loop.time()
        while not stop.is_set():
            change = await stream.try_next()
            if change is not None:
                await self.apply(change)
            if loop.time() - renewed >= RENEW_SECONDS:
                renewed = loop.time()
                if not await self._lease.hold():
                    log.warning("follow.lease_lost")
                    return
            if loop.time() - saved >= SAVE_SECONDS and stream.resume_token:
                saved = loop.time()
                if not await self._places.save(stream.resume_token, self._lease):
                    return
        if stream.resume_token:
            await self._places.save(stream.resume_token, self._lease)

    async def _copy_all(self, stop: asyncio.Event) -> None:
        count = 0
        async for document in self._archive.memories.find({}):
            await self.apply_document(document)
            count += 1
            if count % 500 == 0 and (stop.is_set() or not await self._lease.hold()):
                return
        log.info("follow.copied", memories=count)

    async def apply(self, change: Mapping[str, Any]) -> None:
        """The effect of one change event."""
        match change["operationType"]:
            case "insert" | "update" | "replace":
                # None: the document is gone again; its own event follows.
                if (document := change.get("fullDocument")) is not None:
                    await self.apply_document(document)
            case "delete":
                await self._forget_deleted(change["documentKey"]["_id"])
            case "drop" | "rename" | "dropDatabase" | "invalidate" as event:
                log.error("follow.collection_gone", event_type=event, next="copying what there is")
                await self._places.drop()

    async def apply_document(self, document: Document) -> None:
        """Brings a document to Redis, only if newer; someone else's gets its version first."""
        try:
            outcome = await self._outcome(document)
        except (HotUnavailable, ArchiveUnavailable):
            raise
        except Exception as error:
            # One document that cannot be followed must not hold up the others; it is kept by name and reason.
            outcome = "dead"
            log.exception("follow.dead_letter", id=str(document["_id"])[:64])
            await self._records.bury("follow", str(document["_id"])[:64], type(error).__name__)
        measure(telemetry.FOLLOW_EVENTS, 1, {telemetry.OUTCOME: outcome})

    async def _outcome(self, document: Document) -> str:
        if document.get("tombstone"):
            stone = to_tombstone(document)
            return await self._records.project(Record(stone.place(self._clock.now())), tombstone=stone)
        if self._is_ours(document):
            return await self._project(document)
        return await self._adopt(document)

    def _is_ours(self, document: Document) -> bool:
        try:
            return bool(document.get("seal") == seal(to_record(document).memory))
        except (KeyError, ValueError, TypeError, OverflowError):
            return False

    async def _project(self, document: Document, *, foreign: bool = False) -> str:
        record = to_record(document)
        if record.memory.embedding_model not in ("", self._model):
            # Another model's vector has no place in this index; the journal brings this Redis its own.
            record, foreign = Record(record.memory), bool(self._model)
        outcome = await self._records.project(record, foreign=foreign, traceparent=inject() if foreign else "")
        if outcome == "applied":
            with linked_span(
                telemetry.FOLLOW, [document.get("traceparent", "")], {telemetry.RECORD_ID: document["_id"]}
            ):
                log.debug("follow.applied", id=document["_id"], version=record.memory.version)
        return outcome

    async def _adopt(self, document: Document) -> str:
        """Gives someone else's write the next version, completes it, keeps it in `versions`, and projects it."""
        whole = completed(document, self._clock.now())
        whole["version"] = int(whole["version"]) + 1
        whole["seal"] = seal(checked(to_record(whole).memory))
        with linked_span(telemetry.FOLLOW, [], {telemetry.RECORD_ID: document["_id"]}):
            whole["traceparent"] = inject()
            # Only if nobody has written since; otherwise that write's own event brings us back here.
            replaced = await self._archive.memories.replace_one(_exactly(document), whole)
            if not replaced.matched_count:
                return "outdated"
            await self._keep_version(whole)
            log.info("follow.adopted", id=document["_id"], version=whole["version"])
            return await self._project(whole, foreign=True)

    async def _keep_version(self, whole: Document) -> None:
        version_id = f"{whole['_id']}:{whole['version']}"
        try:
            await self._archive.versions.insert_one(
                {**whole, "_id": version_id, "memory_id": whole["_id"], "op": "updated"}
            )
        except DuplicateKeyError:
            log.warning("follow.version_known", version_id=version_id)

    async def _forget_deleted(self, memory_id: str) -> None:
        """A person deleted the document: that is a forget, and its past goes too."""
        last = await self._archive.versions.find_one({"memory_id": memory_id}, sort=[("version", -1)])
        if last is None:
            return
        scope = Scope(last["tenant"], last["project"])
        memory = to_record({**last, "_id": memory_id}).memory
        request = Request(id=f"deleted {memory_id} {last['version']}", fingerprint="", traceparent="")
        now = to_microseconds(self._clock.now())
        written, _ = await self._records.forget(
            scope, memory, now=now, archived_version=int(last["version"]), request=request
        )
        log.info("follow.deleted", id=memory_id, outcome=written.outcome)


def checked(memory: Memory) -> Memory:
    """`memory`, if a caller could have stored it like this. Raises BadRequest."""
    check_id("_id", memory.id)
    memory.scope.check()
    check_content(memory.content)
    check_metadata(memory.metadata)
    return memory


def _exactly(document: Document) -> Document:
    """Matches the document only as it was read: same version, same seal, same content."""
    absent: Document = {"$exists": False}
    return {
        "_id": document["_id"],
        "version": document.get("version", absent),
        "seal": document.get("seal", absent),
        "content": document["content"],
    }
