"""Sessions in Redis: one RedisJSON document each, changed in atomic steps, read by direct key. See lua/sessions.lua."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from memoryd import keys as names
from memoryd.hot import scripts
from memoryd.hot.answers import whole
from memoryd.hot.changes import Request
from memoryd.hot.clauses import scope_clause
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded
from memoryd.hot.documents import Documents, Step, place_args
from memoryd.limits import (
    CHECKPOINTS_MAX,
    IDEMPOTENCY_TTL_SECONDS,
    JOURNAL_ENTRIES_MAX,
    SESSION_BYTES_MAX,
    SESSION_FULL_FACTOR,
    SESSION_MESSAGES_MAX,
    SESSION_RECALLED_MAX,
    SESSION_TTL_SECONDS,
    STATE_BYTES_MAX,
    TOMBSTONE_TTL_SECONDS,
)
from memoryd.model.document import Place
from memoryd.model.scope import Scope, from_tag
from memoryd.model.session import Status

Body = dict[str, Any]
Range = tuple[int, int]

PATHS_MAX = 256  # of one look: about 40 KB of paths for the largest number of messages at once
ROOTS = {"variables": "$.head.variables", "tools": "$.head.tools"}
SUMMARY = (
    "version", "head.status", "head.message_count", "head.bytes", "head.created_at", "head.updated_at", "head.ttl_seconds",
    "head.segments", "head.tail", "head.next", "head.state_version",
)  # fmt: skip
LISTED = {
    **{name: f"$.{name}" for name in ("tenant", "project", "agent_id", "session_id", "version")},
    **{name: f"$.head.{name}" for name in ("status", "message_count", "bytes", "created_at", "updated_at", "ttl_seconds")},
}
CHECKPOINT = ("label", "at", "message_count", "captured_version")


@dataclass(frozen=True)
class Head:
    """A session without its messages and its state."""

    version: int
    status: Status
    messages: int
    bytes: int
    created_at: int
    updated_at: int
    ttl_seconds: int
    held: list[Range]
    """The numbers of its messages, as ranges from the first up to below the second."""
    next: int
    state_version: int

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Head:
        """From the values of the paths in SUMMARY."""
        segments = [(int(first), int(end)) for first, end in values["head.segments"]]
        tail, next_number = int(values["head.tail"]), int(values["head.next"])
        return cls(
            int(values["version"]), Status(values["head.status"]), int(values["head.message_count"]),
            int(values["head.bytes"]), int(values["head.created_at"]), int(values["head.updated_at"]),
            int(values["head.ttl_seconds"]), segments + ([(tail, next_number)] if tail < next_number else []), next_number,
            int(values["head.state_version"]),
        )  # fmt: skip

    def newest_first(self) -> Iterable[int]:
        """The numbers of its messages. Some of them may have been forgotten."""
        for first, end in reversed(self.held):
            yield from range(end - 1, first - 1, -1)

    def oldest_first(self) -> Iterable[int]:
        """The same, the other way round."""
        for first, end in self.held:
            yield from range(first, end)


@dataclass(frozen=True)
class Gone:
    """What of a session is to be forgotten: numbers of messages and checkpoints, names of state."""

    messages: list[int]
    variables: list[str]
    tools: list[str]
    checkpoints: list[int]

    def __bool__(self) -> bool:
        return bool(self.messages or self.variables or self.tools or self.checkpoints)


@dataclass(frozen=True)
class Listed:
    """One session of a list."""

    scope: Scope
    status: Status
    version: int
    messages: int
    bytes: int
    created_at: int
    updated_at: int
    ttl_seconds: int


class Sessions:
    """The sessions of one Redis."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self._redis = documents.redis
        self._keys = documents.keys

    # --- changes --------------------------------------------------------------------------------------------------

    async def open(
        self, place: Place, *, now: int, request: Request, status: Status = Status.OPEN, ttl_seconds: int | None = None,
        archived_version: int | None = None, make: bool = True, fsync: bool = False,
    ) -> tuple[Step, bool]:  # fmt: skip
        """Makes a session or changes its status and life: made, changed, unchanged, absent, missing, overloaded, reused;
        and whether a wanted fsync happened."""
        keys = [*self._places(place), self._idempotency(place, request)]
        keys[2:2] = [self._keys.tombstone(place.id), self._keys.dedup(self._keys.bucket(place.id))]
        args: list[Encoded] = [
            *place_args(place), now, "" if ttl_seconds is None else ttl_seconds, status, SESSION_TTL_SECONDS,
            "" if archived_version is None else archived_version, int(make), *_of(request),
        ]  # fmt: skip
        return await self.documents.step("open a session", scripts.session_open, keys, args, fsync=fsync)

    async def append(
        self, place: Place, messages: Sequence[bytes], *, now: int, request: Request, fsync: bool = False
    ) -> tuple[Step, bool]:
        """Adds messages (as JSON) at the end: appended (`note`: first number:messages:bytes), absent, closed, full,
        overloaded, reused; and whether a wanted fsync happened."""
        args: list[Encoded] = [
            *place_args(place), now, int(SESSION_MESSAGES_MAX * SESSION_FULL_FACTOR),
            int(SESSION_BYTES_MAX * SESSION_FULL_FACTOR), *_of(request), *messages,
        ]  # fmt: skip
        keys = [*self._places(place), self._idempotency(place, request)]
        return await self.documents.step("append", scripts.session_append, keys, args, fsync=fsync)

    async def set_state(
        self, place: Place, root: str, path: Sequence[str | int], value: bytes, *, now: int, request: Request,
        if_state: int | None = None, fsync: bool = False,
    ) -> tuple[Step, bool]:  # fmt: skip
        """Sets one value (as JSON; b"" removes it): set (`note`: the state's version), conflict, absent, closed,
        no_such_place, too_large, overloaded, reused."""
        args: list[Encoded] = [
            *place_args(place), now, ROOTS[root], state_path_in(root, path), value, "" if if_state is None else if_state,
            STATE_BYTES_MAX, *_of(request),
        ]  # fmt: skip
        keys = [*self._places(place), self._idempotency(place, request)]
        return await self.documents.step("set state", scripts.session_state, keys, args, fsync=fsync)

    async def note_recalled(self, place: Place, memories: Mapping[str, int]) -> None:
        """Notes ids and versions of what the session has recalled, if it is here."""
        args: list[Encoded] = [SESSION_RECALLED_MAX, *map(msgspec.json.encode, memories.items())]
        with hot_errors("note what was recalled"):
            await scripts.session_recalled(self._redis, [self._keys.document(place)], args)

    async def checkpoint(
        self, place: Place, label: str, *, now: int, request: Request, fsync: bool = False
    ) -> tuple[Step, bool]:
        """Captures the session as it is: captured (`note`: the checkpoint's number), absent, overloaded, reused."""
        args: list[Encoded] = [*place_args(place), now, msgspec.json.encode(label), CHECKPOINTS_MAX, *_of(request)]
        keys = [*self._places(place), self._idempotency(place, request)]
        return await self.documents.step("checkpoint", scripts.session_checkpoint, keys, args, fsync=fsync)

    async def roll_back(
        self, place: Place, number: int, label: str, missing: Mapping[int, bytes], *, now: int, request: Request,
        fsync: bool = False,
    ) -> tuple[Step, bool]:  # fmt: skip
        """Replaces the session by a checkpoint: rolled_back (`note`: number of the new checkpoint:messages), absent,
        no_such_checkpoint, overloaded, reused. `missing`: messages that it needs and that have left this Redis."""
        args: list[Encoded] = [
            *place_args(place), now, number, msgspec.json.encode(label), CHECKPOINTS_MAX, *_of(request),
            *(part for pair in missing.items() for part in pair),
        ]  # fmt: skip
        keys = [*self._places(place), self._idempotency(place, request)]
        return await self.documents.step("roll back", scripts.session_rollback, keys, args, fsync=fsync)

    async def leave(self, place: Place, numbers: Sequence[int], *, now: int, oldest: int | None) -> bool:
        """Lets messages leave Redis: its oldest, so that `oldest` is the lowest number that it holds; or (None) such as
        it does not hold any more. False when they are not there as they were."""
        args: list[Encoded] = [
            *place_args(place), now, JOURNAL_ENTRIES_MAX, "", "" if oldest is None else oldest, *numbers
        ]  # fmt: skip
        with hot_errors("let messages leave"):
            return bool(await scripts.session_leave(self._redis, self._places(place), args))

    async def end(
        self, place: Place, *, now: int, archived_version: int, archived_next: int, request: Request
    ) -> Step:
        """Forgets a session with all its text here: ended (`note`: how many messages it held here), missing, reused."""
        args: list[Encoded] = [
            *place_args(place), now, archived_version, archived_next, request.fingerprint, IDEMPOTENCY_TTL_SECONDS,
            TOMBSTONE_TTL_SECONDS, request.traceparent,
        ]  # fmt: skip
        keys = [*self._places(place), self._keys.tombstone(place.id), self._idempotency(place, request)]
        step, _ = await self.documents.step("forget a session", scripts.session_end, keys, args)
        return step

    async def forget(self, place: Place, gone: Gone, *, now: int) -> int | None:
        """Forgets some of a session, also from the journal; returns how many of the messages it held, None without it."""
        args: list[Encoded] = [
            *place_args(place), now, "", len(gone.messages), len(gone.variables), len(gone.tools), len(gone.checkpoints),
            *gone.messages, *gone.variables, *gone.tools, *gone.checkpoints,
        ]  # fmt: skip
        with hot_errors("forget messages"):
            answer: Any = await scripts.session_forget(self._redis, self._places(place), args)
        return None if answer is None else int(answer)

    # --- looks ----------------------------------------------------------------------------------------------------

    async def head(self, place: Place) -> Head | None:
        """The session without its messages, if it is here."""
        values = await self._look(place, SUMMARY)
        return Head.of(values) if values else None

    async def messages(self, place: Place, numbers: Sequence[int]) -> dict[int, Body]:
        """Those of the messages that are here, by number."""
        found: dict[int, Body] = {}
        for start in range(0, len(numbers), PATHS_MAX):
            paths = {number: f'messages["{number}"].message' for number in numbers[start : start + PATHS_MAX]}
            values = await self._look(place, tuple(paths.values())) or {}
            found |= {number: values[path] for number, path in paths.items() if path in values}
        return found

    async def sizes(self, place: Place) -> dict[int, int]:
        """The bytes of all messages that are here, by number; also of those that only a checkpoint names."""
        key = self._keys.document(place)
        with hot_errors("read a session"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.execute_command("JSON.OBJKEYS", key, ".messages")  # with a `$` a session that has ended is an error
                pipe.execute_command("JSON.GET", key, "$.messages.*.bytes")
                keys, sizes = await pipe.execute()
        return dict(zip(map(int, keys or ()), msgspec.json.decode(sizes or b"[]"), strict=True))

    async def state(self, place: Place, root: str, path: Sequence[str | int]) -> tuple[bool, Any, int, int] | None:
        """Whether there is a value at the path, the value, the state's version and the session's; None without a session."""
        at = state_path_in(root, path).removeprefix("$.")
        values = await self._look(place, ("version", "head.state_version", at))
        if values is None:
            return None
        return at in values, values.get(at), int(values["head.state_version"]), int(values["version"])

    async def checkpoints(self, place: Place) -> dict[int, Body] | None:
        """Label, time, count and version of each checkpoint, by number; None without a session."""
        key = self._keys.document(place)
        with hot_errors("read checkpoints"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.execute_command("JSON.OBJKEYS", key, ".checkpoints")
                paths = [f"$.checkpoints.*.checkpoint.{name}" for name in CHECKPOINT]
                pipe.execute_command("JSON.GET", key, *paths)
                keys, raw = await pipe.execute()
        if raw is None:
            return None
        columns = msgspec.json.decode(raw)
        rows = zip(*(columns[path] for path in paths), strict=True)
        return {n: dict(zip(CHECKPOINT, row, strict=True)) for n, row in zip(map(int, keys or ()), rows, strict=True)}

    async def checkpoint_state(self, place: Place, number: int) -> Body | None:
        """All that a checkpoint captured, if it is here."""
        path = f'checkpoints["{number}"].checkpoint'
        values = await self._look(place, (path,))
        return values.get(path) if values else None

    async def page(self, scope: Scope, *, offset: int, limit: int) -> list[Listed]:
        """The scope's sessions in Redis, those used last first."""
        clause = scope_clause(scope)
        fields = [part for name, path in LISTED.items() for part in (path, "AS", name)]
        command: list[Any] = [
            "FT.SEARCH", names.index("working"), str(clause), "RETURN", len(fields), *fields,
            "SORTBY", "updated_at", "DESC", "LIMIT", offset, limit, *clause.arguments(), "DIALECT", 2,
        ]  # fmt: skip
        with hot_errors("list sessions"):
            redis: Any = self._redis
            answer = await redis.execute_command(*command)
        found = whole(answer, "list sessions")[b"results"]
        rows = [{k.decode(): v.decode() for k, v in row[b"extra_attributes"].items()} for row in found]
        return [_listed(row) for row in rows if "session_id" in row]  # one that has just expired is an empty row

    async def _look(self, place: Place, paths: Sequence[str]) -> dict[str, Any] | None:
        """The values of the paths that there are; None without a session. Refreshes its life."""
        with hot_errors("read a session"):
            raw = await scripts.session_look(
                self._redis, [self._keys.document(place)], [f"$.{path}" for path in paths]
            )
        if raw is None:
            return None
        found = msgspec.json.decode(raw)
        if len(paths) == 1:
            found = {f"$.{paths[0]}": found}
        return {path: found[f"$.{path}"][0] for path in paths if found[f"$.{path}"]}

    # --- names ----------------------------------------------------------------------------------------------------

    def _places(self, place: Place) -> list[str]:
        return [self._keys.document(place), self._keys.journal(self._keys.bucket(place.id))]

    def _idempotency(self, place: Place, request: Request) -> str:
        return self._keys.idempotency(place.scope, place.id, request.id)


def state_path_in(root: str, path: Sequence[str | int]) -> str:
    """A checked path as JSONPath: each name quoted, each place in brackets."""
    return ROOTS[root] + "".join(f"[{step}]" if isinstance(step, int) else f'["{step}"]' for step in path)


def _of(request: Request) -> list[Encoded]:
    return [request.fingerprint, IDEMPOTENCY_TTL_SECONDS, JOURNAL_ENTRIES_MAX, request.traceparent]


def _listed(row: Mapping[str, str]) -> Listed:
    scope = Scope(*(from_tag(row.get(name, "")) for name in ("tenant", "project", "agent_id", "session_id")))
    counts = ("version", "message_count", "bytes", "created_at", "updated_at", "ttl_seconds")
    return Listed(scope, Status(row["status"]), *(int(float(row[name])) for name in counts))
