"""Receipts in the archive: one chain of hashes for each project. Our code only ever appends to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from pymongo.errors import BulkWriteError

from memoryd.archive.client import DUPLICATE_KEY, MAJORITY, NOT_NOW, archive_errors
from memoryd.archive.codec import Document, plain
from memoryd.clock import from_microseconds, to_microseconds
from memoryd.errors import ArchiveUnavailable
from memoryd.model.receipt import FullReceipt, ReceiptSummary, chained
from memoryd.model.scope import Scope

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase

TIMES = ("asked_at", "finished_at")
Body = dict[str, Any]
"""A receipt as it goes over the wire, all fields that its document has: what its hash is made of."""


class ReceiptArchive:
    """The receipts of one database."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        # Not the majority's view: the newest receipt is the one to append to, and when ours has a majority, it has too.
        self.collection = database.get_collection("receipts", write_concern=MAJORITY)

    async def append(self, receipts: Sequence[FullReceipt]) -> dict[str, FullReceipt]:
        """Chains receipts of one project to its last one, in order and each once; returns what stands under each id.

        Two syncs may append at once: who took the same number second looks again.
        """
        ids = [one.id for one in receipts]
        with archive_errors("append receipts"):
            while True:
                stands = {one["_id"]: to_receipt(to_body(one)) async for one in self.collection.find({"_id": {"$in": ids}})}
                new = {one.id: one for one in receipts if one.id not in stands}
                if not new:
                    return stands
                last = await self.collection.find_one(_chain(receipts[0].scope), {"memories": 0}, sort=[("seq", -1)])
                seq, previous = (int(last["seq"]), str(last["hash"])) if last else (0, "")
                links = []
                for one in new.values():
                    links.append(chained(one, seq := seq + 1, previous))
                    previous = links[-1].hash
                try:
                    await self.collection.insert_many(map(to_document, links), ordered=True)
                except BulkWriteError as error:
                    _raise_unless_taken(error)
                else:
                    return stands | {one.id: one for one in links}

    async def get(self, scope: Scope, receipt_id: str) -> Body | None:
        """A receipt that was asked for inside this scope."""
        with archive_errors("read a receipt"):
            found = await self.collection.find_one({"_id": receipt_id})
        return to_body(found) if found and scope.holds(_scope(found)) else None

    async def before(self, scope: Scope, seq: int) -> Body | None:
        """The receipt right before this number in the project's chain."""
        with archive_errors("read a receipt"):
            found = await self.collection.find_one({**_chain(scope), "seq": seq - 1})
        return to_body(found) if found else None

    async def after(self, scope: Scope, seq: int) -> Body | None:
        """The next receipt that there is after this number."""
        with archive_errors("read a receipt"):
            found = await self.collection.find_one({**_chain(scope), "seq": {"$gt": seq}}, sort=[("seq", 1)])
        return to_body(found) if found else None

    async def chain(self, scope: Scope) -> AsyncIterator[Body]:
        """The whole chain of the project, from its first receipt on."""
        with archive_errors("read the receipts"):
            async for document in self.collection.find(_chain(scope)).sort("seq", 1):
                yield to_body(document)

    async def page(self, scope: Scope, *, before_seq: int | None, count: int) -> list[ReceiptSummary]:
        """The scope's receipts below a number, newest first."""
        query = _chain(scope) | {name: value for name in ("agent", "session") if (value := getattr(scope, name))}
        if before_seq is not None:
            query["seq"] = {"$lt": before_seq}
        wanted = dict.fromkeys((*ReceiptSummary.__struct_fields__[1:], "tenant", "project"), 1)
        with archive_errors("read the receipts"):
            found = self.collection.find(query, wanted).sort("seq", -1).limit(count)
            return [msgspec.convert(to_body(one), ReceiptSummary) async for one in found]


def _raise_unless_taken(error: BulkWriteError) -> None:
    """A number that another sync has taken is no error: it is looked at again."""
    codes = {one["code"] for one in error.details.get("writeErrors", [])}
    if error.details.get("writeConcernErrors") or codes & NOT_NOW:
        raise ArchiveUnavailable("append receipts: MongoDB has not confirmed the write to a majority") from error
    if codes != {DUPLICATE_KEY}:
        raise error


def to_document(receipt: FullReceipt) -> Document:
    """The document of a chained receipt; times are microseconds as everywhere in the archive."""
    body = msgspec.to_builtins(receipt)
    document: Document = {"_id": body.pop("id"), **body}
    return document | {name: to_microseconds(getattr(receipt, name)) for name in TIMES}


def to_body(document: Mapping[str, Any]) -> Body:
    """The receipt of a document, whatever somebody may have made of it."""
    body: Body = plain(dict(document))
    body["id"] = body.pop("_id")
    return body | {name: _moment(body[name]) for name in TIMES if name in body}


def to_receipt(body: Body) -> FullReceipt:
    """The receipt as the wire and the code know it. Raises msgspec.ValidationError when somebody made it another thing."""
    return msgspec.convert(body, FullReceipt)


def _moment(count: Any) -> Any:
    try:
        moment: datetime = from_microseconds(count)
    except (TypeError, OverflowError):
        return count
    return msgspec.to_builtins(moment)


def _chain(scope: Scope) -> Document:
    return {"tenant": scope.tenant, "project": scope.project}


def _scope(document: Mapping[str, Any]) -> Scope:
    return Scope(*(str(document.get(name, "")) for name in ("tenant", "project", "agent", "session")))
