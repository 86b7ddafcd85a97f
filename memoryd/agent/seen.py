""""Have I seen this?": contents that a scope has held, and questions that it was asked, by filter or exactly."""

from __future__ import annotations

import contextlib

from memoryd.archive.store import Archive
from memoryd.clock import Clock, from_microseconds, to_microseconds
from memoryd.errors import ArchiveUnavailable, MemorydError
from memoryd.hot import lookups
from memoryd.hot.records import Records
from memoryd.hot.seen import SeenFilters
from memoryd.limits import SEEN_IDS_MAX
from memoryd.model.ids import hash_content
from memoryd.model.memory import check_content
from memoryd.model.question import Question
from memoryd.model.scope import Scope
from memoryd.model.seen import Seen
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import measure


class Sightings:
    """The verbs `seen` and `seen_query`, and what a recall leaves for the second one."""

    def __init__(self, records: Records, archive: Archive | None, clock: Clock) -> None:
        self._filters = SeenFilters(records.redis, records.keys)
        self._records = records
        self._archive = archive
        self._clock = clock

    async def content(self, scope: Scope, content: str, *, exact: bool) -> Seen:
        """Whether the scope has ever held this content; exactly: whether a memory of it says that now.

        Raises BadRequest; exactly also ArchiveUnavailable, when Redis has none and only MongoDB would know.
        """
        check_content(content)
        content_hash = hash_content(content)
        if exact:
            ids = await self._saying(scope, content_hash)
            return _told("seen", Seen(seen=bool(ids), exact=True, ids=ids))
        return _told("seen", Seen(seen=await self._filters.has_content(scope, content_hash), exact=False))

    async def question(self, scope: Scope, query: str, *, exact: bool) -> Seen:
        """Whether the scope was ever asked this; exactly: whether that is among its project's latest questions."""
        question_hash = hash_question(query)
        if exact:
            at = await self._filters.asked_at(scope, question_hash)
            asked_at = None if at is None else from_microseconds(at)
            return _told("seen_query", Seen(seen=at is not None, exact=True, asked_at=asked_at))
        return _told("seen_query", Seen(seen=await self._filters.has_question(scope, question_hash), exact=False))

    async def asked(self, scope: Scope, query: str) -> None:
        """Notes a question that was answered. Not being able to costs the answer nothing."""
        with contextlib.suppress(MemorydError):
            now = to_microseconds(self._clock.now())
            await self._filters.note_question(scope, hash_question(query), now=now)

    async def _saying(self, scope: Scope, content_hash: str) -> list[str]:
        """The scope's living memories with this content, a few of them."""
        if hot := await lookups.saying(self._records.redis, scope, content_hash, SEEN_IDS_MAX):
            return hot
        if self._archive is None:
            raise ArchiveUnavailable("seen: this daemon has no archive to look into")
        cold = await self._archive.saying(scope, content_hash, SEEN_IDS_MAX)
        buried = await self._records.tombstones.versions(list(cold)) if cold else {}
        return [memory_id for memory_id, version in cold.items() if version > buried.get(memory_id, 0)]


def hash_question(query: str) -> str:
    """A question as two askers would mean the same by it: upper and lower case are one."""
    return hash_content(Question(query=query).check().query.casefold())


def _told(verb: str, answer: Seen) -> Seen:
    outcome = ("seen" if answer else "unseen") + (" exactly" if answer.exact else "")
    measure(telemetry.SEEN_LOOKS, 1, {telemetry.VERB: verb, telemetry.OUTCOME: outcome})
    return answer
