"""From MongoDB to Redis: the effect of one change, only if it is newer.

Our own archiver's writes come back as equal versions and do nothing. A document whose seal does not fit its content
was written by someone else: it is given a version first, and then comes back as a change like any other.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from itertools import chain
from typing import Any

from bson.timestamp import Timestamp
from opentelemetry.util.types import Attributes

from memoryd.archive.client import archive_errors
from memoryd.archive.codec import Document, to_record, to_tombstone
from memoryd.archive.foreign import adopted
from memoryd.archive.packing import PACKED
from memoryd.archive.store import WRITTEN_AS, Archive
from memoryd.clock import Clock, to_microseconds
from memoryd.errors import ArchiveUnavailable, HotUnavailable, Overloaded
from memoryd.hot.changes import Doomed, Projection, Request, fitted
from memoryd.hot.codec import to_record as from_hash
from memoryd.hot.echoes import echoes
from memoryd.hot.forgetting import forget
from memoryd.hot.journal import last_written
from memoryd.hot.projecting import project_many
from memoryd.hot.receipts import Forgets
from memoryd.hot.records import Records
from memoryd.lifecycle.receipts import receipt_of_sync
from memoryd.limits import FOLLOW_BATCH_MAX, FOLLOW_STEP_MAX, IDS_TOLD_MAX
from memoryd.model.memory import Memory, Tier
from memoryd.model.record import SEALED, Record, seal
from memoryd.model.scope import Scope
from memoryd.retry import all_ended
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.logs import get_logger
from memoryd_telemetry.metrics import measure
from memoryd_telemetry.propagation import inject, traceparent_of
from memoryd_telemetry.tracing import linked_span, linked_spans, tell

log = get_logger("memoryd.follower")


class Fenced(Exception):
    """A newer follower has taken over; this one must not write any more."""


class Projector:
    """Applies changes of the archive to one Redis. `model` is the model of its index, `fence` that of the lease."""

    def __init__(self, records: Records, archive: Archive, clock: Clock) -> None:
        self._records = records
        self._archive = archive
        self._clock = clock
        self.model = ""
        self.fence: int | None = None
        self._echoing = True
        self._given: dict[str, list[Any]] = {}

    def begin(self, fence: int) -> None:
        """Applies as the holder of the lease from now on. What was applied before, Redis may have lost."""
        self.fence, self._given = fence, {}

    async def apply_changes(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """The effect of change events, in their order; what lies between two deletions at once, each document as it was last."""
        documents: dict[Any, Document] = {}
        updated = await self._updated(changes)
        for change in changes:
            match change["operationType"]:
                case "insert" | "update" | "replace":
                    document = change.get("fullDocument") or updated.get(change["documentKey"]["_id"])
                    # None: the document is gone again; its own event follows.
                    if document is not None and not self._just_given(document):
                        documents[document["_id"]] = document
                case "delete":
                    await self._apply_together(list(documents.values()))
                    documents = {}
                    await self.forget_deleted(change["documentKey"]["_id"], at=change["clusterTime"], told=_told(change))
        await self._apply_together(list(documents.values()))

    async def _updated(self, changes: Sequence[Mapping[str, Any]]) -> Mapping[str, Document]:
        """The documents of which changes tell only what is new, read together: MongoDB would look for one after the other."""
        told = [one for one in changes if one["operationType"] == "update" and "fullDocument" not in one]
        if not told:
            return {}
        return await self._archive.as_of({one["documentKey"]["_id"] for one in told}, told[-1]["clusterTime"])

    def _just_given(self, document: Document) -> bool:
        """Whether it is what this follower has made of somebody else's write, and brought to Redis."""
        return self._given.pop(document["_id"], None) == [document.get(name) for name in WRITTEN_AS]

    async def _apply_together(self, documents: Sequence[Document]) -> None:
        """The effect of documents as MongoDB has them, contents packed or not: some are made ready while the stores have others."""
        starts = range(0, len(documents), FOLLOW_BATCH_MAX)
        await all_ended(self._apply_some(documents[start : start + FOLLOW_BATCH_MAX]) for start in starts)

    async def _apply_some(self, documents: Sequence[Document]) -> None:
        if len(documents) > 1:
            try:
                await self.apply_all(await self._opened(documents), name=telemetry.FOLLOW)
            except (HotUnavailable, ArchiveUnavailable, Overloaded, Fenced):
                raise
            except Exception:
                log.exception("follow.one_by_one", documents=len(documents))
            else:
                return
        for document in documents:
            await self._or_dead_letter(document, self._outcome_of_packed(document))

    async def _outcome_of_packed(self, document: Document) -> str:
        [document] = await self._opened([document])
        return await self._outcome(document)

    async def _opened(self, documents: Sequence[Document]) -> list[Document]:
        # Once only: a content in the clear beside its frame is then taken for one that somebody has written anew.
        with archive_errors("follow"):
            return await self._archive.packing.opened(documents)

    async def apply_document(self, document: Document) -> None:
        """Brings a document, its content in the clear, to Redis, only if newer; someone else's gets its version first."""
        await self._or_dead_letter(document, self._outcome(document))

    async def _or_dead_letter(self, document: Document, following: Awaitable[str]) -> None:
        try:
            outcome = await following
        except (HotUnavailable, ArchiveUnavailable, Overloaded, Fenced):
            raise
        except Exception as error:
            await self._bury(document, error)
        else:
            _measure([outcome])

    async def _bury(self, document: Document, error: Exception) -> None:
        """One document that cannot be followed must not hold up the others; it is kept by name and reason."""
        log.error("follow.dead_letter", id=str(document["_id"])[:64], exc_info=error)
        await self._records.bury("follow", str(document["_id"])[:64], type(error).__name__)
        _measure(["dead"])

    async def apply_all(
        self, documents: Sequence[Document], *, name: str = telemetry.RECONCILE, copied: bool = False
    ) -> None:
        """The same for many documents, none of them twice, together. `name` is the span's of all that are our own. `copied`: they
        are all that there is, a part of it at a time: `put_in_order` when they are here."""
        ours: list[tuple[Document, Projection]] = []
        before: list[tuple[Document, Projection]] = []
        others: list[Document] = []
        for document in documents:
            projection = self._projection(document)
            # What somebody else wrote, or had written when it was given its version, is traced each on its own.
            if projection is None:
                others.append(document)
            elif projection.adopted:
                before.append((document, projection))
            else:
                ours.append((document, replace(projection, copied=True) if copied else projection))
        if ours:
            began = time.time_ns()
            outcomes = await self._projected([one for _, one in ours])
            _measure(outcomes)
            _trace(name, [document for document, _ in ours], outcomes, began)
        if before:
            _measure(await self._adopted_before(before))
        if others:
            await self._adopt_all(others)

    async def _adopt_all(self, documents: Sequence[Document]) -> None:
        """Adopts them together; one by one where the stores refuse one of them."""
        now, ready = self._clock.now(), []
        for document in documents:
            try:
                ready.append((document, adopted(document, now)))
            except Exception as error:
                await self._bury(document, error)
        try:
            _measure(await self._adopt(ready) if ready else [])
        except (HotUnavailable, ArchiveUnavailable, Overloaded, Fenced):
            raise
        except Exception:
            for document, _ in ready:
                await self.apply_document(document)

    async def _outcome(self, document: Document) -> str:
        projection = self._projection(document)
        if projection is not None and not projection.adopted:
            return await self._project(projection, document)
        if projection is not None:
            return (await self._adopted_before([(document, projection)]))[0]
        return (await self._adopt([(document, adopted(document, self._clock.now()))]))[0]

    def _projection(self, document: Document) -> Projection | None:
        """A document that memoryd wrote, on its way to Redis; None when somebody else wrote it."""
        try:
            if document.get("tombstone"):
                stone = to_tombstone(document)
                return Projection(
                    Record(stone.place(self._clock.now())), tombstone=stone, traceparent=cause_of(document), fence=self.fence
                )
            record = to_record(document)
            if document.get("seal") != seal(record.memory):
                return None
            # An adoption that died before its projection comes back as ours: the journal has yet to hear of it.
            return self._fitted(record, cause=inject() or cause_of(document), adopted="adopted" in document)
        except (KeyError, ValueError, TypeError, OverflowError):
            return None

    def _fitted(self, record: Record, *, cause: str, adopted: bool = False) -> Projection:
        """`record` as this Redis's index can take it. What it makes others do is caused by `cause`."""
        record, unembedded = fitted(record, self.model)
        return Projection(record, foreign=adopted or unembedded, traceparent=cause, fence=self.fence, adopted=adopted)

    async def _project(self, projection: Projection, document: Document) -> str:
        began = time.time_ns()
        [outcome] = await self._projected([projection])
        if outcome == "applied":  # known only now: the archiver's own writes come back, are not newer, and are not traced
            cause, told = cause_of(document), {telemetry.RECORD_ID: document["_id"], telemetry.OUTCOME: outcome}
            with linked_span(telemetry.FOLLOW, [cause], told, began=began):
                pass
        return outcome

    async def _adopted_before(self, many: Sequence[tuple[Document, Projection]]) -> list[str]:
        """Somebody else's writes with their versions. Traced whatever comes of it: who has given one that was perhaps killed
        then."""
        works: list[tuple[Sequence[str], Attributes]] = [([cause_of(one)], {telemetry.RECORD_ID: one["_id"]}) for one, _ in many]
        with linked_spans(telemetry.FOLLOW, works) as spans:
            outcomes = await self._projected([
                replace(projection, traceparent=traceparent_of(span) or cause_of(document))
                for span, (document, projection) in zip(spans, many, strict=True)
            ])  # fmt: skip
            for span, outcome in zip(spans, outcomes, strict=True):
                span.set_attribute(telemetry.OUTCOME, outcome)
        return outcomes

    async def _projected(self, many: Sequence[Projection]) -> list[str]:
        """What becomes of each, of which this Redis knows most already."""
        # Where none of the last ones was known nobody looks: another memoryd writes, and what it has written comes.
        known = await echoes(self._records, many) if self._echoing else [False] * len(many)
        answers = iter(await self._brought([one for one, echo in zip(many, known, strict=True) if not echo]))
        outcomes = ["ignored" if echo else next(answers) for echo in known]
        self._echoing = "ignored" in outcomes
        return outcomes

    async def _brought(self, many: Sequence[Projection]) -> list[str]:
        """The same by the atomic step. A part of many is made ready while Redis has another, all of different memories."""
        parts = [many[start : start + FOLLOW_STEP_MAX] for start in range(0, len(many), FOLLOW_STEP_MAX)]
        outcomes = list(chain.from_iterable(await all_ended(project_many(self._records, part) for part in parts)))
        if "fenced" in outcomes:
            raise Fenced
        return outcomes

    async def _adopt(self, many: Sequence[tuple[Document, Document]]) -> list[str]:
        """Gives what others wrote the next version, keeps it in `versions`, and projects it: documents, and what they become."""
        works: list[tuple[Sequence[str], Attributes]] = [([], {telemetry.RECORD_ID: one["_id"]}) for _, one in many]
        with linked_spans(telemetry.FOLLOW, works) as spans:
            for (_, whole), span in zip(many, spans, strict=True):
                whole |= {"traceparent": traceparent_of(span), "adopted": True}
            stand = await self._replaced(many)
            taken = [whole for (_, whole), stands in zip(many, stand, strict=True) if stands]
            known = await self._keep_versions(taken)
            answers = iter(await self._brought([self._kept(one, known) for one in taken]))
            outcomes = [next(answers) if stands else "outdated" for stands in stand]
            self._given |= {one["_id"]: [one[name] for name in WRITTEN_AS] for one in taken}
            for span, outcome in zip(spans, outcomes, strict=True):
                span.set_attribute(telemetry.OUTCOME, outcome)
        if taken:
            log.info("follow.adopted", memories=len(taken), ids=[one["_id"] for one in taken[:IDS_TOLD_MAX]])
        return outcomes

    async def _replaced(self, many: Sequence[tuple[Document, Document]]) -> list[bool]:
        """Puts them there only if nobody has written since; otherwise that write's own event brings us back here."""
        stand = await self._archive.replace([(_as_read(document), whole) for document, whole in many])
        # What is ours may have changed meanwhile: then it is told field by field, which costs MongoDB half as much again.
        rest = [pair for pair, stands in zip(many, stand, strict=True) if not stands]
        again = iter(await self._archive.replace([(_exactly(document), whole) for document, whole in rest]) if rest else [])
        return [stands or next(again) for stands in stand]

    def _kept(self, whole: Document, known: Collection[str]) -> Projection:
        """What has just been adopted. The archiver has nothing to do for it, unless it is to be packed there, or its number in the
        history is perhaps another's."""
        projection = self._fitted(to_record(whole), cause=whole["traceparent"], adopted=True)
        memory = projection.record.memory
        done = memory.tier is not Tier.ARCHIVE and f"{memory.id}:{memory.version}" not in known
        return replace(projection, archived=done)

    async def _keep_versions(self, wholes: Sequence[Document]) -> Sequence[str]:
        """Puts them into the history; which of their places there were taken."""
        known = await self._archive.history.keep_adopted(wholes) if wholes else []
        if known:
            log.warning("follow.version_known", versions=len(known))
        return known

    async def forget_deleted(self, memory_id: str, *, at: Timestamp | None = None, told: int = 0) -> None:
        """A person deleted the document: that is a forget, and its past goes too.

        `at` is when, by MongoDB's order of things, `told` the same in microseconds. What the archiver has written there
        since goes as well, when it was said before; what was said since, or written by a person, stays.
        """
        memory, found = await self._last_known(memory_id), await self._archive.get(memory_id)
        if memory is None or not (found is None or (at is not None and _came_late(found, at))):
            return  # never followed, or somebody has written it again
        with linked_span(telemetry.FOLLOW, [], {telemetry.RECORD_ID: memory_id}):
            outcome = await self._forget_deleted(memory, found, told=told)
            tell({telemetry.OUTCOME: outcome})
        log.info("follow.deleted", id=memory_id, outcome=outcome)

    async def _forget_deleted(self, memory: Memory, found: Document | None, *, told: int) -> str:
        memory_id, scope = memory.id, Scope(memory.tenant, memory.project)
        version = max(memory.version, int(found["version"]) if found else 0)
        request = Request(id=f"deleted {memory_id} {version}", fingerprint="", traceparent=inject())
        now = self._clock.now()
        doomed = Doomed(
            memory_id, memory.memory_type, memory.scope, scope, request, version, memory.content_hash,
            said_before=told if found else 0,
        )  # fmt: skip
        [written] = await forget(self._records, [doomed], now=to_microseconds(now))
        if written.outcome == "forgotten":
            bucket = self._records.keys.bucket(memory_id)
            await Forgets(self._records.redis).leave(
                receipt_of_sync(scope, request, now, doomed, written, bucket=bucket, reason="deleted in MongoDB")
            )
        return written.outcome

    async def _last_known(self, memory_id: str) -> Memory | None:
        """What a deleted document was: from its history, or, when the archiver has not come to write that, the journal."""
        with archive_errors("follow"):
            last = await self._archive.versions.find_one({"memory_id": memory_id}, sort=[("version", -1)])
        if last is not None:
            return to_record({"content": "", **last, "_id": memory_id}).memory
        keys = self._records.keys
        try:
            fields = await last_written(self._records.redis, keys.journal(keys.bucket(memory_id)), memory_id)
        except ValueError:
            return None  # no id of ours
        return from_hash(fields, self._records.datatype).memory if fields else None


def cause_of(document: Document) -> str:
    """The traceparent of what wrote a document; a person may have put anything there."""
    cause = document.get("traceparent", "")
    return cause if isinstance(cause, str) else ""


def _measure(outcomes: Sequence[str]) -> None:
    for outcome, count in Counter(outcomes).items():
        measure(telemetry.FOLLOW_EVENTS, count, {telemetry.OUTCOME: outcome})


def _trace(name: str, documents: Sequence[Document], outcomes: Sequence[str], began: int) -> None:
    """What of many documents was applied, as one trace linked to all that wrote them; nothing where nothing was."""
    applied = [cause_of(document) for document, outcome in zip(documents, outcomes, strict=True) if outcome == "applied"]
    if applied:
        with linked_span(name, applied, {telemetry.BATCH_SIZE: len(applied)}, began=began):
            pass


def _came_late(found: Document, at: Timestamp) -> bool:
    """Whether an archiver wrote the document after that moment. A copy that a person puts back has an older time in it,
    and of what a person has changed the seal does not fit."""
    archived = found.get("archived")
    if found.get("tombstone") or not isinstance(archived, Timestamp) or archived <= at:
        return False
    try:
        return bool(found.get("seal") == seal(to_record(found).memory))
    except (KeyError, ValueError, TypeError, OverflowError):
        return False


def _told(change: Mapping[str, Any]) -> int:
    """When a change was made, in microseconds; MongoDB before 6.0 tells the second."""
    if wall := change.get("wallTime"):
        return to_microseconds(wall.replace(tzinfo=UTC))
    return int(change["clusterTime"].time) * 1_000_000


def _as_read(document: Document) -> Document:
    """Matches the document only if it is the very one that was read."""
    if PACKED in document:  # its content was not there in the clear
        return _exactly(document)
    return {"_id": document["_id"], "$expr": {"$eq": ["$$ROOT", {"$literal": document}]}}


def _exactly(document: Document) -> Document:
    """Matches the document only as it was read: nothing that a person may edit has changed since."""
    absent: Document = {"$exists": False}
    edited = {name: {"$eq": document[name]} if name in document else absent for name in (*SEALED, "seal")}
    if PACKED in document:
        edited |= {"content": absent, PACKED: {"$eq": document[PACKED]}}
    return {"_id": document["_id"], **edited}
