"""The verb of events: `events` gives those that are kept behind a place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from memoryd.hot.changes import Request
from memoryd.hot.events import Events
from memoryd.limits import EVENTS_PAGE_MAX
from memoryd.model.events import EventsPage, Place
from memoryd.model.scope import Scope
from memoryd.protocol.verbs.verb import Form, Handler


class EventsArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `events`."""

    after: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=EVENTS_PAGE_MAX)] = EVENTS_PAGE_MAX


FORMS: Mapping[str, Form] = {"events": Form(EventsArgs, EventsPage)}


class EventVerbs:
    """Carries it out."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {"events": self._page}

    async def _page(self, scope: Scope, args: EventsArgs, request: Request) -> EventsPage:
        after = None if args.after is None else Place.parse(args.after)
        return await self._events.page(scope, after, args.limit)
