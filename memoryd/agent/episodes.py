"""An agent's log: what it did and how that ended, in order, from the first event to what happens now.

An event is an episodic memory: it is recalled, archived and forgotten like any other. Besides, it has a position in its
agent's log. The log's newest part is in Redis, all of it in the archive, and a replay reads both as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from memoryd.archive.episodes import EpisodeArchive
from memoryd.clock import Clock, to_microseconds
from memoryd.engine import Engine
from memoryd.errors import ArchiveUnavailable, BadRequest, NotFound
from memoryd.hot import lookups
from memoryd.hot.changes import NewRecord, Request
from memoryd.hot.episodes import EpisodeLog, LogPart
from memoryd.hot.records import Records
from memoryd.limits import EPISODE_DATA_BYTES_MAX, EPISODE_DATA_DEPTH_MAX, EPISODE_PAYLOAD_BYTES_MAX
from memoryd.model.episode import (
    EVENT,
    POSITION_PATTERN,
    Episode,
    EpisodeData,
    EpisodeFilter,
    Episodes,
    Logged,
    NewEpisode,
    Outcome,
    Recorded,
    Replayed,
    described,
    event_of,
    to_episode,
    to_event,
    to_number,
    to_position,
)
from memoryd.model.ids import check_id, episode_id, hash_content
from memoryd.model.memory import Durability, Memory, MemoryType, NewMemory, in_utc
from memoryd.model.question import Question
from memoryd.model.scope import Scope, check_name, check_unicode
from memoryd.model.values import INT64_MAX, check_json
from memoryd.recalling import Recalling
from memoryd.storing import born, refusal


class EpisodeStore:
    """The verbs of episodes."""

    def __init__(
        self,
        engine: Engine,
        recalling: Recalling,
        records: Records,
        log: EpisodeLog,
        archive: EpisodeArchive,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._recalling = recalling
        self._records = records
        self._log = log
        self._archive = archive
        self._clock = clock

    async def record(self, scope: Scope, new: NewEpisode, *, durability: Durability, request: Request) -> Recorded:
        """Appends an event to the log of the scope's agent. Raises what `store` raises."""
        scope = scope.narrowed(new.session)
        data = _checked(new)
        memory = NewMemory(
            content=described(new), type=MemoryType.EPISODIC, importance=new.importance, tags=new.tags,
            source_tool=new.tool, metadata={EVENT: to_event(new, data)}, valid_from=new.happened_at,
        ).check()  # fmt: skip
        memory_id = episode_id(scope, request.id, hash_content(memory.content))
        record = NewRecord(born(memory_id, scope, memory, self._clock.now()), dedups=False, request=request)
        large = data if len(data) > EPISODE_DATA_BYTES_MAX else b""
        written, fsynced = await self._log.append(record, data=large, fsync=durability is not Durability.HOT)
        if written.outcome != "stored":
            raise refusal(written.outcome)
        stored = await self._engine.acknowledge(scope, written, fsynced, durability)
        return Recorded(id=stored.id, position=written.entry, durability=durability, replayed=stored.replayed)

    # --- in order -------------------------------------------------------------------------------------------------

    async def replay(self, scope: Scope, *, after: str, limit: int, agent: str | None, session: str | None) -> Replayed:
        """The log from behind a position on ('' from the beginning). Raises ArchiveUnavailable where only it has that.

        Redis is read first, in one moment: what it lacks of that moment is archived, because a log is trimmed only
        below what is archived. So nothing is missing between the two, and nothing comes twice.
        """
        scope = _of_one_agent(scope, agent).narrowed(session)
        after = _checked_position(after)
        part = await self._log.read(scope, after=after, count=limit)
        places = await self._older(scope, after, part, limit)
        full = len(places) == limit
        if not full:
            places += part.entries[: limit - len(places)]
        memories = await self._memories(_of_all_sessions(scope), [memory_id for _, memory_id in places])
        logged = [
            Logged(position=position, episode=episode)
            for position, memory_id in places
            if (memory := memories.get(memory_id)) and scope.holds(memory.scope) and (episode := _episode(memory))
        ]
        return Replayed(entries=logged, next=places[-1][0] if places else after, more=full or len(places) == limit)

    async def _older(self, scope: Scope, after: str, part: LogPart, limit: int) -> list[tuple[str, str]]:
        """What the archive has of the log behind `after` and before the log in Redis begins."""
        if part.first is not None and to_number(part.first) <= to_number(after) + 1:
            return []
        before = to_number(part.first) if part.first is not None else None
        older = await self._archive.between(scope, to_number(after), before, limit)
        return [(to_position(number), memory_id) for number, memory_id in older]

    # --- by what they are -----------------------------------------------------------------------------------------

    async def search(
        self, scope: Scope, query: str, wanted: EpisodeFilter, *, limit: int, session: str | None
    ) -> Episodes:
        """The scope's events that fit: best first by words and meaning, newest first without a query."""
        scope = scope.narrowed(session)
        for name in (*wanted.event_types, *wanted.error_kinds, *wanted.tools):
            check_name("filter", name)
        if query:
            question = Question(query=query, limit=limit, types=[MemoryType.EPISODIC])
            found = await self._recalling.recall(scope, question, events=wanted)
            return Episodes(episodes=_episodes([hit.memory for hit in found]), degraded=found.degraded)
        ids = await lookups.newest_events(self._records.redis, scope, wanted, limit)
        memories = await self._records.get_many(scope, ids)
        degraded = ""
        try:
            archived = await self._archive.newest(scope, wanted, limit)
        except ArchiveUnavailable:
            archived, degraded = [], "the archive does not answer: only what lives in Redis"
        gone = await self._records.tombstones.versions([one.id for one in archived if one.id not in memories])
        memories |= {one.id: one for one in archived if one.id not in gone and one.id not in memories}
        newest = sorted(memories.values(), key=lambda one: (one.valid_from, one.id), reverse=True)
        return Episodes(episodes=_episodes(newest)[:limit], degraded=degraded)

    async def data(self, scope: Scope, memory_id: str) -> EpisodeData:
        """What an event was recorded with, wherever it is kept. Raises NotFound."""
        check_id("id", memory_id)
        memory = await self._engine.get(scope, memory_id)
        episode = _episode(memory)
        if episode is None:
            raise NotFound(f"{memory_id}: is a memory, and no event of a log", id=memory_id)
        if episode.data is not None:
            return EpisodeData(data=episode.data)
        raw = await self._log.unarchived_data(memory.scope, memory_id) or await self._archive.data(memory_id)
        if raw is None:
            raise NotFound(f"{memory_id}: its data was not kept", id=memory_id)
        return EpisodeData(data=msgspec.json.decode(raw))

    async def _memories(self, scope: Scope, ids: Sequence[str]) -> dict[str, Memory]:
        """Those of the scope's memories that live, by id; what is cold comes from the archive in one round trip."""
        found = await self._records.get_many(scope, ids)
        missing = [one for one in ids if one not in found]
        forgotten = await self._records.tombstones.versions(missing)
        cold = [one for one in missing if one not in forgotten]
        return {**found, **await self._archive.memories(scope, cold)} if cold else found


def _checked(new: NewEpisode) -> bytes:
    """The event's data as JSON. Raises BadRequest."""
    check_name("event_type", new.event_type)
    for field, name in (("tool", new.tool), ("error_kind", new.error_kind)):
        if name:
            check_name(field, name)
    check_unicode("text", new.text)
    if new.error_kind and new.outcome is not Outcome.ERROR:
        raise BadRequest("error_kind: is given, and the outcome is no error", field="error_kind")
    if new.latency_us is not None and not 0 <= new.latency_us <= INT64_MAX:
        raise BadRequest("latency_us: is not a time that something takes", field="latency_us")
    if new.happened_at:
        in_utc("happened_at", new.happened_at)
    return check_json("data", new.data, bytes_max=EPISODE_PAYLOAD_BYTES_MAX, depth_max=EPISODE_DATA_DEPTH_MAX)


def _of_one_agent(scope: Scope, agent: str | None) -> Scope:
    """The scope of the agent whose log is meant; a scope without an agent may name one."""
    if agent is None or agent == scope.agent:
        return scope
    if scope.agent:
        raise BadRequest("agent: this scope is fixed to another agent", field="agent")
    check_name("agent", agent)
    return msgspec.structs.replace(scope, agent=agent)


def _of_all_sessions(scope: Scope) -> Scope:
    return msgspec.structs.replace(scope, session="")


def _checked_position(after: str) -> str:
    if after and not POSITION_PATTERN.fullmatch(after):
        raise BadRequest("after: is no position of a log, expected for instance 1795247245019-0", field="after")
    return after or "0-0"


def _episodes(memories: Sequence[Memory]) -> list[Episode]:
    return [episode for memory in memories if (episode := _episode(memory))]


def _episode(memory: Memory) -> Episode | None:
    event = event_of(memory)
    return to_episode(memory, event) if event is not None else None


def filter_of(
    *, event_types: Sequence[str], outcomes: Sequence[str], error_kinds: Sequence[str], tools: Sequence[str],
    since: datetime | None, until: datetime | None,
) -> EpisodeFilter:  # fmt: skip
    """What a caller wants of episodes. Raises BadRequest for a time without a zone."""
    begin = to_microseconds(in_utc("since", since)) if since else None
    end = to_microseconds(in_utc("until", until)) if until else None
    return EpisodeFilter(event_types, outcomes, error_kinds, tools, begin, end)
