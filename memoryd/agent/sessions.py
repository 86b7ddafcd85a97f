"""Sessions: what an agent works with now. They live in Redis while they are used, and come back from the archive.

Every change is one atomic step with one journal entry. A session that Redis does not have is brought back by whoever
asks for it, message for message.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import msgspec

from memoryd.agent.documents import DocumentStore
from memoryd.agent.overflow import Left, Overflow
from memoryd.agent.session_archive import SessionArchive
from memoryd.clock import from_microseconds, to_microseconds
from memoryd.durability import confirm, not_durable
from memoryd.embed.tokens import Tokens
from memoryd.engine import Engine
from memoryd.errors import ArchiveUnavailable, BadRequest, Conflict, MemorydError, NotFound, Overloaded, TooLarge
from memoryd.hot import sessions as hot
from memoryd.hot.changes import Request
from memoryd.hot.documents import Step
from memoryd.limits import MESSAGE_BYTES_MAX, SESSIONS_LIST_MAX, STATE_BYTES_MAX
from memoryd.model.document import Document, Place
from memoryd.model.memory import Durability
from memoryd.model.scope import Scope
from memoryd.model.session import (
    Appended,
    Message,
    NewMessage,
    SessionInfo,
    SessionPage,
    State,
    Status,
    Window,
    check_messages,
    session_place,
    state_path,
)
from memoryd.model.values import canonical, check_json
from memoryd.storing import RETRY_AFTER_SECONDS, refusal

COMPARE_TRIES_MAX = 64  # of one compare-and-set: each repetition means that somebody else got something done
BLOCK_MESSAGES = 64  # read at a time when a budget decides how many are wanted

Act = Callable[[], Awaitable[tuple[Step, bool]]]


class Sessions:
    """The sessions of one Redis and one archive."""

    def __init__(self, store: DocumentStore, engine: Engine, tokens: Tokens, *, left: Left | None = None) -> None:
        self.hot = hot.Sessions(store.documents)
        self.archive = SessionArchive(store)
        self.store = store
        self.tokens = tokens
        self.overflow = Overflow(self.hot, store, engine, left=left)

    # --- open and close -------------------------------------------------------------------------------------------

    async def open(
        self, scope: Scope, *, request: Request, ttl_seconds: int | None = None, make: bool = True
    ) -> SessionInfo:
        """Begins a session, or goes on with it wherever it is. Raises NotFound when there is none and `make` is false."""
        place = session_place(scope)
        source, _ = await self._become(place, Status.OPEN, request, ttl_seconds=ttl_seconds, make=make)
        return _info(scope, await self.head(place), source)

    async def close(self, scope: Scope, *, request: Request, durability: Durability = Durability.HOT) -> SessionInfo:
        """Says that nobody is at work in it any more; what it holds stays. `archived`: the archive has all of it by then.

        Raises NotFound, DurabilityNotReached (it is closed then).
        """
        place = session_place(scope)
        source, step = await self._become(place, Status.CLOSED, request, durability=durability, make=False)
        if durability is Durability.ARCHIVED:
            try:
                await self.store.caught_up(place)
            except ArchiveUnavailable:
                raise not_durable(step, durability, Durability.FSYNC) from None
        return _info(scope, await self.head(place), source)

    async def _become(
        self, place: Place, status: Status, request: Request, *, make: bool, ttl_seconds: int | None = None,
        durability: Durability = Durability.HOT,
    ) -> tuple[str, Step]:  # fmt: skip
        """What the step did, and where the session was: hot, archive, or new."""
        source, floor = "hot", None
        while True:
            step, fsynced = await self.hot.open(
                place, now=self.now(), request=request, status=status, ttl_seconds=ttl_seconds, make=make,
                archived_version=floor, fsync=durability is not Durability.HOT,
            )  # fmt: skip
            if step.outcome != "absent":
                break
            archived, floor = await self.store.floor(place)
            if archived is not None:
                await self.archive.bring_back(archived)
                source = "archive"
        if step.outcome == "missing":
            raise no_session(place)
        if step.outcome not in ("made", "changed", "unchanged"):
            raise refusal(step.outcome)
        if not fsynced:
            await self.confirm(step, fsynced, durability)
        return "new" if step.outcome == "made" else source, step

    # --- messages -------------------------------------------------------------------------------------------------

    async def append(
        self, scope: Scope, messages: Sequence[NewMessage], *, request: Request, durability: Durability = Durability.HOT
    ) -> Appended:
        """Adds messages at the end of a session, which it begins when there is none.

        Raises BadRequest, Overloaded, RequestIdReused, and DurabilityNotReached (they are appended then).
        """
        place = session_place(scope)
        check_messages(messages)
        texts = [_encoded(f"messages[{index}]", one, self.store.clock.now()) for index, one in enumerate(messages)]

        async def act() -> tuple[Step, bool]:
            return await self.hot.append(
                place, texts, now=self.now(), request=request, fsync=durability is not Durability.HOT
            )

        step, fsynced = await self.act(place, act, begin=request)
        first, held, size = map(int, step.note.split(":"))
        overflowed = 0 if step.replayed else await self.overflow.make_room(place, held, size, request)
        await self.confirm(step, fsynced, durability)
        return Appended(
            id=step.id, first=first, messages=held - overflowed, version=step.version, overflowed=overflowed,
            durability=durability, replayed=step.replayed,
        )  # fmt: skip

    async def window(self, scope: Scope, *, limit: int, budget_tokens: int | None = None) -> Window:
        """The newest messages of a session: at most `limit`, and as many as fit into the budget without a gap."""
        place = session_place(scope)
        head = await self.head(place)
        messages, tokens = await self.newest(place, head, limit=limit, budget_tokens=budget_tokens)
        return Window(
            messages=messages, total=head.messages, tokens=tokens, counted_by=self.tokens.counted_by, version=head.version
        )

    async def newest(
        self, place: Place, head: hot.Head, *, limit: int, budget_tokens: int | None
    ) -> tuple[list[Message], int]:
        """Those messages, oldest first, and their tokens."""
        found: list[Message] = []
        spent = 0
        numbers = iter(head.newest_first())
        while len(found) < limit and (block := list(islice(numbers, min(limit - len(found), BLOCK_MESSAGES)))):
            bodies = await self.hot.messages(place, block)
            messages = [Message.of(number, bodies[number]) for number in block if number in bodies]
            for message, tokens in zip(messages, await self.tokens.count([*map(spoken, messages)]), strict=True):
                if budget_tokens is not None and spent + tokens > budget_tokens:
                    return found[::-1], spent
                found.append(message)
                spent += tokens
        return found[::-1], spent

    # --- variables and tool state -----------------------------------------------------------------------------------

    async def get_state(self, scope: Scope, root: str, path: str) -> State:
        """The value at a path of the variables or the tool state; all of it for an empty path. Raises NotFound."""
        place = session_place(scope)
        there, value, state_version, version = await self.state_of(place, root, _steps(path))
        if not there:
            raise NotFound(f"{root}: there is nothing at this path", path=path)
        return State(value=value, state_version=state_version, version=version)

    async def set_state(
        self, scope: Scope, root: str, path: str, value: Any, *, request: Request,
        if_state_version: int | None = None, if_value: Any = msgspec.UNSET, durability: Durability = Durability.HOT,
    ) -> State:  # fmt: skip
        """Sets the value at a path; UNSET removes it. A name may be new, its parent must be there.

        With `if_state_version` or `if_value` (as JSON; UNSET: whatever it is) only if that is what stands there.
        Raises Conflict, NotFound, BadRequest, TooLarge.
        """
        place, steps = session_place(scope), state_path(path)
        text = b"" if value is msgspec.UNSET else check_json("value", value, bytes_max=STATE_BYTES_MAX)
        for _ in range(COMPARE_TRIES_MAX):
            expected = if_state_version
            if if_value is not msgspec.UNSET:
                there, stands, state_version, _ = await self.state_of(place, root, steps, request)
                if not there or canonical(stands) != canonical(if_value):
                    raise _state_conflict(path, state_version)
                expected = state_version if expected is None else expected

            async def act(expected: int | None = expected) -> tuple[Step, bool]:
                return await self.hot.set_state(
                    place, root, steps, text, now=self.now(), request=request, if_state=expected,
                    fsync=durability is not Durability.HOT,
                )  # fmt: skip

            step, fsynced = await self.act(place, act, begin=request)
            if step.outcome == "set":
                await self.confirm(step, fsynced, durability)
                kept = None if value is msgspec.UNSET else value
                return State(value=kept, state_version=int(step.note), version=step.version)
            if if_state_version is not None:
                raise _state_conflict(path, step.version)
        raise Overloaded("too many change this session at once", retry_after_seconds=RETRY_AFTER_SECONDS)

    async def state_of(
        self, place: Place, root: str, steps: Sequence[str | int] = (), begin: Request | None = None
    ) -> tuple[bool, Any, int, int]:
        """Whether there is a value at the path, the value, the state's version and the session's. Raises NotFound."""
        found = await self.hot.state(place, root, steps)
        if found is None:
            await self.present(place, begin)
            found = await self.hot.state(place, root, steps)
        if found is None:
            raise no_session(place)
        return found

    # --- lists -------------------------------------------------------------------------------------------

    async def page(self, scope: Scope, *, archived: bool, after: str, limit: int) -> SessionPage:
        """Sessions of the scope: those in Redis, used last first; or all that the archive holds."""
        limit = min(limit, SESSIONS_LIST_MAX)
        if archived:
            found = await self.store.page("sessions", scope, after=after, limit=limit)
            counts = await self.archive.counts(found)
            infos = [_archived_info(one, counts[one.place.id]) for one in found]
            return SessionPage(sessions=infos, after=found[-1].place.id if len(found) == limit else "")
        offset = int(after) if after.isdecimal() and len(after) < 7 else 0
        listed = await self.hot.page(scope, offset=offset, limit=limit)
        infos = [_listed_info(one) for one in listed]
        return SessionPage(sessions=infos, after=str(offset + limit) if len(listed) == limit else "")

    # --- what the verbs share ---------------------------------------------------------------------------------------

    async def head(self, place: Place) -> hot.Head:
        """The session without its messages, brought back when it is not here. Raises NotFound."""
        head = await self.hot.head(place)
        if head is None:
            await self.present(place)
            head = await self.hot.head(place)
        if head is None:
            raise no_session(place)
        return head

    async def present(self, place: Place, begin: Request | None = None) -> None:
        """Brings an absent session back; with a request, begins it when there is none. Raises NotFound."""
        archived, floor = await self.store.floor(place)
        if archived is not None:
            await self.archive.bring_back(archived)
        elif begin is None:
            raise no_session(place)
        else:
            own = replace(begin, id=f"{begin.id}#begin")
            step, _ = await self.hot.open(place, now=self.now(), request=own, archived_version=floor)
            if step.outcome not in ("made", "changed", "unchanged"):
                raise refusal(step.outcome)

    async def act(self, place: Place, act: Act, *, begin: Request | None = None) -> tuple[Step, bool]:
        """A step on a session that is brought back, or begun, first when it is not here. Raises what it refuses."""
        step, fsynced = await act()
        if step.outcome == "absent":
            await self.present(place, begin)
            step, fsynced = await act()
        if error := _refused(place, step.outcome):
            raise error
        return step, fsynced

    async def confirm(self, step: Step, fsynced: bool, durability: Durability) -> None:
        """Raises DurabilityNotReached unless the step has survived what was asked for."""
        await confirm(self.store.documents.redis, self.store.documents.keys, step, fsynced, durability)

    def now(self) -> int:
        """The present, as documents keep times."""
        return to_microseconds(self.store.clock.now())


def spoken(message: Message) -> str:
    """What a budget counts of a message."""
    calls = msgspec.json.encode(message.tool_calls).decode() if message.tool_calls else ""
    return f"{message.role} {message.name} {message.content} {calls}"


def no_session(place: Place) -> NotFound:
    """The error for a session that is nowhere."""
    return NotFound(f"{place.id}: this scope holds no such session", id=place.id)


def _refused(place: Place, outcome: str) -> MemorydError | None:
    match outcome:
        case "appended" | "set" | "captured" | "rolled_back" | "conflict":
            return None
        case "absent":
            return no_session(place)
        case "closed":
            return BadRequest("session: is closed", field="session", hint="open it again with working.open")
        case "full":
            return Overloaded("the session is full, and its oldest messages cannot leave now", retry_after_seconds=5)
        case "no_such_place":
            return NotFound("path: leads nowhere; its parent must be there, and a place in a list too")
        case "too_large":
            return TooLarge(f"the state would have more than {STATE_BYTES_MAX} bytes as JSON")
        case "no_such_checkpoint":
            return NotFound("number: the session has no such checkpoint (any more)")
    return refusal(outcome)


def _state_conflict(path: str, state_version: int) -> Conflict:
    return Conflict(
        "another value stands at this path than the change was based on; nothing was changed",
        hint="get it again, decide anew, and set it with its current state_version", path=path,
        current_version=state_version,
    )  # fmt: skip


def _steps(path: str) -> list[str | int]:
    return state_path(path) if path else []


def _encoded(field: str, message: NewMessage, now: Any) -> bytes:
    text = msgspec.json.encode(message.body(now))
    if len(text) > MESSAGE_BYTES_MAX:
        raise BadRequest(f"{field}: has {len(text)} bytes as JSON, the limit is {MESSAGE_BYTES_MAX}", field=field)
    return text


def _info(scope: Scope, head: hot.Head, source: str) -> SessionInfo:
    return SessionInfo(
        session=scope.session, agent=scope.agent, status=head.status, version=head.version, messages=head.messages,
        bytes=head.bytes, created_at=from_microseconds(head.created_at), updated_at=from_microseconds(head.updated_at),
        ttl_seconds=head.ttl_seconds, source=source,
    )  # fmt: skip


def _listed_info(one: hot.Listed) -> SessionInfo:
    return SessionInfo(
        session=one.scope.session, agent=one.scope.agent, status=one.status, version=one.version, messages=one.messages,
        bytes=one.bytes, created_at=from_microseconds(one.created_at), updated_at=from_microseconds(one.updated_at),
        ttl_seconds=one.ttl_seconds,
    )  # fmt: skip


def _archived_info(one: Document, messages: int) -> SessionInfo:
    scope, body = one.place.scope, one.body
    return SessionInfo(
        session=scope.session, agent=scope.agent, status=Status(body["status"]), version=one.version, messages=messages,
        bytes=int(body["bytes"]), created_at=from_microseconds(int(body["created_at"])),
        updated_at=from_microseconds(int(body["updated_at"])), ttl_seconds=int(body["ttl_seconds"]), source="archive",
    )  # fmt: skip
