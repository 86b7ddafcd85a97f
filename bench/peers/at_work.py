"""A peer that works when it is told to: needs nothing but numpy, so that every peer's Python can read it.

Its script is started with Redis's address and a file of sentences. It reads one order a line from stdin, e.g.
`{"do": "store", "first": 0, "count": 100, "clients": 16}`, and answers each with a line of JSON: the seconds that all took, and the
milliseconds of each.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DIMS = 384
LIMIT = 10
BATCH = 100
Call = Callable[[int], Any]
"""Stores the text of this number, or of a batch that begins there, or asks the question of this number."""
Verbs = dict[str, Call]


class Texts:
    """What is stored and asked: the same for every peer, and each new."""

    def __init__(self, file: Path) -> None:
        self._lines: list[str] = json.loads(file.read_text())

    def __getitem__(self, number: int) -> str:
        return f"{self._lines[number % len(self._lines)]} ({number})"

    def asked(self, number: int) -> str:
        """A question: a few words of a text that is there."""
        return " ".join(self._lines[number % len(self._lines)].split()[:6]) or "who"


def vector_of(text: str) -> Any:
    """A vector of unit length that costs next to nothing: no model takes part, neither here nor in the daemon."""
    vector = np.random.default_rng(zlib.crc32(text.encode())).normal(size=DIMS).astype(np.float32)
    return vector / np.linalg.norm(vector)


def main(opened: Callable[[str, Texts], Verbs]) -> None:
    """A peer's script. What it prints itself goes to stderr; its files go to a folder of their own."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ["HOME"] = tempfile.mkdtemp()
    verbs = opened(sys.argv[1], Texts(Path(sys.argv[2])))
    print(json.dumps(list(verbs)), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        seconds, milliseconds = threaded(verbs[order["do"]], order["first"], order["count"], order["clients"])
        print(json.dumps({"seconds": seconds, "milliseconds": milliseconds}), file=answers, flush=True)


def threaded(call: Call, first: int, count: int, clients: int) -> tuple[float, list[float]]:
    """So many calls by threads that wait for their answers. Raises what a call has raised."""
    numbers, times, failed = iter(range(first, first + count)), list[float](), list[Exception]()
    lock = threading.Lock()

    def client() -> None:
        while not failed:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            began = time.perf_counter()
            try:
                call(number)
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
    return time.perf_counter() - began, times
