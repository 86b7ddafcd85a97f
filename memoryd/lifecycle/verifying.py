"""Looking again, everywhere, for what a receipt says is gone; and whether the receipt itself is still what was left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import msgspec

from memoryd.archive.receipts import Body, ReceiptArchive, to_receipt
from memoryd.archive.store import Archive
from memoryd.clock import Clock, to_microseconds
from memoryd.errors import ArchiveUnavailable
from memoryd.hot import lookups
from memoryd.hot.journal import entries_with_text, not_passed
from memoryd.hot.records import Records
from memoryd.lifecycle.derived import Sources, sources_of
from memoryd.lifecycle.holders import Holder
from memoryd.lifecycle.receipts import ReceiptBook
from memoryd.lifecycle.targets import project_of
from memoryd.limits import FINDINGS_MAX, TOMBSTONE_TTL_SECONDS
from memoryd.model.receipt import Finding, ForgottenMemory, FullReceipt, Verification, broken_link
from memoryd.model.scope import Scope

BATCH = 500  # memories that are looked for together


class Verifier:
    """Looks at one Redis and the archive."""

    def __init__(
        self,
        book: ReceiptBook,
        records: Records,
        archive: Archive | None,
        holders: Sequence[Holder],
        clock: Clock,
    ) -> None:
        self._book = book
        self._records = records
        self._archive = archive
        self._holders = holders
        self._clock = clock

    async def verify(self, scope: Scope, receipt_id: str, *, whole_chain: bool = False) -> Verification:
        """What is left of what the receipt says is gone. Raises NotFound, and ArchiveUnavailable: it looks everywhere."""
        if self._archive is None or self._book.archive is None:
            raise ArchiveUnavailable("verify: this daemon has no archive to look into")
        body = await self._book.body(scope, receipt_id)
        look = _Look(self._records, self._archive, project_of(scope))
        await _look_at_chain(self._book.archive, scope, body, look, whole=whole_chain)
        try:
            receipt = to_receipt(body)
        except msgspec.ValidationError:
            look.find("receipt", receipt_id, "is no receipt any more")
            return look.verification(receipt_id, chained=bool(body.get("seq")))
        expired = receipt.finished_at + timedelta(seconds=TOMBSTONE_TTL_SECONDS) < self._clock.now()
        for some in _some(receipt.memories):
            await look.for_memories(receipt, some, tombstones_expired=expired)
        await look.for_entries(receipt)
        for holder in self._holders:
            for finding in await holder.look(receipt):
                look.find(finding.where, finding.id, finding.what)
        return look.verification(receipt_id, chained=receipt.seq > 0)


class _Look:
    """One look at everything, and what it has found so far."""

    def __init__(self, records: Records, archive: Archive, project: Scope) -> None:
        self._records = records
        self._archive = archive
        self._project = project
        self._findings: list[Finding] = []
        self._found = 0
        self._again: list[str] = []
        self.looked: dict[str, int] = {}

    def find(self, where: str, what_id: str, what: str) -> None:
        """One thing that is not as it should be."""
        self._found += 1
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(Finding(where=where, id=what_id, what=what))

    def count(self, what: str, number: int = 1) -> None:
        """So much more was looked at."""
        self.looked[what] = self.looked.get(what, 0) + number

    def verification(self, receipt_id: str, *, chained: bool) -> Verification:
        """What it came to."""
        return Verification(
            id=receipt_id, ok=not self._found, findings=self._findings, found=self._found, looked=self.looked,
            stored_again=self._again[:FINDINGS_MAX], chained=chained,
        )  # fmt: skip

    async def for_memories(
        self, receipt: FullReceipt, some: Sequence[ForgottenMemory], *, tombstones_expired: bool
    ) -> None:
        """Records, tombstones, documents and versions of some of the memories, and what was made of them."""
        gone = {one.id: one.version for one in some}
        ids = list(gone)
        asked_at = to_microseconds(receipt.asked_at)
        forgets = {memory_id: (version, asked_at) for memory_id, version in gone.items()}
        sources = await sources_of(self._records, self._archive, self._project, ids, forgets=forgets)
        stones = await self._records.tombstones.of(ids)
        self.count("memories", len(ids))
        for memory_id, version in gone.items():
            stone = 0 if memory_id not in stones else stones[memory_id].version
            self._for_redis(memory_id, version, sources.hot.get(memory_id), stone or (version if tombstones_expired else 0))
            self._for_mongodb(memory_id, version, sources)
            if sources.life(memory_id) > version:
                self._again.append(memory_id)
        for memory_id, version in await self._archive.history.of(ids):
            self.count("versions")
            if version <= gone[memory_id]:
                self.find("MongoDB: versions", memory_id, f"version {version} is there")
        await self._for_derived(ids, sources)

    def _for_redis(self, memory_id: str, version: int, here: int | None, stone: int) -> None:
        if here is not None and here <= version:
            self.find("Redis: records", memory_id, f"its record is there, at version {here}")
        if not stone:
            self.find("Redis: tombstones", memory_id, "its tombstone is missing")
        elif stone < version:
            self.find("Redis: tombstones", memory_id, f"its tombstone is of version {stone}, not {version}")

    def _for_mongodb(self, memory_id: str, version: int, sources: Sources) -> None:
        document = sources.archived.get(memory_id)
        if document is None:
            self.find("MongoDB: memories", memory_id, "its tombstone is missing")
            return
        there = int(document.get("version", 0))
        if not document.get("tombstone") and there <= version:
            self.find("MongoDB: memories", memory_id, f"it lives there, at version {there}")
        elif document.get("tombstone") and there < version:
            self.find("MongoDB: memories", memory_id, f"its tombstone is of version {there}, not {version}")

    async def _for_derived(self, ids: Sequence[str], sources: Sources) -> None:
        """What was made of the memories and lives on, and former versions of it."""
        naming = await lookups.naming(self._records.redis, self._project, "derived_from", ids)
        naming |= await self._archive.naming(self._project, "derived_from", ids)
        hot = await self._records.get_many(self._project, sorted(naming)) if naming else {}
        archived = await self._archive.living(sorted(naming), with_text=False) if naming else {}
        for memory_id in sorted(naming):
            self.count("derived")
            for where, side in (("Redis: records", hot.get(memory_id)), ("MongoDB: memories", archived.get(memory_id))):
                if side is not None and (of := sources.orphaned(side.derived_from, side.recorded_at)):
                    self.find(where, memory_id, f"was made of {of}")
        for document in await self._archive.history.made_of(self._project, ids):
            if of := sources.orphaned(document["derived_from"], int(document.get("recorded_at", 0))):
                self.find(
                    "MongoDB: versions", document["memory_id"], f"version {document['version']} was made of {of}"
                )

    async def for_entries(self, receipt: FullReceipt) -> None:
        """Journal entries that carry what is gone, and followers that have still to hear of it."""
        gone = {one.id: one.version for one in receipt.memories}
        for bucket, entry in receipt.entries.items():
            for group in await not_passed(self._records.redis, self._records.keys, bucket, entry):
                self.find(f"Redis: journal {bucket}", entry, f"the follower `{group}` has not passed it yet")
            async for memory_id, version in entries_with_text(
                self._records.redis, self._records.keys.journal(bucket)
            ):
                self.count("journal entries")
                if version <= gone.get(memory_id, -1):
                    self.find(f"Redis: journal {bucket}", memory_id, f"an entry has its version {version}")


async def _look_at_chain(archive: ReceiptArchive, scope: Scope, body: Body, look: _Look, *, whole: bool) -> None:
    """The receipt's own hash and its links; or those of all receipts of the project."""
    seq = body.get("seq")
    if not isinstance(seq, int) or seq < 1:
        look.find("chain", str(body["id"]), "is not chained yet: sync has still to fetch it")
    else:
        await _look_at_links(archive, scope, body, seq, look)
    if whole:
        before: Body | None = None
        async for one in archive.chain(scope):
            look.count("receipts")
            if one["id"] != body["id"] and (problem := broken_link(before, one)):
                look.find("chain", str(one["id"]), problem)
            before = {name: one.get(name) for name in ("seq", "hash")}


async def _look_at_links(archive: ReceiptArchive, scope: Scope, body: Body, seq: int, look: _Look) -> None:
    look.count("receipts")
    before, after = await archive.before(scope, seq), await archive.after(scope, seq)
    if problem := broken_link(before, body):
        look.find("chain", str(body["id"]), problem)
    if after is not None and (problem := broken_link(body, after)):
        look.find("chain", str(after["id"]), problem)


def _some(memories: Sequence[ForgottenMemory]) -> Iterator[Sequence[ForgottenMemory]]:
    return (memories[start : start + BATCH] for start in range(0, len(memories), BATCH))
