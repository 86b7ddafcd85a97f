"""Any endpoint that speaks the usual `/rerank`: Cohere's, Jina's, Voyage's, or a server of one's own (TEI, vLLM, Infinity).

It is posted `{"model", "query", "documents", "top_n"}` and answers `{"results": [{"index", "relevance_score"}]}`. Neither the
key nor anything that it answers appears in an error: it may echo texts.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from memoryd.config import Settings
from memoryd.embed.http_call import Endpoint, base_url
from memoryd.embed.protocol import ModelFailed
from memoryd.embed.vectors import well_formed
from memoryd.rerank.protocol import Failed


class _Result(msgspec.Struct):
    index: int
    relevance_score: float


class _Answer(msgspec.Struct):
    results: list[_Result]


class HttpReranker:
    """One call a recall, without repeats: whoever asked waits for the answer."""

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self.name = f"http: {model}"
        self._endpoint = endpoint
        self._model = model
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="rerank-http")

    @classmethod
    def of(cls, settings: Settings) -> HttpReranker:
        """The configured endpoint. Raises ConfigError."""
        url = base_url("MEMORYD_RERANK_URL", settings.rerank_url).removesuffix("/rerank") + "/rerank"
        endpoint = Endpoint(
            url, settings.rerank_key.get_secret_value(), settings.rerank_timeout_seconds, what="the rerank endpoint",
            setting="MEMORYD_RERANK_URL",
        )  # fmt: skip
        return cls(endpoint, settings.rerank_model)

    async def relevance(self, question: str, texts: Sequence[str]) -> list[float]:
        """What the endpoint says of each. Raises Failed."""
        documents = [well_formed(text) for text in texts]
        asked = {"model": self._model, "query": well_formed(question), "documents": documents, "top_n": len(texts)}
        body, loop = msgspec.json.encode(asked), asyncio.get_running_loop()
        try:
            reply = await loop.run_in_executor(self._threads, self._endpoint.post, body)
        except ModelFailed as error:
            raise Failed(error.message) from None
        if reply.status != 200:
            raise Failed(f"the rerank endpoint answered {reply.status}")
        return _scores(reply.body, len(texts))

    async def close(self) -> None:
        """Drops the calls that wait; those in progress end by their time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _scores(body: bytes, count: int) -> list[float]:
    """The scores in the order of the texts: each of them once, or the answer is of something else."""
    try:
        results = msgspec.json.decode(body, type=_Answer).results
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Failed("the rerank endpoint answered something else than results with index and relevance_score") from None
    scores = {one.index: one.relevance_score for one in results}
    if scores.keys() != set(range(count)) or len(results) != count or not all(map(math.isfinite, scores.values())):
        raise Failed("the rerank endpoint has not scored each text once")
    return [scores[at] for at in range(count)]
