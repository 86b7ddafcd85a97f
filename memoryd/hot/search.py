"""Search in Redis: by meaning and by words, in one pipeline, always inside a scope.

Callers' values reach a query only as parameters, so no id, name, tag or text can become query syntax.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from memoryd import keys as names
from memoryd.errors import Overloaded
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import to_hot_vector
from memoryd.limits import CANDIDATES_MAX, EXACT_MEMORIES_MAX, FORGET_PLAN_MAX, RECALL_LIMIT_MAX, SEARCH_TIMEOUT_SECONDS
from memoryd.model.episode import EpisodeFilter, Outcome
from memoryd.model.feedback import Feedback, from_text
from memoryd.model.memory import MemoryType, Tier
from memoryd.model.scope import Scope, to_tag

ID_CHARS = 36  # of a memory's id, which ends its key
RETRY_AFTER_SECONDS = 5
NAMED_MAX = 200  # ids that one query looks for: each is a term of its own


@dataclass(frozen=True)
class Filters:
    """What narrows a search beyond its scope; empty means all."""

    types: Sequence[MemoryType] = ()
    tags: Sequence[str] = ()
    episodes: EpisodeFilter | None = None
    """Only events that fit."""


@dataclass
class Row:
    """What ranking needs of a candidate: its field `brief`, which the atomic steps write. Times are microseconds since 1970."""

    memory_id: str
    kind: str
    terms: list[str]
    speaker: str
    session: tuple[str, str]
    """Agent and session, as tags; ('', '') for what belongs to no session."""
    follows: list[str]
    importance: float
    valid_from: int
    feedback: Feedback | None = None
    similarity: float | None = None
    """To the question's vector; None for what was not found by meaning."""


@dataclass
class Spread:
    """How the words of a question are spread over a scope. Nothing outside the scope is counted."""

    memories: int = 0
    with_term: dict[str, int] = field(default_factory=dict)


@dataclass
class Found:
    """What the searches by words found: the candidates, and which of them says exactly what was asked."""

    spread: Spread = field(default_factory=Spread)
    by_kind: dict[str, Spread] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    quoted: set[str] = field(default_factory=set)
    crowded: set[str] = field(default_factory=set)
    """The kinds in which more memories have one of the words than one search brings."""
    nothing_near: bool = False
    """Whether the search by meaning has found nothing, or was refused: the vectors are perhaps another model's by now."""
    cut: set[str] = field(default_factory=set)
    """By what (words, meaning) was searched for too long: those searches have not looked at everything."""


@dataclass(frozen=True)
class QueryVector:
    """A question's vector, and whose it is: among another model's vectors it finds nothing."""

    vector: bytes
    model: str


class Clause:
    """A query string under construction, with its parameters."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.params: dict[str, str | bytes | int] = {}

    def tag(self, name: str, values: Sequence[str]) -> None:
        """Requires one of the exact values."""
        marks = [self._param(to_tag(value)) for value in dict.fromkeys(values)]
        self.parts.append(f"@{name}:{{{'|'.join(marks)}}}")

    def between(self, name: str, least: int | None, most: int | None) -> None:
        """Requires a number from `least` to `most`."""
        ends = ["-inf" if least is None else self._param(least), "+inf" if most is None else self._param(most)]
        self.parts.append(f"@{name}:[{' '.join(ends)}]")

    def never(self, name: str, most: int) -> None:
        """Refuses a number up to `most`; what has none passes."""
        self.parts.append(f"-@{name}:[-inf {self._param(most)}]")

    def words(self, terms: Sequence[str]) -> None:
        """Requires at least one of the terms. They hold letters and digits only, and are parameters all the same."""
        self.parts.append(f"@terms:({'|'.join(self._param(term) for term in terms)})")

    def arguments(self) -> list[Any]:
        """The values and the time limit, as a query's last arguments but the dialect. See `whole`."""
        return _params(self)

    def _param(self, value: str | int) -> str:
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
    if filters.episodes is not None:
        _events(clause, filters.episodes)
    return clause


def _events(clause: Clause, wanted: EpisodeFilter) -> None:
    clause.tag("outcome", wanted.outcomes or list(Outcome))  # which every event has, and nothing else
    for name, values in (
        ("event_type", wanted.event_types), ("error_kind", wanted.error_kinds), ("source_tool", wanted.tools)
    ):  # fmt: skip
        if values:
            clause.tag(name, values)
    if wanted.since is not None or wanted.until is not None:
        clause.between("valid_from", wanted.since, wanted.until)


class Search:
    """Queries over the indexes of one Redis. `ef_runtime` None means that the index is exact (FLAT)."""

    def __init__(self, redis: Redis, *, ef_runtime: int | None, datatype: str = "float32") -> None:
        self._redis = redis
        self._datatype = datatype
        self._ef_runtime = ef_runtime

    async def by_words(
        self, scope: Scope, filters: Filters, *, terms: Sequence[str], content_hash: str
    ) -> Found:
        """The memories with one of the terms, how the terms are spread in the scope, and what is exactly the question.

        One round trip. Of more memories than one search brings the newest come: no score of RediSearch takes part,
        because its statistics are of the whole index, and so of other people's memories. `by_meaning` narrows them then.
        """
        kinds, found = _kinds(filters), Found()
        async with self._pipeline() as pipe:
            for index in map(names.index, kinds):
                pipe.execute_command(*_counted(index, scope_clause(scope, filters)))
                pipe.execute_command(*_quoting(index, scope_clause(scope, filters), content_hash))
                for term in terms:
                    pipe.execute_command(*_counted(index, scope_clause(scope, filters), [term]))
                if terms:
                    pipe.execute_command(*_with_terms(index, scope_clause(scope, filters), terms))
            with hot_errors("recall"):
                every = await pipe.execute()
        if any(map(_was_cut, every)):
            found.cut.add("words")
        answers = iter(every)
        for kind in kinds:
            spread = found.by_kind[kind] = Spread(int(next(answers)[b"total_results"]))
            found.quoted |= _take(found.rows, kind, next(answers))
            spread.with_term = {term: int(next(answers)[b"total_results"]) for term in terms}
            found.spread.memories += spread.memories
            for term, count in spread.with_term.items():
                found.spread.with_term[term] = found.spread.with_term.get(term, 0) + count
            if terms:
                answer = next(answers)
                _take(found.rows, kind, answer)
                if int(answer[b"total_results"]) > CANDIDATES_MAX:
                    found.crowded.add(kind)
        return found

    async def by_meaning(
        self, scope: Scope, filters: Filters, found: Found, *, vector: QueryVector | None
    ) -> dict[str, Row]:
        """The candidates: `found`, narrowed where it was crowded, and the nearest to the vector. One round trip."""
        kinds = [kind for kind in _kinds(filters) if found.by_kind[kind].memories]
        crowded = [kind for kind in kinds if kind in found.crowded]
        rows = {key: row for key, row in found.rows.items() if row.kind not in found.crowded or key in found.quoted}
        async with self._pipeline() as pipe:
            for kind in crowded:
                telling = rarest(found.by_kind[kind].with_term)
                pipe.execute_command(*_with_terms(names.index(kind), scope_clause(scope, filters), telling))
            for kind in kinds if vector is not None else ():
                assert vector is not None
                exact = found.by_kind[kind].memories <= EXACT_MEMORIES_MAX
                pipe.execute_command(
                    *self._nearest(names.index(kind), scope_clause(scope, filters), vector, exact=exact)
                )
            with hot_errors("recall"):
                answers = await pipe.execute(raise_on_error=False)
                if broken := next((one for one in answers if isinstance(one, Exception) and not _of_another_model(one)), None):
                    raise broken
        for number, kind in enumerate((*crowded, *(kinds if vector is not None else ()))):
            if isinstance(answers[number], Exception):
                continue
            _take(rows, kind, answers[number])
            if _was_cut(answers[number]):
                found.cut.add("words" if number < len(crowded) else "meaning")
        found.nothing_near = bool(vector and kinds) and not any(one.similarity is not None for one in rows.values())
        return rows

    def _pipeline(self) -> Any:
        return self._redis.pipeline(transaction=False)

    def _nearest(self, index: str, clause: Clause, vector: QueryVector, *, exact: bool) -> list[Any]:
        clause.params |= {"k": CANDIDATES_MAX, "model": vector.model, "vector": to_hot_vector(vector.vector, self._datatype)}
        how = ""
        if exact:
            # Vector by vector through the scope: exact, and what others store has no part in it, as it has in a graph.
            how = " HYBRID_POLICY ADHOC_BF"
        elif self._ef_runtime is not None:
            clause.params["ef"] = max(self._ef_runtime, CANDIDATES_MAX)
            how = " EF_RUNTIME $ef"
        # The model is a condition: a query cannot meet another model's vectors, whatever the index holds by now.
        query = f"({clause} @embedding_model:{{$model}})=>[KNN $k @embedding $vector{how} AS distance]"
        return ["FT.SEARCH", index, query, *_params(clause), *_return("distance", "brief"),
                "SORTBY", "distance", "LIMIT", 0, CANDIDATES_MAX, "DIALECT", 2]  # fmt: skip

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
                    found |= {row[b"id"].decode().rpartition(":")[2] for row in whole(answer, "search")[b"results"]}
        return found

    async def newest_events(self, scope: Scope, wanted: EpisodeFilter, count: int) -> list[str]:
        """The ids of the scope's newest events that fit and live here."""
        clause = scope_clause(scope, Filters(episodes=wanted))
        query = ["FT.SEARCH", names.index("episodic"), str(clause), *_params(clause), "NOCONTENT",
                 "SORTBY", "valid_from", "DESC", "LIMIT", 0, count, "DIALECT", 2]  # fmt: skip
        with hot_errors("search episodes"):
            answer: Any = await self._redis.execute_command(*query)  # type: ignore[no-untyped-call]
        return [row[b"id"].decode().rpartition(":")[2] for row in whole(answer, "search episodes")[b"results"]]

    async def saying(self, scope: Scope, content_hash: str, count: int) -> list[str]:
        """The ids of the scope's memories with this content, as far as indexed; a few."""
        found: list[str] = []
        with hot_errors("search"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for kind in names.KINDS:
                    clause = scope_clause(scope)
                    clause.tag("content_hash", [content_hash])
                    pipe.execute_command(*_all_of(names.index(kind), clause, count))
                for answer in await pipe.execute():
                    found += [row[b"id"][-ID_CHARS:].decode() for row in whole(answer, "search")[b"results"]]
        return found[:count]

    async def in_tier(self, tier: Tier, count: int) -> list[str]:
        """The keys of some records of a tier, whoever's: for the daemon's own work, never for a caller."""
        found: list[str] = []
        with hot_errors("look at a tier"):
            for kind in names.KINDS:
                clause = Clause()
                clause.tag("tier", [tier])
                answer: Any = await self._redis.execute_command(  # type: ignore[no-untyped-call]
                    "FT.SEARCH", names.index(kind), str(clause), *_params(clause), "NOCONTENT", "LIMIT", 0, count,
                    "DIALECT", 2,
                )  # fmt: skip
                found += [row[b"id"].decode() for row in answer[b"results"]]
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
            for row in whole(grouped, "stats")[b"results"]:
                values = row[b"extra_attributes"]
                counts.add(values[b"memory_type"].decode(), values[b"tier"].decode(), int(values[b"n"]))
            counts.pending += int(whole(waiting_answer, "stats")[b"total_results"])
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


def _counted(index: str, clause: Clause, terms: Sequence[str] = ()) -> list[Any]:
    if terms:
        clause.words(terms)
    return ["FT.SEARCH", index, str(clause), *_params(clause), "LIMIT", 0, 0, "DIALECT", 2]


def _quoting(index: str, clause: Clause, content_hash: str) -> list[Any]:
    clause.tag("content_hash", [content_hash])
    return ["FT.SEARCH", index, str(clause), *_params(clause), *_return("brief"),
            "SORTBY", "created_at", "DESC", "LIMIT", 0, RECALL_LIMIT_MAX, "DIALECT", 2]  # fmt: skip


def _with_terms(index: str, clause: Clause, terms: Sequence[str]) -> list[Any]:
    clause.words(terms)
    return ["FT.SEARCH", index, str(clause), *_params(clause), *_return("brief"),
            "SORTBY", "created_at", "DESC", "LIMIT", 0, CANDIDATES_MAX, "DIALECT", 2]  # fmt: skip


def _return(*fields: str) -> list[Any]:
    return ["RETURN", len(fields), *fields]


def _kinds(filters: Filters) -> list[str]:
    return [kind for kind in names.KINDS if not filters.types or kind in {names.kind_of(one) for one in filters.types}]


def rarest(with_term: Mapping[str, int]) -> list[str]:
    """The rarest terms of a question, as many as bring no more memories than one search: the common ones say least."""
    chosen: list[str] = []
    room = CANDIDATES_MAX
    for count, term in sorted((count, term) for term, count in with_term.items() if count):
        if chosen and count > room:
            break
        chosen.append(term)
        room -= count
    return chosen


def _take(rows: dict[str, Row], kind: str, answer: Any) -> set[str]:
    """Adds what a search has found to the rows, or its similarity to a row that is there; returns the ids."""
    ids = set()
    for found in answer[b"results"]:
        memory_id = found[b"id"][-ID_CHARS:].decode()
        fields = found[b"extra_attributes"]
        if memory_id not in rows:
            if b"brief" not in fields:
                continue  # gone between the search and the reading of its fields
            rows[memory_id] = _row(memory_id, kind, fields[b"brief"].decode())
        if b"distance" in fields:
            rows[memory_id].similarity = 1.0 - float(fields[b"distance"])
        ids.add(memory_id)
    return ids


def _row(memory_id: str, kind: str, brief: str) -> Row:
    # An earlier memoryd has written no line for feedback.
    speaker, agent, session, follows, importance, valid_from, *feedback, terms = brief.split("\n")
    return Row(
        memory_id, kind, terms.split(), speaker, (agent, session) if session else ("", ""),
        follows.split(",") if follows else [], float(importance), int(valid_from), from_text("".join(feedback)),
    )  # fmt: skip


def _all_of(index: str, clause: Clause, count: int = FORGET_PLAN_MAX + 1) -> list[Any]:
    return ["FT.SEARCH", index, str(clause), *_params(clause), "NOCONTENT", "LIMIT", 0, count, "DIALECT", 2]


def _params(clause: Clause) -> list[Any]:
    flat = [part for pair in clause.params.items() for part in pair]
    return ["TIMEOUT", int(SEARCH_TIMEOUT_SECONDS * 1000), "PARAMS", len(flat), *flat]


def _of_another_model(error: Exception) -> bool:
    # Of other dimensions, that is; among as many the query's own condition finds nothing.
    return isinstance(error, ResponseError) and "does not match index's expected size" in str(error)


def whole(answer: Any, doing: str) -> Any:
    """A search's answer, if it has looked at everything. Raises Overloaded when Redis has cut it short."""
    if _was_cut(answer):
        raise Overloaded(f"{doing}: Redis was too busy to look at everything", retry_after_seconds=RETRY_AFTER_SECONDS)
    return answer


def _was_cut(answer: Any) -> bool:
    # By default Redis gives what it has found until then, with a warning that is easily overlooked.
    return bool(answer[b"warning"])
