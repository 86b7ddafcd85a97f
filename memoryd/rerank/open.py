"""The configured reranker, opened."""

from __future__ import annotations

from memoryd.config import RerankerKind, Settings
from memoryd.errors import ConfigError
from memoryd.rerank.http import HttpReranker
from memoryd.rerank.local import LocalReranker
from memoryd.rerank.protocol import Reranker


async def open_reranker(settings: Settings) -> Reranker | None:
    """None for reranker=none. Raises ConfigError."""
    if settings.reranker is RerankerKind.NONE:
        return None
    if not settings.rerank_model:
        raise ConfigError("MEMORYD_RERANK_MODEL is empty", hint="name the cross-encoder, for instance BAAI/bge-reranker-base")
    if settings.reranker is RerankerKind.HTTP:
        return HttpReranker.of(settings)
    return await LocalReranker.open(settings)
