"""A local model on a thread of its own, so that the event loop never waits for arithmetic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from memoryd.embed.protocol import InContext, ModelFailed, Text, Vectors
from memoryd.embed.runs import Reading, go_on
from memoryd.embed.vectors import empty


class LocalModel(Protocol):
    """A model in this process, called from one thread only."""

    dims: int

    def reading(self, texts: Sequence[Text]) -> Reading:
        """One unit vector a text, run by run."""
        ...


class ThreadEmbedder:
    """An Embedder around a local model. One thread: two runs at once would only take each other's cores."""

    def __init__(self, name: str, model: LocalModel, thread: ThreadPoolExecutor) -> None:
        self.model = name
        self.reads_context = True
        self.dims = model.dims
        self._local = model
        self._thread = thread
        self._closed = False

    @classmethod
    async def load(cls, name: str, build: Callable[[], LocalModel]) -> ThreadEmbedder:
        """Build the model on its thread: heavy imports and reading of files happen there too."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embed")
        try:
            model = await asyncio.get_running_loop().run_in_executor(thread, build)
        except BaseException:
            thread.shutdown(wait=False, cancel_futures=True)
            raise
        return cls(name, model, thread)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text, in order."""
        return await self._run(texts)

    async def embed_in_context(self, texts: Sequence[InContext]) -> Vectors:
        """One unit vector a text, of its own words as they are meant there."""
        return await self._run(texts)

    async def _run(self, texts: Sequence[Text]) -> Vectors:
        """Run by run: a question waits for one run of what is stored, however long that is."""
        if not texts:
            return empty(self.dims)
        loop, reading = asyncio.get_running_loop(), self._local.reading(texts)
        made: Vectors | None = None
        while made is None:
            if self._closed:
                raise ModelFailed("the embedder is closed", retryable=True)
            made = await loop.run_in_executor(self._thread, go_on, reading)
        return made

    async def close(self) -> None:
        """Let the run in progress end, drop those that wait."""
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
