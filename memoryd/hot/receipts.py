"""A forget under way and its receipt, in Redis: planned, taken in turns, left once, and fetched by sync."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.errors import HotUnavailable, Overloaded
from memoryd.hot import scripts
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded
from memoryd.limits import FORGET_TURN_SECONDS, IDEMPOTENCY_TTL_SECONDS, RECEIPT_PAGE_MAX, RECEIPTS_WAITING_MAX
from memoryd.model.receipt import FullReceipt
from memoryd.model.scope import Scope
from memoryd.retry import end, heedful_sleep

LOOK_SECONDS = 0.2  # how often one who waits for its turn looks
RETRY_AFTER_SECONDS = 30
READ_MAX = 5  # receipts of one read: the largest is 7 MB


class Forgets:
    """The forgets of one Redis, by the ids of their receipts."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    # --- under way ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def turn(self, receipt_id: str) -> AsyncIterator[None]:
        """Lets one at a time work on a forget, of all daemons and all repeats of the request.

        Who dies is followed by the next one 10 s later. One that merely slept finds its steps done: they are idempotent.
        """
        claim, token = names.claim(receipt_id), secrets.token_hex(8)
        with hot_errors("forget"):
            px = int(FORGET_TURN_SECONDS * 1000)
            while not await self._redis.set(claim, token, nx=True, px=px):
                await heedful_sleep(LOOK_SECONDS)
        keeping = asyncio.create_task(self._keep(claim), name="forget's turn")
        try:
            yield
        finally:
            await end(keeping)
            with contextlib.suppress(HotUnavailable), hot_errors("forget"):
                if await self._redis.get(claim) == token.encode():
                    await self._redis.delete(claim)

    async def _keep(self, claim: str) -> None:
        while True:
            await asyncio.sleep(FORGET_TURN_SECONDS / 4)
            with contextlib.suppress(HotUnavailable), hot_errors("forget"):
                await self._redis.pexpire(claim, int(FORGET_TURN_SECONDS * 1000))

    async def begin(self, receipt_id: str, plan: bytes) -> bytes | None:
        """Keeps what is to be done before anything is; the plan that stands, which may be another one's of this forget."""
        place = names.forgetting(receipt_id)
        with hot_errors("forget"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hsetnx(place, "plan", plan)
                pipe.expire(place, IDEMPOTENCY_TTL_SECONDS)
                pipe.hget(place, "plan")
                answers: list[Any] = await pipe.execute()
        stands: bytes | None = answers[-1]
        return stands

    async def look(self, receipt_id: str) -> tuple[bytes | None, FullReceipt | None]:
        """The plan of a forget that was begun, and the receipt of one that is done, with a page of its memories.

        Raises Overloaded for a new one when too many receipts wait for sync: without a receipt nothing is forgotten.
        """
        with hot_errors("forget"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hmget(names.forgetting(receipt_id), ["plan", "answer"])
                pipe.xlen(names.RECEIPTS)
                (plan, answer), waiting = await pipe.execute()
        if not (plan or answer) and waiting >= RECEIPTS_WAITING_MAX:
            raise Overloaded("forget: too many receipts wait for the archive", retry_after_seconds=RETRY_AFTER_SECONDS)
        return plan, msgspec.json.decode(answer, type=FullReceipt) if answer else None

    async def synced(self, receipt_id: str) -> bool:
        """Whether all that was written so far is on Redis's disk. The file is one: a write here comes after all of it."""
        place = names.forgetting(receipt_id)
        with hot_errors("forget"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(place, "synced", "1")
                pipe.expire(place, IDEMPOTENCY_TTL_SECONDS)
                pipe.execute_command(*scripts.waitaof())
                answers = await pipe.execute(raise_on_error=False)
        return scripts.fsynced(answers[-1:])

    # --- receipts -------------------------------------------------------------------------------------------------

    async def leave(self, receipt: FullReceipt) -> FullReceipt:
        """Leaves a receipt for sync; what stands under its id."""
        answer = msgspec.json.encode(receipt.page(0, RECEIPT_PAGE_MAX))
        args: list[Encoded] = [receipt.id, msgspec.json.encode(receipt), answer, IDEMPOTENCY_TTL_SECONDS]
        with hot_errors("leave a receipt"):
            stands = await scripts.leave_receipt(self._redis, [names.RECEIPTS, names.forgetting(receipt.id)], args)
        return msgspec.json.decode(stands, type=FullReceipt)

    async def fetched(self, receipt_id: str) -> bool:
        """Whether sync has put the receipt into its chain."""
        redis: Any = self._redis
        with hot_errors("look for a receipt"):
            entry = await redis.hget(names.forgetting(receipt_id), "entry")
            return not entry or not await redis.xrange(names.RECEIPTS, min=entry, max=entry)

    async def find(self, scope: Scope, receipt_id: str) -> FullReceipt | None:
        """A receipt of this scope that is not fetched yet."""
        async for receipt in self.unfetched():
            if receipt.id == receipt_id and scope.holds(receipt.scope):
                return receipt
        return None

    async def unfetched(self) -> AsyncIterator[FullReceipt]:
        """Every receipt that sync has still to fetch, oldest first."""
        redis: Any = self._redis
        last = "-"
        while True:
            with hot_errors("read the receipts"):
                rows = await redis.xrange(names.RECEIPTS, min=last, count=READ_MAX)
            for entry, fields in rows:
                yield msgspec.json.decode(fields[b"receipt"], type=FullReceipt)
                last = f"({entry.decode()}"
            if not rows:
                return
