"""Search in Redis: by meaning and by words, in one pipeline, always inside a scope.

Callers' values reach a query only as parameters, so no id, name, tag or text can become query syntax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import to_hot_vector
from memoryd.limits import FORGET_PLAN_MAX, QUERY_WORDS_MAX
from memoryd.model.memory import MemoryType
from memoryd.model.scope import Scope, to_tag
from memoryd.model.words import spelled


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


# RediSearch's own stop words: they are not in the index, so asking for them finds nothing.
_STOP_WORDS = _set_of(
    "a is the an and are as at be but by for if in into it no not of on or such that their then there these they "
    "this to was will with"
)
# Words of a question that say nothing about its answer.
_QUESTION_WORDS = _set_of(
    "what when where who whom whose which why how did do does has have had i you he she we me my your his her its our "
    "am were been being from about can could would should"
)


# Not BM25STD: an updated hash is counted once more in each of its terms until the index is cleaned, and for a term that
# is then counted more often than there are memories, BM25STD's rarity underflows: an IDF of 37, where a telling word has
# 5. Measured on LoCoMo's first conversation: the answer is among the first ten by words for 89 questions of 150, with
# BM25STD for 11.
SCORER = "BM25"
NAMED_MAX = 200  # ids that one query looks for: each is a term of its own


@dataclass(frozen=True)
class Filters:
    """What narrows a search beyond its scope; empty means all."""

    types: Sequence[MemoryType] = ()
    tags: Sequence[str] = ()


@dataclass
class Found:
    """A candidate: its key, and the raw score of each search that found it."""

    similarity: float | None = None
    words: float | None = None


@dataclass
class Candidates:
    """What the searches of one recall found, by memory id."""

    found: dict[str, Found] = field(default_factory=dict)

    def of(self, key: bytes) -> Found:
        """The candidate behind a record's key."""
        return self.found.setdefault(key.decode().rpartition(":")[2], Found())


def query_words(text: str) -> list[str]:
    """The words of a query that can find something: no stop words, each once, at most QUERY_WORDS_MAX."""
    words = dict.fromkeys(word for word in spelled(text.lower()).split() if word not in _STOP_WORDS)
    telling = [word for word in words if word not in _QUESTION_WORDS]
    return (telling or list(words))[:QUERY_WORDS_MAX]


def _spellings(word: str) -> list[str]:
    """A word as the index may hold it: Redis before 8 folds the case of ASCII letters only."""
    return [word] if word.isascii() else list(dict.fromkeys([word, word.capitalize(), word.upper()]))


class Clause:
    """A query string under construction, with its parameters."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.params: dict[str, str | bytes | int] = {}

    def tag(self, name: str, values: Sequence[str]) -> None:
        """Requires one of the exact values."""
        marks = [self._param(to_tag(value)) for value in dict.fromkeys(values)]
        self.parts.append(f"@{name}:{{{'|'.join(marks)}}}")

    def words(self, words: Sequence[str]) -> None:
        """Requires at least one of the words in the content; the score is then theirs alone.

        RediSearch scores tags like words. In a group of weight 0 they only filter. The words come first: the parser
        would take what follows such a group into it.
        """
        filters = str(self)
        spelled = [self._param(spelling) for word in words for spelling in _spellings(word)]
        content = f"@content:({'|'.join(spelled)})"
        self.parts = [content, f"(({filters}) => {{$weight: 0;}})"]

    def arguments(self) -> list[Any]:
        """The values, as a query's last arguments but the dialect."""
        return _params(self)

    def _param(self, value: str) -> str:
        name = f"p{len(self.params)}"
        self.params[name] = value
        return f"${name}"

    def __str__(self) -> str:
        return " ".join(self.parts)


def scope_clause(scope: Scope, filters: Filters = Filters()) -> Clause:  # frozen
    """The exact tags that keep a query inside its scope."""
    clause = Clause()
    clause.tag("tenant", [scope.tenant])
    clause.tag("project", [scope.project])
    if scope.agent:
        clause.tag("agent_id", [scope.agent])
    if scope.session:
        clause.tag("session_id", [scope.session])
    if filters.types:
        clause.tag("memory_type", [str(kind) for kind in filters.types])
    if filters.tags:
        clause.tag("tags", filters.tags)
    return clause


class Search:
    """Queries over the indexes of one Redis. `ef_runtime` None means that the index is exact (FLAT)."""

    def __init__(self, redis: Redis, *, ef_runtime: int | None, datatype: str = "float32") -> None:
        self._redis = redis
        self._datatype = datatype
        self._ef_runtime = ef_runtime

    async def candidates(
        self, scope: Scope, filters: Filters, *, words: Sequence[str], vector: bytes | None, count: int
    ) -> Candidates:
        """The `count` best by meaning and the `count` best by words of each kind, in one round trip."""
        kinds = [kind for kind in names.KINDS if not filters.types or kind in {names.kind_of(t) for t in filters.types}]
        candidates = Candidates()
        with hot_errors("recall"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for kind in kinds:
                    if vector is not None:
                        pipe.execute_command(
                            *self._by_meaning(names.index(kind), scope_clause(scope, filters), vector, count)
                        )
                    if words:
                        pipe.execute_command(*_by_words(names.index(kind), scope_clause(scope, filters), words, count))
                answers = iter(await pipe.execute())
        for _ in kinds:
            if vector is not None:
                for row in next(answers)[b"results"]:
                    distance = float(row[b"extra_attributes"][b"distance"])
                    candidates.of(row[b"id"]).similarity = 1.0 - distance
            if words:
                for row in next(answers)[b"results"]:
                    candidates.of(row[b"id"]).words = float(row[b"score"])
        return candidates

    def _by_meaning(self, index: str, clause: Clause, vector: bytes, count: int) -> list[Any]:
        clause.params |= {"k": count, "vector": to_hot_vector(vector, self._datatype)}
        width = ""
        if self._ef_runtime is not None:
            clause.params["ef"] = max(self._ef_runtime, count)
            width = " EF_RUNTIME $ef"
        query = f"({clause})=>[KNN $k @embedding $vector{width} AS distance]"
        return ["FT.SEARCH", index, query, *_params(clause), "RETURN", 1, "distance", "SORTBY", "distance",
                "LIMIT", 0, count, "DIALECT", 2]  # fmt: skip

    async def naming(self, scope: Scope, field: str, memory_ids: Sequence[str]) -> set[str]:
        """The ids of the scope's memories whose `derived_from` or `related` names one of these, as far as indexed."""
        found: set[str] = set()
        with hot_errors("search"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for start in range(0, len(memory_ids), NAMED_MAX):
                    for kind in names.KINDS:
                        clause = scope_clause(scope)
                        clause.tag(field, memory_ids[start : start + NAMED_MAX])
                        pipe.execute_command(*_all_of(names.index(kind), clause))
                for answer in await pipe.execute():
                    found |= {row[b"id"].decode().rpartition(":")[2] for row in answer[b"results"]}
        return found

    async def count(self, scope: Scope) -> Counts:
        """How many memories of each type the scope holds here, and how many wait for their vector."""
        counts = Counts()
        with hot_errors("stats"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for kind in names.KINDS:
                    pipe.execute_command(*_by_type_and_tier(names.index(kind), scope_clause(scope)))
                    pipe.execute_command(*_waiting(names.index(kind), scope_clause(scope)))
                answers = await pipe.execute()
        for grouped, waiting_answer in zip(answers[::2], answers[1::2], strict=True):
            for row in grouped[b"results"]:
                values = row[b"extra_attributes"]
                counts.add(values[b"memory_type"].decode(), values[b"tier"].decode(), int(values[b"n"]))
            counts.pending += int(waiting_answer[b"total_results"])
        return counts


@dataclass
class Counts:
    """Memories of a scope in Redis."""

    by_type: dict[str, int] = field(default_factory=dict)
    by_tier: dict[str, int] = field(default_factory=dict)
    pending: int = 0

    def add(self, memory_type: str, tier: str, count: int) -> None:
        """Counts `count` more."""
        self.by_type[memory_type] = self.by_type.get(memory_type, 0) + count
        self.by_tier[tier] = self.by_tier.get(tier, 0) + count


def _by_type_and_tier(index: str, clause: Clause) -> list[Any]:
    return ["FT.AGGREGATE", index, str(clause), *_params(clause), "GROUPBY", 2, "@memory_type", "@tier",
            "REDUCE", "COUNT", 0, "AS", "n", "DIALECT", 2]  # fmt: skip


def _waiting(index: str, clause: Clause) -> list[Any]:
    clause.tag("pending", ["1"])
    return ["FT.SEARCH", index, str(clause), *_params(clause), "LIMIT", 0, 0, "DIALECT", 2]


def _by_words(index: str, clause: Clause, words: Sequence[str], count: int) -> list[Any]:
    clause.words(words)
    return ["FT.SEARCH", index, str(clause), *_params(clause), "NOCONTENT", "WITHSCORES", "SCORER", SCORER,
            "LIMIT", 0, count, "DIALECT", 2]  # fmt: skip


def _all_of(index: str, clause: Clause) -> list[Any]:
    return ["FT.SEARCH", index, str(clause), *_params(clause), "NOCONTENT", "LIMIT", 0, FORGET_PLAN_MAX + 1, "DIALECT", 2]


def _params(clause: Clause) -> list[Any]:
    flat = [part for pair in clause.params.items() for part in pair]
    return ["PARAMS", len(flat), *flat]
