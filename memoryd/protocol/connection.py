"""A client's end of the protocol: sends requests, again when no answer comes, and hands each answer to its waiter."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from opentelemetry.trace import SpanKind
from redis.asyncio.client import PubSub
from redis.exceptions import ResponseError

from memoryd import keys
from memoryd.errors import BadRequest, MemorydError, NoAnswer, Overloaded, TooLarge
from memoryd.hot.client import entry_order, hot_errors, open_blocking_redis, open_redis
from memoryd.limits import ENVELOPE_BYTES_MAX, REQUEST_ID_BYTES_MAX, REQUESTS_SENT_MAX, REQUESTS_STREAM_MAX
from memoryd.model.scope import Scope
from memoryd.protocol import messages
from memoryd.protocol.messages import Envelope
from memoryd.retry import finish
from memoryd_telemetry.propagation import inject
from memoryd_telemetry.tracing import operation

ANSWER_SECONDS = 30.0  # longer than the daemon's own longest wait (archived, 15 s) and than one takeover (20 s)
RESEND_SECONDS = 6.0  # a lost answer costs this long; a repeated request has its effect once
LOOK_SECONDS = 0.2  # what was read of the stream may be as old as that
RECONNECT_SECONDS = 0.2
RETRY_AFTER_SECONDS = 5


@dataclass(frozen=True)
class Patience:
    """How long an answer may take, and when to ask again; None is the client's own."""

    timeout_seconds: float | None = None
    resend_seconds: float | None = None


USUAL = Patience()
# 50,000 memories take half a minute, a rewrite of Redis's files two. Each repeat waits in the daemon for the first.
LONG = Patience(timeout_seconds=600.0, resend_seconds=30.0)

T = TypeVar("T")
Order = tuple[int, int]


class Connection:
    """One client, named so that its answers find it. `blocking` is for reads that wait."""

    def __init__(self, url: str, scope: Scope, *, timeout_seconds: float) -> None:
        self.scope = scope
        self.name = f"c-{secrets.token_hex(8)}"
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._sent: dict[str, tuple[bytes, float]] = {}
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")
        self._read: tuple[Order, Order] = ((0, 0), (0, 0))
        self._renewal: asyncio.Future[None] | None = None
        self._closing = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self.redis = await stack.enter_async_context(open_redis(self._url))
            self.blocking = await stack.enter_async_context(open_blocking_redis(self._url))
            pubsub = self.blocking.pubsub()
            stack.push_async_callback(pubsub.aclose)
            with hot_errors("connect"):
                await pubsub.subscribe(keys.replies(self.name))
                # Only a confirmed subscription hears the first answer.
                await pubsub.get_message(timeout=5)
            listener = asyncio.create_task(self._listen(pubsub), name=f"memoryd {self.name}")
            stack.push_async_callback(finish, listener)
            self._closing = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for waiting in self._waiting.values():
            waiting.cancel()
        await self._closing.aclose()

    async def call(
        self,
        op: str,
        args: Mapping[str, Any],
        answer: type[T],
        request_id: str | None = None,
        *,
        patience: Patience = USUAL,
    ) -> T:
        """Sends a request, again when no answer comes, and gives its result. Raises what the answer says."""
        request_id = _checked_id(request_id or secrets.token_hex(12))
        cancelled = _cancellations()
        with operation(op, kind=SpanKind.CLIENT):
            envelope = self._envelope(op, args, request_id)
            entry = {"envelope": envelope, "id": request_id, "reply_to": self.name}
            raw = await self._answer_to(request_id, entry, patience)
            if _cancellations() > cancelled:  # redis-py's `wait_for` has swallowed it: Python 3.11 does that now and then
                raise asyncio.CancelledError
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

    async def _answer_to(self, request_id: str, entry: dict[Any, Any], patience: Patience = USUAL) -> bytes:
        timeout_seconds = max(self._timeout_seconds, patience.timeout_seconds or 0)
        while (earlier := self._waiting.get(request_id)) is not None:
            await asyncio.wait([earlier])  # under one id at once, two answers could not be told apart
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = future
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    news: list[asyncio.Future[Any]] = [future, self._renewed()]
                    if not await self._still_waits(request_id):
                        await self._send(request_id, entry)
                    # Not `wait_for`: in Python 3.11 it swallows a cancellation that comes with the answer.
                    resend = patience.resend_seconds or RESEND_SECONDS
                    await asyncio.wait(news, timeout=resend, return_when=asyncio.FIRST_COMPLETED)
                    if future.done():
                        self._sent.pop(request_id, None)
                        return future.result()
        except TimeoutError:
            raise NoAnswer(f"no daemon answered within {timeout_seconds:g} s", request_id=request_id) from None
        finally:
            del self._waiting[request_id]
            future.cancel()

    async def _still_waits(self, request_id: str) -> bool:
        """Whether no daemon has read the last entry of this request yet. Then another one would only wait behind it; and where
        daemons are far behind, they would soon read nothing but repeats."""
        if request_id not in self._sent:
            return False
        entry_id, sent_at = self._sent[request_id]
        read, end = await self._read_up_to(sent_at)
        # One beyond the end was added to a Redis that has lost it.
        return read < entry_order(entry_id.decode()) <= end

    async def _read_up_to(self, since: float) -> tuple[Order, Order]:
        """Up to which entry daemons have read the stream, and where it ends, by a look after `since`; one look for all requests
        that ask within a while."""
        loop = asyncio.get_running_loop()
        async with self._looking:
            if self._looked_at <= max(since, loop.time() - LOOK_SECONDS):
                began = loop.time()
                self._read = await self._look()
                self._looked_at = began
        return self._read

    async def _look(self) -> tuple[Order, Order]:
        with hot_errors("send"):
            try:
                stream: dict[str, Any] = await self.redis.xinfo_stream(keys.REQUESTS)
                groups: list[dict[str, Any]] = await self.redis.xinfo_groups(keys.REQUESTS)
            except ResponseError:
                return (0, 0), (0, 0)  # there is no such stream any more
        read = max((entry_order(one["last-delivered-id"].decode()) for one in groups), default=(0, 0))
        return read, entry_order(stream["last-generated-id"].decode())

    async def _send(self, request_id: str, entry: dict[Any, Any]) -> None:
        """Adds a request to the stream, unless it is full: nobody would answer it in time, and nothing would bound it."""
        with hot_errors("send"):
            async with self.redis.pipeline(transaction=False) as pipe:
                pipe.xadd(keys.REQUESTS, entry)
                pipe.xlen(keys.REQUESTS)
                entry_id, length = await pipe.execute()
            if length > REQUESTS_STREAM_MAX:
                await self.redis.xdel(keys.REQUESTS, entry_id)
                waiting = f"{REQUESTS_STREAM_MAX} requests wait already, and no daemon keeps up"
                raise Overloaded(waiting, retry_after_seconds=RETRY_AFTER_SECONDS)
        self._sent[request_id] = (entry_id, asyncio.get_running_loop().time())
        if len(self._sent) > REQUESTS_SENT_MAX:
            del self._sent[next(iter(self._sent))]

    def _renewed(self) -> asyncio.Future[None]:
        """Done when answers are heard on a new connection next: what was said to the old one is lost."""
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().create_future()
        return self._renewal

    async def _listen(self, pubsub: PubSub) -> None:
        """Hands each answer to its waiter; survives the loss of the connection, which redis-py subscribes anew."""
        while True:
            try:
                with hot_errors("listen"):
                    message = await pubsub.get_message(timeout=None)
            except (MemorydError, OSError):
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            if message is not None and message["type"] == "message":
                self._deliver(message["data"])
            elif message is not None and self._renewal is not None:
                self._renewal.set_result(None)
                self._renewal = None

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


def _checked_id(request_id: str) -> str:
    """Refuses here an id that no answer could carry back: its caller would wait in vain."""
    if not isinstance(request_id, str) or len(request_id) > REQUEST_ID_BYTES_MAX:
        raise BadRequest(f"request_id: expected 1 to {REQUEST_ID_BYTES_MAX} characters", field="request_id")
    return request_id


def _cancellations() -> int:
    """How often this task was asked to end. Who tidies up after a cancellation may call too: it is the first one's."""
    task = asyncio.current_task()
    return task.cancelling() if task else 0


def _encoded(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadRequest(f"the request cannot be written as JSON ({type(error).__name__})") from None
