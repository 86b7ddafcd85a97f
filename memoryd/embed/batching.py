"""Joins the texts of many callers into few calls of the model.

A call has costs that more texts do not raise. So whatever arrives while one runs is the next batch, and one may be told to wait
for others to come. By default it does not: a model that waits idly makes an answer late and gains nothing that the next batch
would not (measured: 5 ms were a third of a lone recall, and 16 clients were no slower without). Callers feel nothing of each
other: an error reaches the callers of its batch only, and a text that the model refuses fails its own caller only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from memoryd import limits
from memoryd.embed.protocol import Embedder, InContext, ModelFailed, Vectors, reads_context
from memoryd.embed.vectors import empty
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import measure


@dataclass(frozen=True, eq=False)
class _Call:
    texts: list[str]
    answer: asyncio.Future[Vectors]
    deadline: float  # when it is sent at the latest if the model is free, in the loop's time


class MicroBatcher:
    """An Embedder that batches the calls to another one, which it owns and closes."""

    def __init__(self, embedder: Embedder, *, batch_max: int = limits.EMBED_BATCH_MAX, wait_seconds: float) -> None:
        self.model = embedder.model
        self.dims = embedder.dims
        self.reads_context = reads_context(embedder)
        self._embedder = embedder
        self._batch_max = batch_max
        self._wait_seconds = wait_seconds
        self._waiting: deque[_Call] = deque()
        self._waiting_texts = 0
        self._arrived = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text, in order. Raises ModelFailed, also when too many texts wait already."""
        parts = [list(texts[at : at + self._batch_max]) for at in range(0, len(texts), self._batch_max)]
        if not parts:
            return empty(self.dims)
        return np.concatenate([await self._enqueue(part) for part in parts])

    async def embed_in_context(self, texts: Sequence[InContext]) -> Vectors:
        """One unit vector a text. They come from the journal, in batches already: nothing is gained by waiting for more."""
        if not reads_context(self._embedder):
            raise ModelFailed("this model reads no context", retryable=False)
        return await self._embedder.embed_in_context(texts)

    async def close(self) -> None:
        """Take nothing new, answer what waits, then close the model."""
        self._closing = True
        self._arrived.set()
        if self._task:
            await self._task
        await self._embedder.close()

    def _enqueue(self, texts: list[str]) -> asyncio.Future[Vectors]:
        if self._closing:
            raise ModelFailed("the embedder is closed", retryable=True)
        if self._waiting_texts + len(texts) > limits.EMBED_QUEUE_TEXTS_MAX:
            raise ModelFailed("too many texts wait for the embedding model", retryable=True, retry_after_seconds=1.0)
        loop = asyncio.get_running_loop()
        call = _Call(texts, loop.create_future(), loop.time() + self._wait_seconds)
        self._waiting.append(call)
        self._waiting_texts += len(texts)
        measure(telemetry.EMBED_QUEUE, self._waiting_texts)
        self._arrived.set()
        if self._task is None:
            self._task = loop.create_task(self._serve(), name="embed-batches")
        return call.answer

    async def _serve(self) -> None:
        """Answer batch after batch until closed; if cancelled, let no caller wait for ever."""
        batch: list[_Call] = []
        try:
            while await self._something_waits():
                batch = self._take()
                await self._answer(batch)
        finally:
            for call in [*batch, *self._waiting]:
                call.answer.cancel()

    async def _something_waits(self) -> bool:
        """Wait for a call, then for its batch to fill or its deadline to pass. False: closed, and nothing waits."""
        while not self._waiting:
            if self._closing:
                return False
            self._arrived.clear()
            await self._arrived.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._waiting[0].deadline):
                while self._waiting_texts < self._batch_max and not self._closing:
                    self._arrived.clear()
                    await self._arrived.wait()
        return True

    def _take(self) -> list[_Call]:
        """The longest-waiting calls that fit into one batch."""
        batch: list[_Call] = []
        room = self._batch_max
        while self._waiting and len(self._waiting[0].texts) <= room:
            batch.append(self._waiting.popleft())
            room -= len(batch[-1].texts)
        self._waiting_texts -= self._batch_max - room
        measure(telemetry.EMBED_QUEUE, self._waiting_texts)
        return batch

    async def _answer(self, batch: list[_Call]) -> None:
        """Run the model for the callers that still wait; when it refuses a joined batch, for each of them alone."""
        batch = [call for call in batch if not call.answer.done()]
        if not batch:
            return
        try:
            vectors = await self._embedder.embed([text for call in batch for text in call.texts])
        except Exception as error:
            if len(batch) > 1 and isinstance(error, ModelFailed) and not error.retryable:
                for call in batch:
                    await self._answer([call])
                return
            _fail(batch, error)
        else:
            _share(batch, vectors)


def _share(batch: list[_Call], vectors: Vectors) -> None:
    """Give each caller the rows of its texts."""
    at = 0
    for call in batch:
        rows = vectors[at : at + len(call.texts)]
        at += len(call.texts)
        if not call.answer.done():
            call.answer.set_result(rows)


def _fail(batch: list[_Call], error: Exception) -> None:
    for call in batch:
        if not call.answer.done():
            call.answer.set_exception(error)
