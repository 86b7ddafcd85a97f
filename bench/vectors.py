"""What a memory's vector is best made of: with more around a turn, sentence by sentence, of a long memory's beginning or all of it.

    python -m bench.vectors PATH/locomo_dev.json [--json FILE]

The candidates of every question and their other signals are the daemon's own; only the similarity is that of vectors which this
process makes in another way, with the same model. The weights are learned anew for each way, and each conversation is scored with
those of the others (bench.fit_recall). What stands for long memories are LoCoMo's sessions, each stored as one memory: 128, of 300
to 1,500 tokens, where the model reads 256 at once.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from bench import harness
from bench.evidence import LOCOMO_DEV_SHA256, TENANT, Asked, data_options, embedded, load, present, served, table
from bench.fit_recall import Case, Found, Table, found, leave_one_out
from memoryd import connect
from memoryd.config import load_settings
from memoryd.embed.late import Tokens
from memoryd.embed.onnx import OnnxModel
from memoryd.embed.open import load_onnx
from memoryd.embed.prepare import prepare
from memoryd.embed.protocol import InContext
from memoryd.embed.runs import done, reading
from memoryd.exchange import BadItem, Item, read
from memoryd.model.speech import own_words, said, speaker_of
from memoryd.recall.profiles import CONVERSATION

Key = tuple[str, str]
Vectors = Mapping[Key, Table]
"""Of each memory, by project and turn, the vectors of which the nearest to the question counts, a row each."""
SENTENCE_CHARS_MIN = 25  # what is shorter goes with the sentence after it
PASSAGE_TOKENS = 48


class Maker:
    """Makes vectors of tokens."""

    def __init__(self) -> None:
        settings = load_settings()
        self.model: OnnxModel = load_onnx(prepare(settings, say=print).path, threads=settings.embed_threads)
        self.tokeniser = self.model._tokeniser

    def vectors(self, windows: Sequence[Sequence[Tokens]]) -> Table:
        """One for each text, which is read in these windows."""
        return np.asarray(done(reading(windows, self.model._run)), dtype=float)

    def passages(self, text: str) -> list[Tokens]:
        """Parts of a text, each read in the window in which the daemon reads it."""
        windows = [one for one in self.tokeniser.windows(text) if one.end > one.start]
        return [
            Tokens(one.ids, start, min(start + PASSAGE_TOKENS, one.end))
            for one in windows
            for start in range(one.start, one.end, PASSAGE_TOKENS)
        ]


def key_of(item: Item) -> Key:
    return item.get("project", ""), item["metadata"]["dia_id"]


def of_turns(maker: Maker, items: Sequence[Item]) -> dict[str, Vectors]:
    """The vectors of turns, made in several ways. `sentences`: each for itself."""
    ways = {
        "alone": (0, 0), "two before": (2, 0), "two before, one after": (2, 1), "two before, two after": (2, 2)
    }  # fmt: skip
    sessions = [list(group) for _, group in groupby(items, key=lambda one: (one.get("project"), one.get("session")))]
    keys = [key_of(one) for session in sessions for one in session]
    made: dict[str, Vectors] = {}
    for name, (before, after) in ways.items():
        some = [_around(session, at, before, after) for session in sessions for at in range(len(session))]
        rows = maker.vectors([maker.tokeniser.windows(one) for one in some])
        made[name] = {key: row[None] for key, row in zip(keys, rows, strict=True)}
    texts = {key_of(one): own_words(one["content"], speaker_of(one["metadata"])) for one in items}
    parts = {key: [maker.tokeniser.windows(one) for one in sentences(text)] for key, text in texts.items()}
    return made | {"sentences": _of_parts(maker, parts)}


def of_long(maker: Maker, texts: Mapping[Key, str]) -> dict[str, Vectors]:
    """The vectors of long memories, made in several ways."""
    windows = {key: maker.tokeniser.windows(text) for key, text in texts.items()}
    ways = {
        "the first window": {key: [some[:1]] for key, some in windows.items()},
        "all of it": {key: [some] for key, some in windows.items()},
        f"passages of {PASSAGE_TOKENS} tokens": {key: [[one] for one in maker.passages(text)] for key, text in texts.items()},
    }
    return {name: _of_parts(maker, parts) for name, parts in ways.items()}


def _around(session: Sequence[Item], at: int, before: int, after: int) -> InContext:
    def turns(some: Sequence[Item]) -> list[str]:
        return [said(one["content"], speaker_of(one["metadata"])) for one in some]

    speaker = speaker_of(session[at]["metadata"])
    own = own_words(session[at]["content"], speaker)
    until_here = [*turns(session[max(0, at - before) : at]), *([f"{speaker}:"] if speaker and before else [])]
    return InContext(" ".join(until_here), own, " ".join(turns(session[at + 1 : at + 1 + after])))


def _of_parts(maker: Maker, parts: Mapping[Key, Sequence[Sequence[Tokens]]]) -> Vectors:
    rows = maker.vectors([one for some in parts.values() for one in some])
    ends = np.cumsum([len(some) for some in parts.values()])
    return dict(zip(parts, np.split(rows, ends[:-1]), strict=True))


def sentences(text: str) -> list[str]:
    """The sentences of a text, short ones together with the next."""
    parts = [""]
    for one in re.split(r"(?<=[.!?])\s+", text.strip()):
        parts[-1:] = [f"{parts[-1]} {one}".strip()] if len(parts[-1]) < SENTENCE_CHARS_MIN else [parts[-1], one]
    return [one for one in parts if one]


def nearest(one: Found, vectors: Vectors) -> Found:
    """The same with the similarity of other vectors."""
    assert one.vector is not None
    near = {key: float((vectors[one.asked.project, one.turns[key]] @ one.vector).max()) for key in one.pool.ids}
    pool = copy(one.pool)
    pool.similarity = near
    return replace(one, pool=pool)


def compared(
    questions: Sequence[Found], made: Mapping[str, Vectors], names: Sequence[str], beside: Mapping[str, str]
) -> dict[str, Any]:
    """The scores of each way, and of those that are a second signal `beside` another."""
    cases = {way: [nearest(one, vectors).case(names) for one in questions] for way, vectors in made.items()}
    for second, first in beside.items():
        extra = [nearest(one, made[second]).case(["meaning"]) for one in questions]
        both = zip(cases[first], extra, strict=True)
        cases[f"{first}; {second} beside it"] = [_joined(one, other) for one, other in both]
    return {way: leave_one_out(some, list(range(some[0].values.shape[1])))[0] for way, some in cases.items()}


def _joined(one: Case, other: Case) -> Case:
    return replace(one, values=np.concatenate([one.values, other.values], axis=1))


async def stored(url: str, texts: Mapping[Key, str]) -> None:
    """Each of these as one memory, with its vector."""
    for project in sorted({project for project, _ in texts}):
        async with connect(url, tenant=TENANT, project=project) as memory:
            for name, text in ((name, text) for (where, name), text in texts.items() if where == project):
                await memory.store(text, metadata={"dia_id": name})
        await embedded(url, project)


async def run(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if not present(arguments.data, LOCOMO_DEV_SHA256):
        return None
    maker, asked = Maker(), load(arguments.data)
    items = [one for one in read(arguments.data) if not isinstance(one, BadItem)]
    texts = {key: "\n".join(one["content"] for one in some) for key, some in groupby(items, key=_session_of)}
    async with served(arguments.data) as servers:
        questions = await found(servers.redis_url, asked, meaning=True)
        await stored(servers.redis_url, texts)
        of_sessions = await found(servers.redis_url, [_of_sessions(one) for one in asked], meaning=True)
    turns = compared(questions, of_turns(maker, items), list(CONVERSATION.weights), {"sentences": "two before"})
    print("A turn's vector\n" + table(turns), flush=True)
    made = of_long(maker, texts)
    beside = {f"passages of {PASSAGE_TOKENS} tokens": "all of it"}
    long: dict[str, dict[str, float]] = {}
    for with_what, names in {"and words": ["words", "meaning"], "without words": ["meaning"]}.items():
        long |= {f"{way}, {with_what}": row for way, row in compared(of_sessions, made, names, beside).items()}
    for row in long.values():
        del row["session R@10"]  # each is a session
    print("A long memory's vector\n" + table(long))
    tokens = [sum(one.end - one.start for one in maker.tokeniser.windows(text)) for text in texts.values()]
    return {"turns": turns, "long memories": long, "tokens of a long memory": [min(tokens), max(tokens)]}


def _session_of(item: Item) -> Key:
    project, turn = key_of(item)
    return f"{project}-long", turn.partition(":")[0]


def _of_sessions(asked: Asked) -> Asked:
    sessions = frozenset(one.partition(":")[0] for one in asked.evidence)
    return replace(asked, project=f"{asked.project}-long", evidence=sessions)


def options() -> argparse.ArgumentParser:
    return data_options(__doc__)


if __name__ == "__main__":
    harness.main(options(), run)
