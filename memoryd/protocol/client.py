"""The Python client: the protocol behind awaitable verbs.

async with memoryd.connect("redis://127.0.0.1:6379", tenant="acme", project="support", agent="scout") as memory:
    kept = await memory.store("Ada prefers tea to coffee.", type="fact")
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from opentelemetry.trace import SpanKind
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from memoryd import keys
from memoryd.errors import BadRequest, MemorydError, NoAnswer, TooLarge
from memoryd.hot.client import hot_errors, open_blocking_redis, open_redis
from memoryd.limits import ENVELOPE_BYTES_MAX, REQUEST_ID_BYTES_MAX
from memoryd.model.memory import Durability, Memory, check_metadata
from memoryd.model.results import Recalled, Receipt, Stats, Stored
from memoryd.model.scope import Scope
from memoryd.protocol import messages
from memoryd.protocol.messages import Envelope, Event
from memoryd_telemetry.propagation import inject
from memoryd_telemetry.tracing import operation

ANSWER_SECONDS = 30.0  # longer than the daemon's own longest wait (archived, 15 s) and than one takeover (20 s)
RESEND_SECONDS = 6.0  # a lost answer costs this long; a repeated request has its effect once
RECONNECT_SECONDS = 0.2

T = TypeVar("T")


def connect(
    url: str = "redis://127.0.0.1:6379",
    *,
    tenant: str = "default",
    project: str = "default",
    agent: str = "",
    session: str = "",
    timeout_seconds: float = ANSWER_SECONDS,
) -> MemoryClient:
    """A client of the daemons behind the Redis at `url`, for one scope; use it with `async with`.

    An empty agent sees (and stores for) the whole project. Raises BadRequest when a name cannot be used.
    """
    try:
        scope = msgspec.convert({"tenant": tenant, "project": project, "agent": agent, "session": session}, Scope)
    except msgspec.ValidationError as error:
        raise BadRequest(f"scope: {error}", field="scope") from None
    return MemoryClient(url, scope.check(), timeout_seconds=timeout_seconds)


class MemoryClient:
    """The verbs of memoryd for one scope. Every verb raises a MemorydError: what the daemon said, or NoAnswer."""

    def __init__(self, url: str, scope: Scope, *, timeout_seconds: float) -> None:
        self.scope = scope
        self.name = f"c-{secrets.token_hex(8)}"
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._closing = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self._redis = await stack.enter_async_context(open_redis(self._url))
            self._blocking = await stack.enter_async_context(open_blocking_redis(self._url))
            pubsub = self._blocking.pubsub()
            stack.push_async_callback(pubsub.aclose)
            with hot_errors("connect"):
                await pubsub.subscribe(keys.replies(self.name))
                # Only a confirmed subscription hears the first answer.
                await pubsub.get_message(timeout=5)
            listener = asyncio.create_task(self._listen(pubsub), name=f"memoryd {self.name}")
            stack.push_async_callback(_ended, listener)
            self._closing = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for waiting in self._waiting.values():
            waiting.cancel()
        await self._closing.aclose()

    # --- the verbs ------------------------------------------------------------------------------------------------

    async def store(
        self,
        content: str,
        *,
        durability: str = Durability.HOT,
        request_id: str | None = None,
        **details: Any,
    ) -> Stored:
        """Remembers `content`. Details: type, session, importance, metadata, tags, source_tool, related,
        derived_from, valid_from, valid_until, dedup (see `NewMemory`)."""
        args = {"content": content, "durability": durability, **details}
        return await self._call("store", _checked(args), Stored, request_id)

    async def store_many(
        self, memories: Sequence[Mapping[str, Any]], *, durability: str = Durability.HOT, request_id: str | None = None
    ) -> list[Stored | MemorydError]:
        """Remembers several in one request; a result or an error for each, in order."""
        args = {"memories": [_checked(one) for one in memories], "durability": durability}
        answers = await self._call("store_many", args, list[dict[str, Any]], request_id)
        return [
            msgspec.convert(one["stored"], Stored) if "stored" in one else messages.to_error(one["error"])
            for one in answers
        ]

    async def get(self, memory_id: str) -> Memory:
        """The memory as it is now, wherever it lives."""
        return await self._call("get", {"id": memory_id}, Memory)

    async def recall(
        self,
        query: str,
        *,
        limit: int = 10,
        types: Sequence[str] = (),
        session: str | None = None,
        tags: Sequence[str] = (),
    ) -> Recalled:
        """The memories that fit `query` best; iterate over it for its hits."""
        args = {"query": query, "limit": limit, "types": list(types), "session": session, "tags": list(tags)}
        return await self._call("recall", args, Recalled)

    async def update(
        self,
        memory_id: str,
        *,
        if_version: int | None = None,
        durability: str = Durability.HOT,
        request_id: str | None = None,
        **changes: Any,
    ) -> Stored:
        """Changes the given fields. With `if_version`, only if that is still the memory's version."""
        args = {"id": memory_id, "changes": _checked(changes), "if_version": if_version, "durability": durability}
        return await self._call("update", args, Stored, request_id)

    async def forget(
        self, memory_id: str, *, durability: str = Durability.HOT, request_id: str | None = None
    ) -> Receipt:
        """Removes a memory for good, everywhere."""
        return await self._call("forget", {"id": memory_id, "durability": durability}, Receipt, request_id)

    async def stats(self) -> Stats:
        """Counts of the scope and the state of the service."""
        return await self._call("stats", {}, Stats)

    async def events(self) -> AsyncIterator[Event]:
        """Hints of changes in this scope, from now on and while connected: at most once, without text."""
        async with self._blocking.pubsub() as pubsub:
            with hot_errors("events"):
                if self.scope.agent:
                    await pubsub.subscribe(keys.events(self.scope))
                else:
                    await pubsub.psubscribe(keys.events_prefix(self.scope) + "*")
                async for message in pubsub.listen():
                    if message["type"] in ("message", "pmessage"):
                        event = msgspec.json.decode(message["data"], type=Event)
                        if self.scope.session in ("", event.session):
                            yield event

    # --- the protocol ---------------------------------------------------------------------------------------------

    async def _call(self, op: str, args: Mapping[str, Any], answer: type[T], request_id: str | None = None) -> T:
        """Sends a request, again when no answer comes, and gives its result. Raises what the answer says."""
        request_id = _checked_id(request_id or secrets.token_hex(12))
        with operation(op, kind=SpanKind.CLIENT):
            envelope = self._envelope(op, args, request_id)
            raw = await self._answer_to(request_id, {"envelope": envelope, "id": request_id, "reply_to": self.name})
            return _result(raw, answer)

    def _envelope(self, op: str, args: Mapping[str, Any], request_id: str) -> bytes:
        envelope = Envelope(
            v=messages.VERSION, id=request_id, op=op, scope=self.scope, args=msgspec.Raw(_encoded(args)),
            reply_to=self.name, traceparent=inject(),
        )  # fmt: skip
        raw = _encoded(envelope)
        if len(raw) > ENVELOPE_BYTES_MAX:
            raise TooLarge(f"the request has {len(raw)} bytes, the limit is {ENVELOPE_BYTES_MAX}")
        return raw

    async def _answer_to(self, request_id: str, entry: dict[Any, Any]) -> bytes:
        while (earlier := self._waiting.get(request_id)) is not None:
            await asyncio.wait([earlier])  # under one id at once, two answers could not be told apart
        future = self._waiting[request_id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                while True:
                    with hot_errors("send"):
                        await self._redis.xadd(keys.REQUESTS, entry)
                    with contextlib.suppress(TimeoutError):
                        # Not `wait_for`: in Python 3.11 it swallows a cancellation that comes with the answer.
                        async with asyncio.timeout(RESEND_SECONDS):
                            return await asyncio.shield(future)
        except TimeoutError:
            raise NoAnswer(f"no daemon answered within {self._timeout_seconds:g} s", request_id=request_id) from None
        finally:
            del self._waiting[request_id]
            future.cancel()

    async def _listen(self, pubsub: PubSub) -> None:
        """Hands each answer to its waiter; survives the loss of the connection, which redis-py subscribes anew."""
        while True:
            try:
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
            except (RedisError, OSError):
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            if message is not None:
                self._deliver(message["data"])

    def _deliver(self, raw: bytes) -> None:
        with contextlib.suppress(msgspec.MsgspecError):
            waiting = self._waiting.get(msgspec.json.decode(raw, type=_Addressed).id)
            if waiting is not None and not waiting.done():
                waiting.set_result(raw)


class _Addressed(msgspec.Struct):
    id: str


class _Answer(msgspec.Struct):
    ok: bool
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: messages.Problem | None = None


def _result(raw: bytes, kind: type[T]) -> T:
    answer = msgspec.json.decode(raw, type=_Answer)
    if answer.error is not None:
        raise messages.to_error(answer.error)
    return msgspec.json.decode(answer.result, type=kind)


def _checked(details: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuses here what JSON would change silently: it writes NaN as null and bytes as Base64."""
    if not isinstance(details, Mapping):
        raise BadRequest("memories: expected an object each", field="memories")
    if isinstance(metadata := details.get("metadata"), dict):
        check_metadata(metadata)
    if isinstance(details.get("content"), bytes):
        raise BadRequest("content: is bytes, expected text", field="content")
    importance = details.get("importance")
    if isinstance(importance, float) and importance != importance:  # noqa: PLR0124  # only NaN differs from itself
        raise BadRequest("importance: is not a number, expected 0 to 1", field="importance")
    return details


def _checked_id(request_id: str) -> str:
    """Refuses here an id that no answer could carry back: its caller would wait in vain."""
    if not isinstance(request_id, str) or len(request_id) > REQUEST_ID_BYTES_MAX:
        raise BadRequest(f"request_id: expected 1 to {REQUEST_ID_BYTES_MAX} characters", field="request_id")
    return request_id


def _encoded(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadRequest(f"the request cannot be written as JSON ({type(error).__name__})") from None


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
