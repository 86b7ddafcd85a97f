"""The verbs of forgetting: forget, forget_many, rewrite_aof, and the look at what is left: receipt, receipts,
verify_receipt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from memoryd.hot.changes import Request
from memoryd.lifecycle.forgetting import Asked, Forgetting
from memoryd.lifecycle.receipts import ReceiptBook
from memoryd.lifecycle.selection import Selection
from memoryd.lifecycle.verifying import Verifier
from memoryd.limits import (
    FINDINGS_MAX,
    FORGET_PLAN_MAX,
    NAME_BYTES_MAX,
    QUERY_BYTES_MAX,
    RECEIPT_PAGE_MAX,
    RECEIPTS_PAGE_MAX,
    TAGS_MAX,
)
from memoryd.model.ids import ID_PATTERN, RECEIPT_PATTERN
from memoryd.model.memory import Durability
from memoryd.model.receipt import ForgottenMany, ReceiptPage, Receipts, Rewritten, Verification
from memoryd.model.results import Receipt
from memoryd.model.scope import Scope
from memoryd.protocol.verbs.verb import Form, Handler


class ForgetArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `forget`."""

    id: str
    durability: Durability = Durability.HOT


class ForgetManyArgs(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `forget_many`."""

    cascade: bool = False
    dry_run: bool = False
    if_plan: str | None = None
    durability: Durability = Durability.HOT


class RewriteAofArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `rewrite_aof`."""

    dry_run: bool = False


class ReceiptArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `receipt`."""

    id: str
    first: Annotated[int, msgspec.Meta(ge=0)] = 0


class ReceiptsArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `receipts`."""

    before_seq: Annotated[int, msgspec.Meta(ge=1)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=RECEIPTS_PAGE_MAX)] = 50


class VerifyReceiptArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `verify_receipt`."""

    id: str
    chain: bool = False


FORMS: Mapping[str, Form] = {
    "forget": Form(ForgetArgs, Receipt, long=True),
    "forget_many": Form(ForgetManyArgs, ForgottenMany, long=True),
    "rewrite_aof": Form(RewriteAofArgs, Rewritten, long=True),
    "receipt": Form(ReceiptArgs, ReceiptPage),
    "receipts": Form(ReceiptsArgs, Receipts),
    "verify_receipt": Form(VerifyReceiptArgs, Verification, long=True),
}

_ID = {"pattern": f"^{ID_PATTERN.pattern}$"}
_NAME = {"maxLength": NAME_BYTES_MAX}
_NAME_SAYS = f"at most {NAME_BYTES_MAX} bytes of UTF-8, no control characters"
_DURABILITY = {"durability": {"description": "acknowledge when Redis has it (hot), its disk (fsync), MongoDB (archived)"}}
_RECEIPT_ID = {"pattern": f"^{RECEIPT_PATTERN.pattern}$"}
_PAGE = f"the first {RECEIPT_PAGE_MAX:,} of them"
_TEXT = f"at most {QUERY_BYTES_MAX} bytes of UTF-8, no NUL"

SELECTION: dict[str, Any] = {
    "ids": {
        "items": {"type": "string", **_ID},
        "maxItems": FORGET_PLAN_MAX,
        "description": "these memories",
    },
    "session": {"minLength": 1, **_NAME, "description": f"of this session; {_NAME_SAYS}"},
    "agent": {"minLength": 1, **_NAME, "description": f"of this agent, where the scope names none; {_NAME_SAYS}"},
    "tags": {
        "items": {"type": "string", "minLength": 1, **_NAME},
        "maxItems": TAGS_MAX,
        "description": "with at least one of these tags",
    },
    "types": {"description": "of one of these types"},
    "before": {"description": "created before: RFC 3339 with a zone"},
    "older_than_seconds": {"description": "created longer ago than this"},
    "words": {
        "maxLength": QUERY_BYTES_MAX,
        "description": f"whose content has all of these words, whole, in any case and order; {_TEXT}",
    },
    "query": {
        "maxLength": QUERY_BYTES_MAX,
        "description": f"what `recall` finds for it, and so never all that there is: look at the plan first; {_TEXT}",
    },
    "limit": {"description": "how many hits of the query at most"},
    "min_score": {
        "description": "only hits of the query that are at least this much like it: the cosine; 1: its very words"
    },
    "everything": {"description": "the whole scope; stands alone"},
}

SAYS: dict[str, dict[str, Any]] = {
    "ForgetArgs": {"id": {**_ID, "description": "the memory's id"}, **_DURABILITY},
    "ForgetManyArgs": {
        **SELECTION,
        "cascade": {"description": "also what is `related`, in both directions; what was made of them goes in any case"},
        "dry_run": {"description": "give the plan, and forget nothing"},
        "if_plan": {
            "pattern": "^[0-9a-f]{64}$",
            "description": "the digest of the plan that was shown: exactly this, or `conflict` and nothing",
        },
        **_DURABILITY,
    },
    "ForgottenMany": {"plan": {"description": "of a dry run"}, "receipt": {"description": "of a real one"}},
    "ForgetPlan": {
        "digest": {"description": "for `if_plan`"},
        "count": {"description": "how many memories"},
        "removes": {"description": "counts by store and kind"},
        "memories": {"description": _PAGE},
        "degraded": {"description": "why the query was not searched in every way; empty when it was"},
    },
    "Planned": {
        "id": {**_ID, "description": "the memory"},
        "where": {"enum": ["archive", "both", "hot"], "description": "which stores hold it"},
        "reason": {"description": "selected by …, derived from …, or related to …"},
    },
    "FullReceipt": {
        "id": {**_RECEIPT_ID, "description": "the same for a repeat of the request"},
        "tenant": {"description": "the scope that it was asked in"},
        "asked_by": {"description": "the client's name (`reply_to`); sync for what sync has forgotten"},
        "request_id": {"description": "the request's id"},
        "selection": {"description": "what was asked; tags, words and query as their SHA-256 only"},
        "cascade": {"description": "whether `related` was followed"},
        "asked_at": {"description": "when it was planned"},
        "finished_at": {"description": "when the receipt was written"},
        "durability": {"description": "what the forgetting had survived by then"},
        "removed": {"description": "counts by store and kind"},
        "count": {"description": "how many memories are gone"},
        "memories": {"description": f"at most {RECEIPT_PAGE_MAX:,}; the hash is over all of them"},
        "entries": {"description": "the last journal entry of the forget, by bucket"},
        "plan": {"description": "the digest of what was planned"},
        "seq": {"description": "its number in the project's chain, from 1; 0: not chained yet"},
        "previous": {"description": "the hash of the receipt before it; empty for the first"},
        "hash": {"description": "SHA-256 of all other fields as JSON with sorted keys, no spaces, UTF-8"},
    },
    "RewriteAofArgs": {"dry_run": {"description": "only say whether it can be done"}},
    "Rewritten": {
        "files": {"description": "aof, rdb: those that were done in time, of those that Redis keeps; none of a dry run"}
    },
    "ForgottenMemory": {
        "id": {**_ID, "description": "the memory that is gone"},
        "version": {"description": "the tombstone's version"},
        "reason": {"description": "selected by …, derived from …, or related to …"},
    },
    "ReceiptArgs": {
        "id": {**_RECEIPT_ID, "description": "the receipt's id"},
        "first": {"description": "the number of the first memory to list, from 0"},
    },
    "ReceiptPage": {
        "receipt": {"description": "with a page of its memories"},
        "first": {"description": "the number of the first one listed"},
    },
    "ReceiptsArgs": {
        "before_seq": {"description": "only receipts with a lower number in the chain; null: from the newest on"},
        "limit": {"description": "how many at most"},
    },
    "Receipts": {"receipts": {"description": "newest first; those that are not chained yet come before all others"}},
    "ReceiptSummary": {"seq": {"description": "its number in the project's chain; 0: not chained yet"}},
    "VerifyReceiptArgs": {
        "id": {**_RECEIPT_ID, "description": "the receipt's id"},
        "chain": {"description": "look at all receipts of the project, not only at this one and its neighbours"},
    },
    "Verification": {
        "id": {**_RECEIPT_ID, "description": "the receipt"},
        "ok": {"description": "nothing is left, every follower has passed the forget, and the chain holds"},
        "findings": {"description": f"the first {FINDINGS_MAX:,} things that are not so"},
        "found": {"description": "how many there are"},
        "looked": {"description": "how much was looked at, by kind"},
        "stored_again": {"description": "memories that live because they were stored after the forget"},
        "chained": {"description": "whether the receipt is in the chain"},
    },
    "Finding": {
        "where": {"description": "the store and the place in it, or chain"},
        "id": {"description": "the memory, the journal entry or the receipt"},
        "what": {"description": "what is wrong, for people"},
    },
}


class ForgettingVerbs:
    """Carries them out."""

    def __init__(self, forgetting: Forgetting, receipts: ReceiptBook, verifier: Verifier) -> None:
        self._forgetting = forgetting
        self._receipts = receipts
        self._verifier = verifier

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {
            "forget": self._forget, "forget_many": self._forget_many, "rewrite_aof": self._rewrite, "receipt": self._receipt,
            "receipts": self._list, "verify_receipt": self._verify,
        }  # fmt: skip

    async def _forget(self, scope: Scope, args: ForgetArgs, request: Request) -> Any:
        return await self._forgetting.forget(scope, args.id, request=request, durability=args.durability)

    async def _forget_many(self, scope: Scope, args: ForgetManyArgs, request: Request) -> Any:
        if args.dry_run:
            return await self._forgetting.plan(scope, args, cascade=args.cascade)
        asked = Asked(scope, args, request, args.durability, cascade=args.cascade)
        return await self._forgetting.forget_many(asked, if_plan=args.if_plan)

    async def _rewrite(self, scope: Scope, args: RewriteAofArgs, request: Request) -> Any:
        return Rewritten(files=await self._forgetting.rewrite(dry_run=args.dry_run))

    async def _receipt(self, scope: Scope, args: ReceiptArgs, request: Request) -> Any:
        return await self._receipts.page(scope, args.id, first=args.first)

    async def _list(self, scope: Scope, args: ReceiptsArgs, request: Request) -> Any:
        return await self._receipts.list(scope, before_seq=args.before_seq, count=args.limit)

    async def _verify(self, scope: Scope, args: VerifyReceiptArgs, request: Request) -> Any:
        return await self._verifier.verify(scope, args.id, whole_chain=args.chain)
