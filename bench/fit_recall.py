"""Learns the weights of the profile `conversation`, and measures what each signal is worth.

    python -m bench.fit_recall PATH/locomo_dev.json [--words-only] [--json FILE]

Real servers, daemon and sync hold the conversations; the candidates and signals of every question are those that the
daemon itself computes. The weights maximise the likelihood of the evidence under a softmax over the candidates (a
listwise loss, as ListNet: Cao et al., ICML 2007) with a little L2, by gradient descent. Each conversation is then scored
with the weights that the others gave (leave one conversation out); what is printed as the weights to keep is the mean.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import harness
from bench.evidence import (
    LOCOMO_DEV_SHA256,
    TENANT,
    Answer,
    Asked,
    data_options,
    embedder_of,
    load,
    means,
    present,
    score,
    served,
    table,
)
from memoryd.clock import SystemClock
from memoryd.config import load_settings
from memoryd.embed import open_embedder
from memoryd.embed.protocol import Embedder
from memoryd.hot.clauses import Filters
from memoryd.hot.client import open_redis
from memoryd.hot.search import QueryVector, Search
from memoryd.model.ids import hash_content
from memoryd.model.scope import Scope
from memoryd.model.terms import query_terms
from memoryd.recall.pool import Pool
from memoryd.recall.profiles import CONVERSATION
from memoryd.recall.rank import scaled, signals
from memoryd.recall.speech import first_person, named
from memoryd.recall.when import periods

L2 = 1e-3
STEPS, RATE = 400, 0.05  # of Adam: the loss is convex and has a handful of parameters

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A question with its candidates: a line each, a column a signal."""

    asked: Asked
    ids: Sequence[str]
    turns: Sequence[str]
    sessions: Sequence[str]
    values: Table

    @property
    def evidence(self) -> list[int]:
        return [at for at, turn in enumerate(self.turns) if turn in self.asked.evidence]


@dataclass(frozen=True)
class Found:
    """What the daemon's own steps find for a question. `turns`: which turn each memory is."""

    asked: Asked
    pool: Pool
    vector: Table | None
    who: set[str]
    turns: dict[str, str]

    def case(self, names: Sequence[str]) -> Case:
        """Its signals of these names."""
        named_times = periods(self.asked.text, SystemClock().now())
        raw = signals(self.pool, CONVERSATION, who=self.who, now=0, times=named_times)
        silent = np.zeros(len(self.pool))  # a signal of which nobody has said anything: no time is named, nothing was judged
        values = scaled(names, np.array([raw.get(name, silent) for name in names]), CONVERSATION).T
        turns, sessions = [self.turns[one] for one in self.pool.ids], [row.session[1] for row in self.pool.rows]
        return Case(self.asked, self.pool.ids, turns, sessions, values)


async def found(url: str, asked: Sequence[Asked], *, meaning: bool) -> list[Found]:
    """What the daemon's own steps find for every question."""
    settings = load_settings(redis_url=url)
    embedder = await open_embedder(settings) if meaning else None
    async with open_redis(url) as redis:
        search = Search(redis, ef_runtime=settings.vector_ef_runtime)
        turns = {
            key.decode().rpartition(":")[2]: json.loads(await redis.hget(key, "metadata") or b"{}").get("dia_id", "")
            async for key in redis.scan_iter("aether:memory:*", count=1000, _type="hash")
        }
        all_found = [await _found(search, embedder, one, turns) for one in asked]
    if embedder:
        await embedder.close()
    return all_found


async def _found(search: Search, embedder: Embedder | None, asked: Asked, turns: dict[str, str]) -> Found:
    scope, terms = Scope(TENANT, asked.project), query_terms(asked.text)
    by_words = await search.by_words(scope, Filters(), terms=terms, content_hash=hash_content(asked.text))
    who = named(asked.text, {row.speaker for row in by_words.rows.values()})
    row, vector = None, None
    if embedder is not None:
        [row] = await embedder.embed([first_person(asked.text, who)])
        vector = QueryVector(row.astype("<f4").tobytes(), embedder.model)
    candidates = await search.by_meaning(scope, Filters(), by_words, terms=terms, vector=vector)
    pool = Pool(candidates, terms, sum(by_words.memories.values()), by_words.with_term)
    return Found(asked, pool, row, who, turns)


def fit(learned: Sequence[Case], columns: Sequence[int]) -> Table:
    """The weights under which the evidence is likeliest."""
    known = [(case.values[:, columns], case.evidence) for case in learned if case.evidence]
    weights = np.full(len(columns), 0.3)
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, STEPS + 1):
        slope = 2 * L2 * weights
        for values, evidence in known:
            likely = np.exp((scores := values @ weights) - scores.max())
            slope += ((likely / likely.sum()) @ values - values[evidence].mean(axis=0)) / len(known)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        weights = weights - RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return weights


def answer(case: Case, columns: Sequence[int], weights: Table) -> Answer:
    order = np.argsort(-(case.values[:, columns] @ weights).round(6), kind="stable")
    return Answer([case.turns[at] for at in order], [case.sessions[at] for at in order])


def leave_one_out(cases: Sequence[Case], columns: Sequence[int]) -> tuple[dict[str, float], Table]:
    lines, learned = [], []
    for project in sorted({case.asked.project for case in cases}):
        weights = fit([case for case in cases if case.asked.project != project], columns)
        learned.append(weights)
        lines += [score(case.asked, answer(case, columns, weights)) for case in cases if case.asked.project == project]
    return means(lines), np.mean(learned, axis=0)


async def run(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if not present(arguments.data, LOCOMO_DEV_SHA256):
        return None
    asked = load(arguments.data)
    names = [name for name in CONVERSATION.weights if not (arguments.words_only and name == "meaning")]
    async with served(arguments.data, embedder=embedder_of(arguments)) as servers:
        questions = await found(servers.redis_url, asked, meaning=not arguments.words_only)
    cases = [one.case(names) for one in questions]
    everything = list(range(len(names)))
    rows, weights = {}, {}
    sets = {"all": everything, **{f"without {name}": [c for c in everything if c != at] for at, name in enumerate(names)}}
    for what, columns in sets.items():
        rows[what], learned = leave_one_out(cases, columns)
        weights[what] = {names[c]: round(float(w), 2) for c, w in zip(columns, learned, strict=True)}
        print(what, rows[what], weights[what], flush=True)
    kept = np.array([CONVERSATION.weights[name] for name in names])
    rows["the weights in the code"] = means(score(case.asked, answer(case, everything, kept)) for case in cases)
    print(table(rows))
    print("candidates a question:", round(float(np.mean([len(case.ids) for case in cases]))))
    return {"rows": rows, "weights": weights}


def options() -> argparse.ArgumentParser:
    return data_options(__doc__)


if __name__ == "__main__":
    harness.main(options(), run)
