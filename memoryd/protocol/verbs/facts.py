"""The verbs of facts: fact.put, fact.find, fact.end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec

from memoryd.agent.facts import FactStore
from memoryd.clock import Clock, to_microseconds
from memoryd.hot.changes import Request
from memoryd.limits import FACT_NAME_BYTES_MAX, FACT_OBJECT_BYTES_MAX, FACTS_LIMIT_MAX, NAME_BYTES_MAX, TAGS_MAX
from memoryd.model.fact import Believed, Confidence, Ended, FactFilter, Facts, NewFact
from memoryd.model.memory import Durability, in_utc
from memoryd.model.scope import Scope
from memoryd.protocol.verbs.verb import Form, Handler

Limit = Annotated[int, msgspec.Meta(ge=1, le=FACTS_LIMIT_MAX)]


class FactPutArgs(NewFact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `fact.put`."""

    durability: Durability = Durability.HOT


class FactFindArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `fact.find`."""

    subject: str = ""
    predicate: str = ""
    object: str = ""
    at: datetime | None = None
    ever: bool = False
    confidence_min: Confidence = 0.0
    session: str | None = None
    limit: Limit = 50


class FactEndArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `fact.end`."""

    subject: str
    predicate: str
    object: str = ""
    at: datetime | None = None
    session: str | None = None
    durability: Durability = Durability.HOT


FORMS: Mapping[str, Form] = {
    "fact.put": Form(FactPutArgs, Believed, writes=True),
    "fact.find": Form(FactFindArgs, Facts),
    "fact.end": Form(FactEndArgs, Ended, writes=True),
}

_NAME = {"minLength": 1, "maxLength": FACT_NAME_BYTES_MAX}
_SAYS = f"at most {FACT_NAME_BYTES_MAX} bytes of UTF-8; case, spaces and underscores make no difference"
_SESSION = {"maxLength": NAME_BYTES_MAX, "description": "its session, when the scope names none"}
_TIME = {"format": "date-time"}
SAYS: Mapping[str, Any] = {
    "FactPutArgs": {
        "subject": {**_NAME, "description": f"of whom or what: {_SAYS}"},
        "predicate": {**_NAME, "description": f"what is said of it, for instance lives_in: {_SAYS}"},
        "object": {
            "minLength": 1, "maxLength": FACT_OBJECT_BYTES_MAX, "description": f"text of at most {FACT_OBJECT_BYTES_MAX} bytes",
        },
        "confidence": {"description": "how sure it is, 0 to 1"},
        "many": {
            "description": "true: the subject may have other objects beside this one; false: another object that holds "
            "when this one begins is ended then"
        },
        "text": {"description": "the fact in words, to be recalled by; empty: its three parts"},
        "valid_from": {**_TIME, "description": "since when it is true: RFC 3339 with a zone; now without it"},
        "valid_until": {**_TIME, "description": "until when (exclusive), null for no end"},
        "session": _SESSION,
        "importance": {"description": "as of a memory"},
        "tags": {"maxItems": TAGS_MAX, "description": "as of a memory"},
        "source_tool": {"maxLength": NAME_BYTES_MAX, "description": "the tool that it came from"},
        "derived_from": {"description": "ids of the memories that say so; it is forgotten with them"},
        "durability": {"description": "as of `store`"},
    },
    "FactFindArgs": {
        "subject": {"maxLength": FACT_NAME_BYTES_MAX, "description": "only of this subject; empty: of all"},
        "predicate": {"maxLength": FACT_NAME_BYTES_MAX, "description": "only this predicate; empty: all"},
        "object": {"maxLength": FACT_OBJECT_BYTES_MAX, "description": "only with this object; empty: all"},
        "at": {**_TIME, "description": "what is true at this moment: RFC 3339 with a zone; null: now"},
        "ever": {"description": "true: whenever it is or was true; `at` is left out then"},
        "confidence_min": {"description": "only what is at least so sure"},
        "session": {"maxLength": NAME_BYTES_MAX, "description": "only this session's; null: as the scope says"},
        "limit": {"description": "how many at most"},
    },
    "FactEndArgs": {
        "subject": {**_NAME, "description": "as of `fact.put`"},
        "predicate": {**_NAME, "description": "as of `fact.put`"},
        "object": {"maxLength": FACT_OBJECT_BYTES_MAX, "description": "only this object; empty: whatever it is"},
        "at": {**_TIME, "description": "since when it holds no longer: RFC 3339 with a zone; null: now"},
        "session": _SESSION,
        "durability": {"description": "as of `store`"},
    },
    "Believed": {
        "id": {"description": "the memory that the fact is"},
        "version": {"description": "the version that it has now"},
        "outcome": {
            "enum": ["stored", "updated", "reinforced"],
            "description": "stored: it is new; updated: it was known with another confidence or end; reinforced: it was known",
        },
        "ended": {"description": "ids of the facts that it has ended"},
        "durability": {"description": "what it has survived"},
        "replayed": {"description": "whether this is the first answer to a repeated request"},
    },
    "Facts": {
        "facts": {"description": "those that hold since last first"},
        "degraded": {"description": "why something was not searched; empty when all was"},
    },
    "Fact": {
        "id": {"description": "the memory that it is"},
        "confidence": {"description": "how sure it is, 0 to 1"},
        "text": {"description": "the memory's content: the fact in words"},
        "valid_from": {**_TIME, "description": "since when it is true"},
        "valid_until": {**_TIME, "description": "until when (exclusive), null for no end"},
        "recorded_at": {**_TIME, "description": "when this version was written"},
        "derived_from": {"description": "ids of the memories that say so"},
    },
    "Ended": {"ended": {"description": "ids of the facts that hold no longer; none when none did"}},
}


class FactVerbs:
    """Carries them out."""

    def __init__(self, facts: FactStore, clock: Clock) -> None:
        self._facts = facts
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {"fact.put": self._put, "fact.find": self._find, "fact.end": self._end}

    async def _put(self, scope: Scope, args: FactPutArgs, request: Request) -> Any:
        return await self._facts.put(scope, args, durability=args.durability, request=request)

    async def _find(self, scope: Scope, args: FactFindArgs, request: Request) -> Any:
        moment = in_utc("at", args.at) if args.at else self._clock.now()
        wanted = FactFilter(
            args.subject, args.predicate, args.object, at=None if args.ever else to_microseconds(moment),
            confidence_min=args.confidence_min,
        )  # fmt: skip
        return await self._facts.find(scope, wanted, limit=args.limit, session=args.session)

    async def _end(self, scope: Scope, args: FactEndArgs, request: Request) -> Any:
        return await self._facts.end(
            scope, args.subject, args.predicate, args.object, at=args.at, session=args.session,
            durability=args.durability, request=request,
        )  # fmt: skip
