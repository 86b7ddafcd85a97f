"""The receipts' way into the archive: Redis → the chain of their project in MongoDB; fetched after a majority has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd.archive.receipts import ReceiptArchive
from memoryd.errors import ArchiveUnavailable
from memoryd.hot.client import hot_errors
from memoryd.hot.journal import RECEIPTS_GROUP
from memoryd.hot.records import Records
from memoryd.keys import RECEIPTS
from memoryd.model.receipt import FullReceipt, said_again
from memoryd.model.scope import Scope
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.receipts")

BLOCK_SECONDS = 0.5  # how soon a stop is noticed, and how often a dead sync's receipts are looked for
READ_MAX = 32  # receipts of one insert; a usual one has 1 KB, the largest 7 MB
REDELIVER_IDLE_SECONDS = 5.0  # an append takes milliseconds; a second one finds the first

Row = tuple[bytes, dict[bytes, bytes] | None]


class ReceiptChainer:
    """One consumer of the receipts; several share the work, also those of several Redises over one archive."""

    def __init__(
        self, records: Records, blocking: Redis, archive: ReceiptArchive, *, consumer: str
    ) -> None:
        self._records = records
        self._blocking = blocking
        self._archive = archive
        self._consumer = consumer

    async def step(self) -> None:
        """Chains what is there, or waits a moment for it. Raises HotUnavailable or ArchiveUnavailable."""
        redis: Any = self._records.redis
        blocking: Any = self._blocking
        with hot_errors("fetch receipts"):
            idle = int(REDELIVER_IDLE_SECONDS * 1000)
            _, rows, *_ = await redis.xautoclaim(RECEIPTS, RECEIPTS_GROUP, self._consumer, idle, count=READ_MAX)
            if not rows:
                block = int(BLOCK_SECONDS * 1000)
                streams = {RECEIPTS: ">"}
                answer = await blocking.xreadgroup(RECEIPTS_GROUP, self._consumer, streams, count=READ_MAX, block=block)
                rows = answer[0][1] if answer else []
        await self._chain(rows)

    async def leave(self) -> None:
        """Nothing to hand over: what is not acknowledged is taken over."""

    async def _chain(self, rows: Sequence[Row]) -> None:
        """Chains the receipts of each project together, and acknowledges them."""
        by_project: dict[Scope, list[tuple[bytes, FullReceipt]]] = {}
        for entry, fields in rows:
            receipt = await self._read(fields)
            if receipt is None:
                await self._done([entry], keep=fields is not None)
            else:
                by_project.setdefault(Scope(receipt.tenant, receipt.project), []).append((entry, receipt))
        for some in by_project.values():
            await self._append(some)

    async def _read(self, fields: dict[bytes, bytes] | None) -> FullReceipt | None:
        try:
            return msgspec.json.decode((fields or {}).get(b"receipt", b""), type=FullReceipt)
        except msgspec.MsgspecError as error:
            await self._bury((fields or {}).get(b"id", b"").decode(errors="replace"), type(error).__name__)
            return None

    async def _append(self, some: Sequence[tuple[bytes, FullReceipt]]) -> None:
        """One that cannot be chained is found alone; it stays in Redis, with a dead letter, and holds up nobody."""
        try:
            stands = await self._archive.append([receipt for _, receipt in some])
        except ArchiveUnavailable:
            raise
        except Exception as error:
            if len(some) > 1:
                for one in some:
                    await self._append([one])
                return
            [(entry, receipt)] = some
            await self._bury(receipt.id, f"{type(error).__name__} while chaining", error)
            await self._done([entry], keep=True)
            return
        # The same request was carried out before and something else came of it: by a Redis that has lost that since (its last
        # second), or by another one over this archive. Both runs have removed what they say, and the chain tells both.
        again = [said_again(receipt) for _, receipt in some if stands[receipt.id].memories != receipt.memories]
        if again:
            await self._archive.append(again)
            log.info("receipts.again", receipts=[one.id for one in again])
        await self._done([entry for entry, _ in some])
        log.debug("receipts.chained", receipts=len(some))

    async def _done(self, entries: Sequence[bytes], *, keep: bool = False) -> None:
        if not entries:
            return
        with hot_errors("acknowledge receipts"):
            async with self._records.redis.pipeline(transaction=True) as pipe:
                pipe.xack(RECEIPTS, RECEIPTS_GROUP, *entries)
                if not keep:
                    pipe.xdel(RECEIPTS, *entries)
                await pipe.execute()

    async def _bury(self, receipt_id: str, reason: str, error: Exception | None = None) -> None:
        log.error("receipt.dead_letter", id=receipt_id[:64], reason=reason, exc_info=error)
        await self._records.bury("receipts", receipt_id[:64], reason)
