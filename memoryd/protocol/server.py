"""The daemon's side of the protocol: read requests, carry them out, answer, acknowledge.

A request stays in the stream until it is answered, so a daemon that dies leaves it to the others; the idempotency
keys of the atomic steps make the second attempt harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from opentelemetry.trace import SpanKind
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from memoryd import keys
from memoryd.engine import fingerprint
from memoryd.errors import HotUnavailable, MemorydError, Overloaded, UnknownOperation
from memoryd.hot import scripts
from memoryd.hot.changes import Request
from memoryd.hot.client import hot_errors, run_of
from memoryd.hot.headroom import memory_share
from memoryd.limits import (
    CLAIM_TTL_SECONDS,
    REDIS_MEMORY_PERCENT_MAX,
    REPLIES_TOGETHER_MAX,
    REPLY_ALONE_BYTES,
    REQUESTS_BACKLOG_MAX,
    REQUESTS_IN_FLIGHT_MAX,
    TAKEOVER_IDLE_SECONDS,
)
from memoryd.model.memory import Durability
from memoryd.protocol import messages
from memoryd.protocol.measuring import measure_answer
from memoryd.protocol.messages import Envelope
from memoryd.protocol.telling import described, quoted
from memoryd.protocol.verbs import FORMS
from memoryd.protocol.verbs.verb import Handler
from memoryd.retry import heed_cancellation, persistently
from memoryd.together import Together
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.kept import Told, told_to_nobody
from memoryd_telemetry.logs import get_logger
from memoryd_telemetry.metrics import measure
from memoryd_telemetry.propagation import traceparent_of
from memoryd_telemetry.text import Texts
from memoryd_telemetry.tracing import operation

log = get_logger("memoryd.server")

GROUP = keys.REQUESTS_GROUP
BLOCK_SECONDS = 0.5  # how soon a stop is noticed
RETRY_AFTER_SECONDS = 2
RESTARTS_MAX = 3  # of Redis during one write
READ_MAX = 32  # requests of one read: bounds what a burst of large ones can occupy

Fields = Mapping[bytes, bytes]


class Sendable(NamedTuple):
    """An answer, to whom it goes, and the entry that goes with it."""

    entry_id: bytes
    reply_to: str
    reply: bytes


class Server:
    """Serves one daemon's share of the requests. `blocking` waits in reads, `redis` does the rest."""

    def __init__(
        self,
        redis: Redis,
        blocking: Redis,
        handlers: Mapping[str, Handler],
        *,
        name: str,
        prepare_redis: Callable[[], Awaitable[None]] | None = None,
        told: Told = told_to_nobody,
        texts: Texts | None = None,
    ) -> None:
        """`told` returns when the spans of what was carried out are kept, where they are. `texts` brings text into them."""
        self._redis = redis
        self._blocking = blocking
        self._name = name
        self._prepare_redis = prepare_redis
        self._slots = asyncio.Semaphore(REQUESTS_IN_FLIGHT_MAX)
        self._full = ""
        self._handlers = handlers
        self._told = told
        self._texts = texts
        self._together = Together(self._send_all, at_most=REPLIES_TOGETHER_MAX)
        self._long: set[bytes] = set()  # entries whose verbs may take longer than a takeover waits
        self._kept_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Serves until told to stop, then finishes what is in flight."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            prepare = self.prepare
            tasks.create_task(persistently(self._serve_stream, stop, doing="serve", prepare=prepare), name="serve")
            tasks.create_task(persistently(self._take_over, stop, doing="take over", prepare=prepare), name="take over")
            tasks.create_task(self._serve_published(stop), name="published")

    # --- the stream -----------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Brings Redis up to date, and creates the consumer group; requests from before any daemon are served too."""
        if self._prepare_redis is not None:
            await self._prepare_redis()
        with hot_errors("prepare"):
            try:
                await self._redis.xgroup_create(keys.REQUESTS, GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def _serve_stream(self) -> None:
        await self._slots.acquire()  # reads only when there is room: what is read is this daemon's to answer
        self._slots.release()
        with hot_errors("serve"):
            answer: Any = await self._blocking.xreadgroup(
                GROUP, self._name, {keys.REQUESTS: ">"}, count=READ_MAX, block=int(BLOCK_SECONDS * 1000)
            )
        for _, entries in answer or []:
            for entry_id, fields in entries:
                await self._start(entry_id, fields)

    async def _take_over(self) -> None:
        """Serves what a daemon that died has left unanswered, and watches how much waits and how full Redis is."""
        await self._keep_long()
        with hot_errors("take over"):
            backlog = await self._redis.xlen(keys.REQUESTS)
            _, entries, *_ = await self._redis.xautoclaim(
                keys.REQUESTS, GROUP, self._name, min_idle_time=int(TAKEOVER_IDLE_SECONDS * 1000), count=READ_MAX
            )
        measure(telemetry.REQUESTS_BACKLOG, backlog)
        await self._look_for_room(backlog)
        for entry_id, fields in entries:
            await self._start(entry_id, fields)
        await asyncio.sleep(BLOCK_SECONDS)

    async def _keep_long(self) -> None:
        """Makes the entries of long verbs young again, so that nobody takes them over while this daemon lives."""
        now = asyncio.get_running_loop().time()
        if self._long and now - self._kept_at >= TAKEOVER_IDLE_SECONDS / 4:
            self._kept_at = now
            client: Any = self._redis
            with hot_errors("keep what takes long"):
                await client.xclaim(keys.REQUESTS, GROUP, self._name, 0, list(self._long), justid=True)

    @contextlib.contextmanager
    def _kept(self, entry_id: bytes, op: str) -> Iterator[None]:
        form = FORMS.get(op)
        if form is None or not form.long:
            yield
            return
        self._long.add(entry_id)
        try:
            yield
        finally:
            self._long.discard(entry_id)

    async def _look_for_room(self, backlog: int) -> None:
        """Notes why writes are refused, while they are; what was acknowledged is served, forgotten and archived on."""
        share = await memory_share(self._redis)
        measure(telemetry.HOT_MEMORY_SHARE, share)
        full = ""
        if backlog > REQUESTS_BACKLOG_MAX:
            full = f"more than {REQUESTS_BACKLOG_MAX} requests wait"
        elif 100 * share > REDIS_MEMORY_PERCENT_MAX:
            full = f"Redis uses more than {REDIS_MEMORY_PERCENT_MAX} % of its maxmemory"
        if full != self._full:
            log.warning("writes.refused" if full else "writes.taken_again", why=full or self._full)
        self._full = full

    async def _start(self, entry_id: bytes, fields: Fields) -> None:
        await self._slots.acquire()
        task = self._tasks.create_task(self._serve(entry_id, fields or {}))
        task.add_done_callback(lambda _: self._slots.release())

    # --- pub/sub --------------------------------------------------------------------------------------------------

    async def _serve_published(self, stop: asyncio.Event) -> None:
        """Takes published requests into the stream: one daemon claims each, then it is like any other request."""

        async def listen() -> None:
            with hot_errors("listen"):
                async with self._blocking.pubsub() as pubsub:
                    await pubsub.subscribe(keys.REQUESTS)
                    while not stop.is_set():
                        heed_cancellation()
                        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=BLOCK_SECONDS)
                        if message:
                            await self._claim(message["data"])

        await persistently(listen, stop, doing="listen")

    async def _claim(self, raw: bytes) -> None:
        try:
            envelope = messages.read_envelope(raw)
        except MemorydError as error:
            log.warning("request.unreadable", code=error.code, bytes=len(raw))
            return
        await scripts.claim(
            self._redis,
            [keys.claim(f"{envelope.reply_to}:{envelope.id}"), keys.REQUESTS],
            [CLAIM_TTL_SECONDS, raw, envelope.id, envelope.reply_to],
        )

    # --- one request ----------------------------------------------------------------------------------------------

    async def _serve(self, entry_id: bytes, fields: Fields) -> None:
        """Carries out one request and answers it; the entry goes when the answer does."""
        try:
            reply_to, reply = await self._answer(entry_id, fields)
            await self._told()
            await self._send(entry_id, reply_to, reply)
        except MemorydError as error:
            # Redis went away meanwhile: the entry stays pending, and is served again when it is taken over.
            log.warning("request.unanswered", code=error.code)

    async def _answer(self, entry_id: bytes, fields: Fields) -> tuple[str, bytes]:
        request_id, reply_to = _hints(fields)
        try:
            envelope = messages.read_envelope(fields.get(b"envelope", b""))
            request_id, reply_to = envelope.id, envelope.reply_to or reply_to
            with self._kept(entry_id, envelope.op):
                return reply_to, messages.encode_reply(request_id, await self.carry_out(envelope, asked_at=_asked_at(entry_id)))
        except MemorydError as error:
            return reply_to, messages.encode_error(request_id, error)
        except Exception as error:
            log.exception("request.failed", error=type(error).__name__)
            return reply_to, messages.encode_error(
                request_id, MemorydError("the daemon failed on this request; see its log")
            )

    async def carry_out(self, envelope: Envelope, *, asked_at: int = 0) -> Any:
        """The result of a request that came to Redis then (microseconds; 0: now). Raises a MemorydError."""
        with operation(envelope.op, parent=envelope.traceparent, kind=SpanKind.SERVER) as span:
            carry_out = self._handlers.get(envelope.op)
            if carry_out is None:
                raise UnknownOperation(
                    "op: is no verb of this daemon", field="op", hint="its verbs are those of docs/protocol.md"
                )
            form = FORMS[envelope.op]
            if self._full and form.writes:
                raise Overloaded(self._full, retry_after_seconds=RETRY_AFTER_SECONDS)
            scope = envelope.scope.check()
            told = span.is_recording()
            if told:
                span.set_attribute(telemetry.STORE_ID, telemetry.store_id(scope.tenant, scope.project))
            args = messages.parse(envelope.args, form.args, "args")
            asked = fingerprint(envelope.op, envelope.scope, args)
            request = Request(envelope.id, asked, traceparent_of(span), envelope.reply_to, asked_at)
            work = partial(carry_out, scope, args, request)
            archived = getattr(args, "durability", None) is Durability.ARCHIVED
            result = await (self._in_one_run(work) if archived else work())
            if told:
                span.set_attributes(described(args, result))
                if self._texts:
                    span.set_attributes(quoted(self._texts, envelope.op, args, result))
            measure_answer(envelope.op, result)
            return result

    async def _in_one_run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Carries out a write that waits for the archive, again when Redis was restarted under it.

        It may have lost the write, and the archive's place would pass it by with those that came later. Doing it again
        has no second effect.
        """
        for _ in range(RESTARTS_MAX):
            run = await run_of(self._redis)
            result = await work()
            if run == await run_of(self._redis):
                return result
        raise HotUnavailable("Redis was restarted again and again while the write waited for the archive")

    async def _send(self, entry_id: bytes, reply_to: str, reply: bytes) -> None:
        one = Sendable(entry_id, reply_to, reply)
        await (self._send_all([one]) if len(reply) > REPLY_ALONE_BYTES else self._together(one))

    async def _send_all(self, replies: Sequence[Sendable]) -> Sequence[None]:
        entry_ids = [one.entry_id for one in replies]
        with hot_errors("answer"):
            # As one: a loss of power between them would leave an entry that nobody has and nobody removes.
            async with self._redis.pipeline(transaction=True) as pipe:
                for one in replies:
                    if one.reply_to:
                        pipe.publish(keys.replies(one.reply_to), one.reply)
                pipe.xack(keys.REQUESTS, GROUP, *entry_ids)
                pipe.xdel(keys.REQUESTS, *entry_ids)
                await pipe.execute()
        return [None] * len(replies)


def _asked_at(entry_id: bytes) -> int:
    """The end of the millisecond that Redis has given the entry: what was done before that was done before it."""
    return int(entry_id.partition(b"-")[0]) * 1000 + 999


def _hints(fields: Fields) -> tuple[str, str]:
    """Id and reply_to as the stream entry repeats them, so that an unreadable envelope can still be answered."""
    request_id = fields.get(b"id", b"").decode("ascii", "replace")[:128]
    reply_to = fields.get(b"reply_to", b"").decode("ascii", "replace")
    return request_id, reply_to if messages.CLIENT_NAME.fullmatch(reply_to) else ""
