"""Summaries by any Hugging Face model on this machine, in transformers and torch: heavy, and imported when it is used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from memoryd.config import Settings
from memoryd.embed.model_name import known_name
from memoryd.errors import ConfigError
from memoryd.model.speech import said
from memoryd.summarize.chat import messages
from memoryd.summarize.protocol import Failed, Passage

CHARS_A_TOKEN = 3  # rather too many new tokens than a sentence that is cut

Generate = Callable[[Sequence[Passage], int], str]


class Local:
    """A model in this process, on a thread of its own, loaded for the first summary."""

    def __init__(self, name: str, load: Callable[[], Generate], *, timeout_seconds: float) -> None:
        self.name = f"transformers: {name}"
        self._load = load
        self._generate: Generate | None = None
        self._timeout_seconds = timeout_seconds
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="summarize")

    @classmethod
    def of(cls, settings: Settings) -> Local:
        """The configured model. Raises ConfigError when none is named."""
        if not settings.summarize_model:
            raise ConfigError(
                "MEMORYD_SUMMARIZE_MODEL is empty",
                hint="set it to a model's folder or to a hub id, for instance facebook/bart-large-cnn",
            )
        return cls(
            known_name(settings.summarize_model), lambda: load(settings.summarize_model, threads=settings.embed_threads),
            timeout_seconds=settings.summarize_timeout_seconds,
        )  # fmt: skip

    async def summarize(self, passages: Sequence[Passage], *, chars: int) -> str:
        """What the model makes of the passages. Raises Failed; a run that takes too long ends unheard."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await loop.run_in_executor(self._thread, self._run, list(passages), chars)
        except TimeoutError:
            raise Failed(f"the local model gave no summary within {self._timeout_seconds:g} s", retryable=True) from None

    async def close(self) -> None:
        """Lets the run in progress end, drops those that wait."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, passages: Sequence[Passage], chars: int) -> str:
        try:
            self._generate = self._generate or self._load()
            return self._generate(passages, chars)
        except Failed:
            raise
        except ImportError as error:
            raise Failed(
                f"summarizer=transformers needs packages that are not installed: {error.name}", retryable=False,
                hint="pip install 'memoryd[transformers]' and a torch by the command of https://pytorch.org/get-started",
            ) from None  # fmt: skip
        except Exception as error:  # what a model's own code raises is not ours to know; its text may quote the notes
            raise Failed(f"the local model failed ({type(error).__name__})", retryable=False) from None


def load(model: str, *, threads: int) -> Generate:
    """The model, ready to write: one that translates text to text, or one that goes on with a text. Blocks."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(model)
    rewrites = bool(AutoConfig.from_pretrained(model).is_encoder_decoder)
    network = (AutoModelForSeq2SeqLM if rewrites else AutoModelForCausalLM).from_pretrained(model).eval()

    def generate(passages: Sequence[Passage], chars: int) -> str:
        prompt = _notes(passages) if rewrites else _chat(tokenizer, passages, chars)
        read = tokenizer(prompt, return_tensors="pt", truncation=True)
        with torch.inference_mode():
            ids = network.generate(
                **read, max_new_tokens=max(16, chars // CHARS_A_TOKEN), do_sample=False, no_repeat_ngram_size=4
            )
        own = ids[0] if rewrites else ids[0][read["input_ids"].shape[1] :]
        return str(tokenizer.decode(own, skip_special_tokens=True)).strip()

    return generate


def _notes(passages: Sequence[Passage]) -> str:
    return "\n".join(said(one.text, one.speaker) for one in passages)


def _chat(tokenizer: object, passages: Sequence[Passage], chars: int) -> str:
    told = messages(passages, chars)
    template = getattr(tokenizer, "apply_chat_template", None)
    if template is not None and getattr(tokenizer, "chat_template", None):
        return str(template(told, tokenize=False, add_generation_prompt=True))
    return "\n\n".join(one["content"] for one in told) + "\n\nSummary:"
