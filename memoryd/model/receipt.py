"""What a forget plans, what it leaves as its proof, and what a look at that proof finds. None of it holds content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from memoryd.model.memory import Durability, MemoryType
from memoryd.model.scope import Scope

Removed: TypeAlias = dict[str, dict[str, int]]
"""How much of what kind, by store: {"redis": {"records": 3}, …}."""


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """One memory that is to be forgotten."""

    id: str
    version: int
    type: MemoryType
    where: str
    """hot, archive, or both."""
    reason: str


class ForgetPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a forget would remove now. Give its digest back as `if_plan`, and exactly this is removed or nothing."""

    digest: str
    count: int
    removes: Removed
    memories: list[Planned]
    """The first of them, a page at most."""
    degraded: str = ""
    """Why a query did not search in every way; empty when it did."""


class ForgottenMemory(msgspec.Struct, frozen=True, kw_only=True):
    """One memory that is gone, the version of its tombstone, and why."""

    id: str
    version: int
    reason: str


class FullReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What one forget removed. `seq`, `previous` and `hash` are given when it is chained to the one before it."""

    id: str
    tenant: str
    project: str
    agent: str
    session: str
    asked_by: str
    """The client's name on the wire, or sync."""
    request_id: str
    selection: dict[str, Any]
    cascade: bool
    asked_at: datetime
    finished_at: datetime
    durability: Durability
    """What the forgetting had survived when the receipt was written."""
    removed: Removed
    count: int
    memories: list[ForgottenMemory]
    entries: dict[str, str]
    """The last journal entry of the forget in each bucket: a follower that has passed it has seen all of it."""
    plan: str
    seq: int = 0
    previous: str = ""
    hash: str = ""

    @property
    def scope(self) -> Scope:
        """Where it was asked."""
        return Scope(self.tenant, self.project, self.agent, self.session)

    def page(self, first: int, count: int) -> FullReceipt:
        """The same with some of its memories only."""
        return msgspec.structs.replace(self, memories=self.memories[first : first + count])


class ForgottenMany(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `forget_many`: the plan of a dry run, the receipt of a real one."""

    plan: ForgetPlan | None = None
    receipt: FullReceipt | None = None


class ReceiptPage(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt with the memories from `first` on, a page at most."""

    receipt: FullReceipt
    first: int


class Rewritten(msgspec.Struct, frozen=True, kw_only=True):
    """Redis's files that were written anew in time: aof, rdb."""

    files: list[str]


class ReceiptSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a list of receipts."""

    id: str
    seq: int
    agent: str
    session: str
    asked_by: str
    asked_at: datetime
    count: int


class Receipts(msgspec.Struct, frozen=True, kw_only=True):
    """Receipts of a scope, newest first; those that are not chained yet (`seq` 0) come before all others."""

    receipts: list[ReceiptSummary]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is still there, or not as the receipt says."""

    where: str
    id: str
    what: str


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What a look everywhere found. `ok`: nothing is left, everything has followed, and the chain holds."""

    id: str
    ok: bool
    findings: list[Finding]
    """The first of them, a page at most."""
    found: int
    looked: dict[str, int]
    """How much was looked at, by place."""
    stored_again: list[str]
    """Memories that live again because they were stored after the forget; the first of them."""
    chained: bool


# --- the chain ----------------------------------------------------------------------------------------------------------
def chained(receipt: FullReceipt, seq: int, previous: str) -> FullReceipt:
    """The receipt as the next one of its chain: `previous` is the hash of the one before it, empty for the first."""
    placed = msgspec.structs.replace(receipt, seq=seq, previous=previous, hash="")
    return msgspec.structs.replace(placed, hash=hash_of(msgspec.to_builtins(placed)))


def said_again(receipt: FullReceipt) -> FullReceipt:
    """The receipt with an id of its own, for a chain in which the request's id stands for another run of the same request."""
    told = hash_of({"id": receipt.id, "memories": msgspec.to_builtins(receipt.memories)})
    return msgspec.structs.replace(receipt, id="rcp_" + told[:32])


def hash_of(body: Mapping[str, Any]) -> str:
    """SHA-256 over a receipt's canonical JSON: all its fields but `hash`, keys sorted, no spaces, UTF-8."""
    hashed = {name: value for name, value in body.items() if name != "hash"}
    # What no receipt holds (somebody has put it there) is written in some way, so that the hash is another.
    text = json.dumps(hashed, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def broken_link(before: Mapping[str, Any] | None, body: Mapping[str, Any]) -> str:
    """What is wrong with a receipt's place in its chain, given the one before it (None: there is none); '' if nothing."""
    if body.get("hash") != hash_of(body):
        return "was changed: its hash is another"
    if before is None:
        first = (body.get("seq"), body.get("previous")) == (1, "")
        return "" if first else "the receipt before it is missing"
    number = before.get("seq")
    if not isinstance(number, int) or body.get("seq") != number + 1:
        return f"a receipt is missing between the numbers {number} and {body.get('seq')}"
    if body.get("previous") != before.get("hash"):
        return f"does not follow from number {number}"
    return ""
