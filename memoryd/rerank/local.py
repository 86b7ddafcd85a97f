"""A cross-encoder on this machine, in transformers and torch, which are imported when it is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from memoryd.config import Settings
from memoryd.embed.model_name import known_name
from memoryd.errors import ConfigError
from memoryd.rerank.protocol import Failed

TOKENS_MAX = 512  # the positions of a BERT-like model
BATCH = 16  # pairs of one run: bounds its memory whatever the texts are

Score = Callable[[str, Sequence[str]], list[float]]


class LocalReranker:
    """A scoring function on a thread of its own: two runs at once would only take each other's cores."""

    def __init__(self, name: str, score: Score, thread: ThreadPoolExecutor) -> None:
        self.name = f"local: {name}"
        self._score = score
        self._thread = thread

    @classmethod
    async def open(cls, settings: Settings, *, load: Callable[[Settings], Score] | None = None) -> LocalReranker:
        """The configured model, loaded on its thread. Raises ConfigError where it cannot be loaded."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rerank")
        try:
            score = await asyncio.get_running_loop().run_in_executor(thread, load or load_model, settings)
        except BaseException:
            thread.shutdown(wait=False, cancel_futures=True)
            raise
        return cls(known_name(settings.rerank_model), score, thread)

    async def relevance(self, question: str, texts: Sequence[str]) -> list[float]:
        """The model's score of each. Raises Failed."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._score, question, list(texts))
        except RuntimeError as error:  # torch's errors, and a thread that is shut down
            raise Failed(f"the cross-encoder failed ({type(error).__name__})") from None

    async def close(self) -> None:
        """Frees the thread; the model goes with it."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def load_model(settings: Settings) -> Score:
    """AutoTokenizer and AutoModelForSequenceClassification. Never runs code that comes with a model."""
    try:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        torch.set_num_threads(settings.embed_threads)
        tokenizer = AutoTokenizer.from_pretrained(settings.rerank_model)
        model = AutoModelForSequenceClassification.from_pretrained(settings.rerank_model, dtype=torch.float32).eval()
    except ImportError as error:
        raise ConfigError(
            f"reranker=transformers needs packages that are not installed: {error.name}",
            hint="pip install 'memoryd[transformers]' and a torch by the command of https://pytorch.org/get-started",
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"transformers cannot load the cross-encoder {known_name(settings.rerank_model)}",
            hint="set MEMORYD_RERANK_MODEL to a model's folder or to a hub id that this machine can reach",
        ) from error
    return lambda question, texts: _scores(torch, tokenizer, model, question, texts)


def _scores(torch: Any, tokenizer: Any, model: Any, question: str, texts: Sequence[str]) -> list[float]:
    found: list[float] = []
    for start in range(0, len(texts), BATCH):
        some = list(texts[start : start + BATCH])
        pairs = tokenizer(
            [question] * len(some), some, padding=True, truncation=True, max_length=TOKENS_MAX, return_tensors="pt"
        )
        with torch.inference_mode():
            logits = model(**pairs).logits
        # One output is the relevance; of two classes the second is "relevant".
        found += (logits[:, -1] - (logits[:, 0] if logits.shape[1] > 1 else 0)).tolist()
    return found
