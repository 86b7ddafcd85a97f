"""A peer that works when it is told to: needs nothing but numpy, so that every peer's Python can read it; with a model to embed
with, onnxruntime and tokenizers, too.

Its script is started with Redis's address, a file of texts (`Texts.written`), a configuration, and perhaps the folder of a model.
It reads one order a line from stdin, e.g. `{"do": "store", "first": 0, "count": 100, "clients": 16}`, and answers each with a line
of JSON: the seconds that all took, the milliseconds of each, and what each question found.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.vectors import of_words

DEFAULT, BEST = "default", "best"  # as a peer is without being told anything, and as its documentation lets it be for recall
LIMIT = 10
BATCH = 100
MODEL_TOKENS_MAX = 256
STRIDE = 7919  # prime, so that a question follows about another user's text than the last, until all were asked about
WORDS_ASKED = 6
Call = Callable[[int], Any]
"""Stores the text of this number, or of a batch that begins there; or asks the question of this number, and gives what it found."""
Verbs = dict[str, Call]


class Texts:
    """What is stored and asked: the same for everyone, and each new."""

    def __init__(self, file: Path) -> None:
        about = json.loads(file.read_text())
        self._lines: list[str] = about["lines"]
        self.each: int = about["each"]
        self.ef_runtime: int = about["ef_runtime"]

    @staticmethod
    def written(file: Path, lines: Sequence[str], *, ef_runtime: int, each: int = 0) -> Texts:
        """`each`: how many one user has, one user after the other; all are one user's where it is 0. `ef_runtime`: how wide the
        daemon searches a graph, and so its peers, where they can be told."""
        file.write_text(json.dumps({"lines": lines, "each": each, "ef_runtime": ef_runtime}))
        return Texts(file)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, number: int) -> str:
        return f"{self._lines[number % len(self)]} ({number})"

    @staticmethod
    def number(text: str) -> int:
        """The one whose text it is."""
        return int(text.rpartition("(")[2].removesuffix(")"))

    def user(self, number: int) -> str:
        """Whose text it is: as long for everyone, since LangGraph looks for what begins with it."""
        return f"user{number // self.each if self.each else 0:05d}"

    def about(self, number: int) -> int:
        """The text of which a question has some words."""
        return number * STRIDE % len(self)

    def asked(self, number: int) -> str:
        """A question that nobody has asked before: a few words of a text that is there."""
        return " ".join([*self._lines[self.about(number)].split()[:WORDS_ASKED], str(number)])

    def asker(self, number: int) -> str:
        """Among whose texts that question is asked."""
        return self.user(self.about(number))


class Model:
    """The model that the daemon has, as its makers show it: tokens, one run, their mean."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime
        import tokenizers

        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # as the daemon's; the clients' threads run side by side
        self._session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self._inputs = {one.name for one in self._session.get_inputs()}

    def __call__(self, text: str) -> Any:
        """The vector of a text, of any length."""
        ids = np.array([self._tokenizer.encode(text).ids[:MODEL_TOKENS_MAX]], dtype=np.int64)
        known = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        return self._session.run(None, {name: known[name] for name in self._inputs})[0][0].mean(axis=0)


def vector_of(text: str) -> Any:
    """A vector of unit length: of the model, or, where none takes part, neither here nor in the daemon, of its words."""
    model = _model()
    if model is None:
        return of_words(text)
    vector = model(text)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@cache
def _model() -> Model | None:
    return Model(Path(sys.argv[4])) if len(sys.argv) > 4 else None


def main(opened: Callable[[str, Texts, str], Verbs]) -> None:
    """A peer's script. What it prints itself goes to stderr; its files go to a folder of their own."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ["HOME"] = tempfile.mkdtemp()
    _model()  # loaded before the clock runs
    verbs = opened(sys.argv[1], Texts(Path(sys.argv[2])), sys.argv[3])
    print(json.dumps(list(verbs)), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        seconds, milliseconds, found = threaded(verbs[order["do"]], order["first"], order["count"], order["clients"])
        print(json.dumps({"seconds": seconds, "milliseconds": milliseconds, "found": found}), file=answers, flush=True)


def threaded(call: Call, first: int, count: int, clients: int) -> tuple[float, list[float], dict[int, Any]]:
    """So many calls by threads that wait for their answers, and what they gave. Raises what a call has raised."""
    numbers, times, failed = iter(range(first, first + count)), list[float](), list[Exception]()
    found: dict[int, Any] = {}
    lock = threading.Lock()

    def client() -> None:
        while not failed:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            began = time.perf_counter()
            try:
                found[number] = call(number)
            except Exception as error:
                failed.append(error)
            times.append((time.perf_counter() - began) * 1000)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.perf_counter()
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if failed:
        raise failed[0]
    return time.perf_counter() - began, times, found
