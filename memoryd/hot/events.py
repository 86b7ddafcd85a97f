"""The events that are kept for listeners that were away: a page of them behind a place, or the news that some are gone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from redis.asyncio import Redis

from memoryd.errors import HotUnprepared
from memoryd.hot import scripts
from memoryd.hot.client import entry_order, hot_errors
from memoryd.hot.codec import Encoded
from memoryd.keys import SCHEMA, Keys
from memoryd.limits import PLACE_LIFE_SECONDS
from memoryd.model.events import EntryId, EventsPage, Hint, Place
from memoryd.model.scope import Scope, from_tag

ORIGIN = "origin"  # the field of the schema's hash by which an emptied Redis is known from the one before


@dataclass(frozen=True)
class Kept:
    """One event, with what says who may hear of it."""

    bucket: str
    order: EntryId
    agent: str
    hint: Hint


@dataclass(frozen=True)
class Bucket:
    """What one bucket answers: its time, its last event of all, whether some are lost, and the first behind the place."""

    now: int
    last: str
    lost: bool
    events: list[Kept]

    @classmethod
    def parse(cls, name: str, raw: Any) -> Bucket:
        """From the script's answer."""
        now, last, lost, *rows = raw
        return cls(int(now), last.decode(), lost == b"1", [_kept(name, *row) for row in rows])


class Events:
    """The kept events of one Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def page(self, scope: Scope, after: Place | None, limit: int) -> EventsPage:
        """The first events of the scope behind `after`, at most `limit`; without a place, only the place of now."""
        each = limit // self._keys.buckets + 1  # so many of each bucket are about a page together
        with hot_errors("events"):
            origin = await self._origin(scope)
            buckets = await self._buckets(scope, after.seen if after else {}, each)
        last = {name: entry_order(one.last) for name, one in buckets.items() if one.last}
        now = Place(origin, min(one.now for one in buckets.values()), last)
        if after is None:
            return EventsPage(events=[], next=str(now))
        if after.origin != origin or _too_old(after, now) or any(one.lost for one in buckets.values()):
            return EventsPage(events=[], next=str(now), gap=True)
        taken, more = _first([one.events for one in buckets.values()], each, limit)
        heard = [one.hint for one in taken if scope.agent in ("", one.agent) and scope.session in ("", one.hint.session)]
        return EventsPage(events=heard, next=str(_behind(after, taken) if more else now), more=more)

    async def _origin(self, scope: Scope) -> str:
        """What stands for this project in this Redis's data."""
        data = cast("bytes | None", await self._redis.hget(SCHEMA, ORIGIN))
        if data is None:
            raise HotUnprepared("events: Redis has lost memoryd's schema")
        return hashlib.sha256("\0".join((data.decode(), scope.tenant, scope.project)).encode()).hexdigest()[:12]

    async def _buckets(self, scope: Scope, seen: Mapping[str, EntryId], count: int) -> dict[str, Bucket]:
        names = self._keys.all_buckets()
        calls: list[tuple[list[str], list[Encoded]]] = [
            ([self._keys.kept_events(name, scope)], ["{}-{}".format(*seen[name]) if name in seen else "", count])
            for name in names
        ]
        answers = await scripts.kept_events.many(self._redis, calls)
        return {name: Bucket.parse(name, answer) for name, answer in zip(names, answers, strict=True)}


def _kept(bucket: str, entry: bytes, flat: list[bytes]) -> Kept:
    pairs = zip(flat[::2], flat[1::2], strict=True)
    fields = {name.decode(): value.decode() for name, value in pairs}
    at = entry.decode()
    hint = Hint(
        v=1, op=fields["op"], id=fields["id"], type=fields["type"], session=from_tag(fields["session"]),
        version=int(fields["version"]), entry=fields["entry"], at=f"{bucket}-{at}",
        traceparent=fields.get("traceparent", ""),
    )  # fmt: skip
    return Kept(bucket, entry_order(at), from_tag(fields["agent"]), hint)


def _too_old(after: Place, now: Place) -> bool:
    return now.moment - after.moment >= PLACE_LIFE_SECONDS * 1000


def _first(buckets: Sequence[Sequence[Kept]], each: int, limit: int) -> tuple[list[Kept], bool]:
    """The first events of all buckets by time, at most `limit`, and whether there are more.

    A bucket that answered `each` may have more, and nothing younger than these is taken of the others: what is left for
    the next page is then younger than the whole page, and its last one's time vouches for all that came before it.
    """
    ends = [events[-1].order for events in buckets if len(events) == each]
    events = sorted((one for events in buckets for one in events), key=lambda one: one.order)
    taken = [one for one in events if not ends or one.order <= min(ends)][:limit]
    return taken, bool(ends) or len(taken) < len(events)


def _behind(place: Place, taken: Sequence[Kept]) -> Place:
    """`place`, moved behind these."""
    if not taken:
        return place
    seen = {**place.seen, **{one.bucket: one.order for one in taken}}
    return replace(place, moment=max(place.moment, taken[-1].order[0]), seen=seen)
