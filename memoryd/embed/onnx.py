"""A BERT-like model in ONNX Runtime: 48 MB of imports instead of torch's 370 MB, and a fifth of its latency."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memoryd.embed.late import Tokeniser, Tokens
from memoryd.embed.protocol import ModelFailed, Text, Vectors
from memoryd.embed.runs import Reading, done, padded, reading
from memoryd.embed.vectors import empty, mean_pool

if TYPE_CHECKING:
    from tokenizers import Tokenizer

class OnnxModel:
    """`model.onnx` and `tokenizer.json` of `folder`. Mean pooling over the tokens, then unit length."""

    def __init__(self, folder: Path, *, max_length: int, pad_id: int, threads: int) -> None:
        tokenizer = _open_tokenizer(folder / "tokenizer.json")
        self._tokeniser = Tokeniser(lambda text, marks: tokenizer.encode(text, add_special_tokens=marks).ids, max_length)
        self._session = _open_session(folder / "model.onnx", threads)
        self._inputs = {declared.name for declared in self._session.get_inputs()}
        self._output = _hidden_output(self._session)
        self._pad_id = pad_id
        self.dims = int(self.vectors(["one text"]).shape[1])

    def vectors(self, texts: Sequence[Text]) -> Vectors:
        """One unit vector a text, in order. Raises like `reading`."""
        return done(self.reading(texts)) if texts else empty(self.dims)

    def reading(self, texts: Sequence[Text]) -> Reading:
        """The same run by run. Raises ModelFailed for a text in which the tokenizer finds nothing."""
        # One by one: `encode_batch` would take every core, whatever `embed_threads` says.
        return (yield from reading([self._tokeniser.windows(text) for text in texts], self._run))

    def _run(self, tokens: Sequence[Tokens]) -> NDArray[np.float32]:
        ids, mask, own = padded(tokens, self._pad_id)
        known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        feed = {name: known[name] for name in self._inputs}
        try:
            (hidden,) = self._session.run([self._output], feed)
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            raise ModelFailed(
                f"ONNX Runtime could not run the model: {type(error).__name__}", retryable=True
            ) from error
        return mean_pool(hidden.astype(np.float32, copy=False), own)


def _open_tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()  # files may ask for a fixed length; each run is padded to its own longest text
    tokenizer.no_truncation()  # what of a text is read is decided where its context is known
    return tokenizer


def _open_session(path: Path, threads: int) -> Any:
    # ONNX Runtime reports to its makers once it is imported, where this is not set; a memory server tells nobody.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads keep a core busy between runs and collapse when another process wants it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    unknown = {declared.name for declared in session.get_inputs()} - {"input_ids", "attention_mask", "token_type_ids"}
    if unknown:
        raise ModelFailed(f"the ONNX model asks for inputs that are not known: {sorted(unknown)}", retryable=False)
    return session


def _hidden_output(session: Any) -> str:
    """The output that holds one vector a token."""
    names = [str(output.name) for output in session.get_outputs() if len(output.shape or ()) == 3]
    if not names:
        raise ModelFailed("the ONNX model has no output of one vector a token", retryable=False)
    return "last_hidden_state" if "last_hidden_state" in names else names[0]
