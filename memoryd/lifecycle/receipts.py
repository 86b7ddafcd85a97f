"""Receipts as people ask for them: from the archive's chain, or from Redis while sync has not fetched them yet."""

from __future__ import annotations

import builtins
from datetime import datetime

import msgspec

from memoryd.archive.receipts import Body, ReceiptArchive, to_receipt
from memoryd.errors import ArchiveUnavailable, MemorydError, NotFound
from memoryd.hot.changes import Doomed, Request, Written
from memoryd.hot.receipts import Forgets
from memoryd.limits import RECEIPT_PAGE_MAX
from memoryd.model.ids import check_receipt_id, receipt_id
from memoryd.model.memory import Durability
from memoryd.model.receipt import ForgottenMemory, FullReceipt, ReceiptPage, Receipts, ReceiptSummary, hash_of
from memoryd.model.scope import Scope


class ReceiptBook:
    """The receipts of one Redis and the archive."""

    def __init__(self, forgets: Forgets, archive: ReceiptArchive | None) -> None:
        self._forgets = forgets
        self.archive = archive

    async def body(self, scope: Scope, receipt_id: str) -> Body:
        """A receipt with all that its hash is made of; `seq` 0 says that it is not chained yet.

        Raises NotFound, and ArchiveUnavailable when only the archive would know it.
        """
        check_receipt_id("id", receipt_id)
        try:
            chained = await self.archive.get(scope.check(), receipt_id) if self.archive else None
        except ArchiveUnavailable:
            if waiting := await self._forgets.find(scope, receipt_id):
                return _body(waiting)
            raise
        if chained is not None:
            return chained
        if waiting := await self._forgets.find(scope, receipt_id):
            return _body(waiting)
        # Sync may have fetched it between the two looks.
        if self.archive and (chained := await self.archive.get(scope, receipt_id)):
            return chained
        raise NotFound(f"{receipt_id}: this scope holds no such receipt", id=receipt_id)

    async def page(self, scope: Scope, receipt_id: str, *, first: int) -> ReceiptPage:
        """A receipt with a page of its memories. Raises what `body` raises."""
        try:
            receipt = to_receipt(await self.body(scope, receipt_id))
        except msgspec.ValidationError as error:
            raise MemorydError(
                f"{receipt_id}: the archive's document is no receipt any more", hint="`memoryd forget verify` looks at it"
            ) from error
        return ReceiptPage(receipt=receipt.page(first, RECEIPT_PAGE_MAX), first=first)

    async def list(self, scope: Scope, *, before_seq: int | None, count: int) -> Receipts:
        """The scope's receipts, newest first; those that are not chained yet come with the first page.

        Raises ArchiveUnavailable.
        """
        if self.archive is None:
            raise ArchiveUnavailable("receipts: this daemon has no archive to look into")
        waiting: builtins.list[ReceiptSummary] = []
        if before_seq is None:
            waiting = [_summary(one) async for one in self._forgets.unfetched() if scope.check().holds(one.scope)]
        chained = await self.archive.page(scope.check(), before_seq=before_seq, count=count)
        known = {one.id for one in chained}
        return Receipts(receipts=[*(one for one in reversed(waiting) if one.id not in known), *chained][:count])


def receipt_of_sync(
    project: Scope, request: Request, now: datetime, doomed: Doomed, written: Written, *, bucket: str, reason: str
) -> FullReceipt:
    """The receipt of what sync has forgotten by itself."""
    memory = ForgottenMemory(id=written.id, version=written.version, reason=reason)
    return FullReceipt(
        id=receipt_id(project, request.id, request.fingerprint), tenant=project.tenant, project=project.project,
        agent=doomed.scope.agent, session=doomed.scope.session, asked_by="sync", request_id=request.id, selection={},
        cascade=False, asked_at=now, finished_at=now, durability=Durability.HOT,
        removed={"redis": {"records": int(written.was_here), "journal_entries": written.entries_removed}}, count=1,
        memories=[memory], entries={bucket: written.entry}, plan=hash_of(msgspec.to_builtins(memory)),
    )  # fmt: skip


def _body(receipt: FullReceipt) -> Body:
    body: Body = msgspec.to_builtins(receipt)
    return body


def _summary(receipt: FullReceipt) -> ReceiptSummary:
    return ReceiptSummary(**{name: getattr(receipt, name) for name in ReceiptSummary.__struct_fields__})
