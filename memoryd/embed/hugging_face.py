"""Any Hugging Face model, by path or hub id, in transformers and torch: heavy, and works where no ONNX file exists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memoryd.config import Settings
from memoryd.embed.late import Tokeniser, Tokens, name_in_context
from memoryd.embed.model_name import known_name, original_of
from memoryd.embed.protocol import ModelUnavailable, Text
from memoryd.embed.runs import Reading, padded, reading
from memoryd.embed.thread import ThreadEmbedder
from memoryd.embed.vectors import mean_pool

TOKENS_MAX = 512  # the positions of a BERT-like model; models that read more are read to here


class HuggingFaceModel:
    """AutoTokenizer and AutoModel with mean pooling and unit length. Never runs code that comes with a model."""

    def __init__(self, model: str, *, threads: int) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        torch.set_num_threads(threads)  # with more, torch collapses 10 to 70 times beside another busy process
        self._torch = torch
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._model = AutoModel.from_pretrained(model, dtype=torch.float32).eval()
        self._tokeniser = Tokeniser(self._encode, min(self._tokenizer.model_max_length, TOKENS_MAX))
        self.dims = int(self._model.config.hidden_size)

    def reading(self, texts: Sequence[Text]) -> Reading:
        """One unit vector a text, in order."""
        return (yield from reading([self._tokeniser.windows(text) for text in texts], self._run))

    def _encode(self, text: str, marks: bool) -> list[int]:
        # Not `truncation`: what of a text is read is decided where its context is known.
        return list(self._tokenizer(text, add_special_tokens=marks, verbose=False)["input_ids"])

    def _run(self, tokens: Sequence[Tokens]) -> NDArray[np.float32]:
        ids, mask, own = padded(tokens, self._tokenizer.pad_token_id or 0)
        with self._torch.inference_mode():
            hidden = self._model(
                input_ids=self._torch.from_numpy(ids), attention_mask=self._torch.from_numpy(mask)
            ).last_hidden_state
        return mean_pool(hidden.numpy(), own)


async def open_transformers(settings: Settings) -> ThreadEmbedder:
    """The configured model in torch, loaded on its thread. Raises ModelUnavailable where it cannot be loaded."""
    if original_of(settings.model):
        raise ModelUnavailable("int8 weights do not run in torch", hint="MEMORYD_EMBEDDER=onnx, or MEMORYD_MODEL without @int8")

    def build() -> HuggingFaceModel:
        try:
            return HuggingFaceModel(settings.model, threads=settings.embed_threads)
        except ImportError as error:
            raise ModelUnavailable(
                f"embedder=transformers needs packages that are not installed: {error.name}",
                hint="pip install 'memoryd[transformers]' and a torch by the command of https://pytorch.org/get-started",
            ) from error
        except (OSError, ValueError) as error:
            raise ModelUnavailable(
                f"transformers cannot load the model {known_name(settings.model)}",
                hint="set MEMORYD_MODEL to a model's folder or to a hub id that this machine can reach",
            ) from error

    return await ThreadEmbedder.load(name_in_context(known_name(settings.model), settings.embed_turns_after), build)
