"""The verbs by which an agent looks at itself: introspect, what_do_i_know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from memoryd.agent.introspection import Introspect
from memoryd.hot.changes import Request
from memoryd.limits import INTROSPECT_DAYS_MAX, INTROSPECT_LIST_MAX, NAME_BYTES_MAX, QUERY_BYTES_MAX
from memoryd.model.introspection import Introspection, Knowledge
from memoryd.model.scope import Scope
from memoryd.protocol.verbs.verb import Form, Handler

Count = Annotated[int, msgspec.Meta(ge=1, le=INTROSPECT_LIST_MAX)]


class IntrospectArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `introspect`."""

    agent: str | None = None
    days: Annotated[int, msgspec.Meta(ge=1, le=INTROSPECT_DAYS_MAX)] = 30
    limit: Count = 10


class WhatDoIKnowArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `what_do_i_know`."""

    about: str
    session: str | None = None
    limit: Count = 10


FORMS: Mapping[str, Form] = {
    "introspect": Form(IntrospectArgs, Introspection),
    "what_do_i_know": Form(WhatDoIKnowArgs, Knowledge),
}

_TIME = {"format": "date-time"}
_SPAN = {
    "since": {**_TIME, "description": "since when there is something; null: there is nothing"},
    "latest": {**_TIME, "description": "the newest of it"},
}
SAYS: Mapping[str, Any] = {
    "IntrospectArgs": {
        "agent": {"maxLength": NAME_BYTES_MAX, "description": "which agent, when the scope names none; null: the whole scope"},
        "days": {"description": "how many days of its logs are reported on"},
        "limit": {"description": "how long the lists are at most"},
    },
    "WhatDoIKnowArgs": {
        "about": {
            "minLength": 1, "maxLength": QUERY_BYTES_MAX,
            "description": "a name, some words or a question, never a query language",
        },
        "session": {"maxLength": NAME_BYTES_MAX, "description": "only what belongs to this session; null: as the scope says"},
        "limit": {"description": "how many memories at most"},
    },
    "Introspection": {
        "at": {**_TIME, "description": "when it was looked"},
        "state": {"description": "what the agent says of itself; null: nothing, or the scope is a project"},
        "memories": {"description": "of the scope"},
        "by_type": {"description": "the same, by type"},
        "by_tier": {"description": "the same, by tier"},
        "by_age": {
            "description": "the same, by when they were stored first: within the last hour, day, week, month, year, or older"
        },
        **_SPAN,
        "surety": {"description": "how sure its facts (triples) are"},
        "topics": {"description": "the words that many memories have and that come and go"},
        "entities": {
            "description": "the names of which most memories speak: subjects of facts, speakers, what is written with a capital"
        },
        "sample": {"description": "how many memories, the newest, topics, entities and surety were counted in"},
        "freshest": {"description": "the memories that were stored last"},
        "most_used": {"description": "those whose content was stored again most often"},
        "doing": {"description": "how well it is doing, by its logs"},
        "gaps": {"description": "questions to which nothing was found, the newest first; at most a month old"},
        "source": {"enum": ["archive", "hot"], "description": "where all this was counted"},
        "degraded": {"description": "what could not be looked at; empty when all was"},
    },
    "Surety": {
        "facts": {"description": "those that hold now"},
        "sure": {"description": "of these: with a confidence of 0.8 or more"},
        "doubtful": {"description": "of these: with one below 0.5"},
        "mean_confidence": {"description": "of these; null without any"},
        "ended": {"description": "those that do not hold now"},
    },
    "Topic": {
        "name": {"description": "the word as it is written most often, or the name"},
        "memories": {"description": "how many of the sample have it"},
        "newest": {**_TIME, "description": "when the newest of these was stored"},
    },
    "Doing": {
        "since": {**_TIME, "description": "events since then are reported on"},
        "events": {"description": "how many there are"},
        "by_event": {"description": "the same, by kind"},
        "all": {"description": "the report on all of them together"},
        "tools": {"description": "the report on each tool, those with the most calls first"},
        "days": {"description": "calls and errors of each day on which there were any, oldest first"},
    },
    "ToolReport": {
        "tool": {"description": "its name; empty in the report on all"},
        "calls": {"description": "events that ended well or badly"},
        "ok": {"description": "those that ended well"},
        "errors": {"description": "those that ended badly"},
        "success_rate": {"description": "ok / calls; null without any"},
        "error_kinds": {"description": "how many errors of which kind"},
        "latency": {"description": "of the calls that say how long they took; null without any"},
        "first_at": {**_TIME, "description": "when the first of its events happened"},
        "last_at": {**_TIME, "description": "when the last one did"},
    },
    "Latency": {"p50_us": {"description": "half of them took so long at most, as all percentiles by nearest rank"}},
    "Day": {"day": {"description": "in UTC"}},
    "Gap": {
        "query": {"description": "the question, as it was asked"},
        "times": {"description": "how often nothing was found"},
        "first_at": _TIME,
        "last_at": _TIME,
        "session": {"description": "in which session; empty: in none"},
    },
    "Brief": {"last_accessed": _TIME},
    "Knowledge": {
        "about": {"description": "what was asked"},
        "known": {"description": "whether there is a fact or a memory that speaks of it"},
        "confidence": {"description": "of the surest fact about it that holds now; null without one"},
        **_SPAN,
        "facts": {"description": "with it as subject or object; those that have ended too"},
        "evidence": {"description": "memories that speak of it, best first"},
        "degraded": {"description": "why something was not searched; empty when all was"},
    },
    "Evidence": {
        "confidence": {"description": "of a triple; null: nobody has said how sure it is"},
        "fit": {"description": "0 to 1: how well it fits, by its words or by its meaning"},
        "holds": {"description": "whether it is valid now"},
    },
}  # fmt: skip


class IntrospectionVerbs:
    """Carries them out."""

    def __init__(self, introspect: Introspect) -> None:
        self._introspect = introspect

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {"introspect": self._look, "what_do_i_know": self._know}

    async def _look(self, scope: Scope, args: IntrospectArgs, request: Request) -> Any:
        return await self._introspect.introspect(scope, agent=args.agent, days=args.days, limit=args.limit)

    async def _know(self, scope: Scope, args: WhatDoIKnowArgs, request: Request) -> Any:
        return await self._introspect.what_do_i_know(scope, args.about, session=args.session, limit=args.limit)
