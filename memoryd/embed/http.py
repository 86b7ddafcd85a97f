"""Any endpoint that speaks OpenAI's `/embeddings`: a hosted one, or a local server with a model of its own."""

from __future__ import annotations

import asyncio
import email.utils
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np

from memoryd import limits
from memoryd.clock import Clock, SystemClock
from memoryd.config import Settings
from memoryd.embed.http_call import Endpoint, Reply
from memoryd.embed.protocol import ModelFailed, Vectors
from memoryd.embed.vectors import empty, unit, well_formed

WAIT_AND_REPEAT = {429, 503}
REFUSES_THE_TEXTS = {400, 413, 422}
BYTES_PER_TOKEN = (
    3  # low for English (4), about right for code and most other scripts: an estimate that errs to small calls
)

Sleep = Callable[[float], Awaitable[None]]


class _Item(msgspec.Struct):
    embedding: list[float]
    index: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Item]


class HttpEmbedder:
    """Embeds by HTTP. Neither the key nor anything that the endpoint answers appears in an error: it may echo texts."""

    def __init__(
        self, endpoint: Endpoint, model: str, dims: int = 0, *, clock: Clock | None = None, sleep: Sleep = asyncio.sleep
    ) -> None:
        self.model = model
        self.dims = dims
        self._endpoint = endpoint
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="embed-http")

    @classmethod
    async def open(cls, settings: Settings) -> HttpEmbedder:
        """Ask the endpoint for one vector, so that the dimension is known and a wrong key is seen at the start."""
        embedder = cls(Endpoint.of(settings), settings.model)
        try:
            embedder.dims = (await embedder.embed(["How long is a vector?"])).shape[1]
        except BaseException:
            await embedder.close()
            raise
        return embedder

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text, in order, in as many calls as the endpoint's usual limits need."""
        if not texts:
            return empty(self.dims)
        short = [cut(well_formed(text), limits.EMBED_TEXT_TOKENS_MAX) for text in texts]
        return np.concatenate([await self._embed(call) for call in calls(short)])

    async def close(self) -> None:
        """Drop the calls that wait; those in progress end by their time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _embed(self, texts: list[str]) -> Vectors:
        reply = await self._ask(texts)
        while reply.status in REFUSES_THE_TEXTS and len(texts) == 1 and (shorter := half(texts[0])):
            # Local servers refuse what is longer than their model reads, and no common field says how long that is.
            texts = [shorter]
            reply = await self._ask(texts)
        if reply.status != 200:
            raise self._refused(reply)
        return self._checked(reply, len(texts))

    async def _ask(self, texts: list[str]) -> Reply:
        """One call, repeated when the endpoint asks for patience."""
        for attempt in range(1, limits.EMBED_CALL_TRIES_MAX + 1):
            reply = await self._call(texts)
            wait = retry_after(reply, self._clock, attempt)
            last = attempt == limits.EMBED_CALL_TRIES_MAX or wait > limits.EMBED_RETRY_AFTER_SECONDS_MAX
            if reply.status not in WAIT_AND_REPEAT or last:
                break
            await self._sleep(wait)
        return reply

    async def _call(self, texts: list[str]) -> Reply:
        body = msgspec.json.encode({"model": self.model, "input": texts})
        try:
            async with asyncio.timeout(self._endpoint.timeout_seconds):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._endpoint.post, body)
        except TimeoutError:
            message = f"the embeddings endpoint did not answer within {self._endpoint.timeout_seconds:g} s"
            raise ModelFailed(message, retryable=True) from None

    def _refused(self, reply: Reply) -> ModelFailed:
        """The error for an answer that is not 200."""
        return ModelFailed(
            f"the embeddings endpoint answered {reply.status}",
            retryable=reply.status not in REFUSES_THE_TEXTS,
            hint="see MEMORYD_EMBED_URL, MEMORYD_EMBED_KEY and MEMORYD_MODEL"
            if reply.status in {401, 403, 404}
            else None,
            status=reply.status,
            retry_after_seconds=retry_after(reply, self._clock, 1) if reply.status in WAIT_AND_REPEAT else None,
        )

    def _checked(self, reply: Reply, count: int) -> Vectors:
        """The answer's vectors in the order of the texts, made sure of. Raises ModelFailed for any other answer."""
        try:
            items = msgspec.json.decode(reply.body, type=_Answer).data
            order = sorted(
                range(len(items)), key=lambda at: at if items[at].index is None else int(items[at].index or 0)
            )
            rows = np.asarray([items[at].embedding for at in order], dtype=np.float64)
        except (msgspec.MsgspecError, ValueError, OverflowError):
            # Not retryable: asked one by one, the text that the endpoint has no answer for fails alone.
            message = "the embeddings endpoint's answer is not of the form `data: [{embedding, index}]`"
            raise ModelFailed(message, retryable=False) from None
        indexes = [item.index for item in items if item.index is not None]
        if len(items) != count or (indexes and sorted(indexes) != list(range(count))):
            raise ModelFailed(
                f"the embeddings endpoint answered {len(items)} vectors to {count} texts", retryable=False
            )
        if self.dims and rows.shape[1] != self.dims:
            raise ModelFailed(
                f"the embeddings endpoint now answers {rows.shape[1]} dimensions instead of {self.dims}",
                retryable=True,
                hint="another model seems to serve MEMORYD_EMBED_URL; vectors of two models cannot be compared",
            )
        return unit(rows)


def tokens(text: str) -> int:
    """An estimate of the tokens of `text`."""
    return len(text.encode()) // BYTES_PER_TOKEN + 1


def cut(text: str, tokens_max: int) -> str:
    """The beginning of `text` that is not longer than `tokens_max`."""
    return text.encode()[: tokens_max * BYTES_PER_TOKEN].decode(errors="ignore")


def half(text: str) -> str | None:
    """The first half of `text`, or None when it is so short that its length cannot be what is wrong."""
    size = tokens(text)
    return cut(text, size // 2) if size >= 2 * limits.EMBED_TEXT_TOKENS_MIN else None


def calls(texts: Sequence[str]) -> Iterator[list[str]]:
    """`texts` in order, split so that each call stays below the limits on count and on tokens."""
    call: list[str] = []
    size = 0
    for text in texts:
        more = tokens(text)
        if call and (len(call) == limits.EMBED_BATCH_MAX or size + more > limits.EMBED_CALL_TOKENS_MAX):
            yield call
            call, size = [], 0
        call.append(text)
        size += more
    if call:
        yield call


def retry_after(reply: Reply, clock: Clock, attempt: int) -> float:
    """Seconds to wait: what the endpoint says, as a number or a date, else a doubling time with jitter."""
    said = (reply.retry_after or "").strip()
    if said.isdecimal():
        return float(said)
    try:
        moment = email.utils.parsedate_to_datetime(said)
        return max(0.0, (moment - clock.now()).total_seconds())
    except (ValueError, TypeError):  # no date, or a date without a time zone
        return random.uniform(0.5, 1.0) * 2.0 ** (attempt - 1)
