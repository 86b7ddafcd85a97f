"""Search in Redis: by words and by meaning, always inside a scope."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from memoryd import keys as names
from memoryd.errors import Overloaded
from memoryd.hot.briefs import Brief
from memoryd.hot.clauses import Clause, Filters, copied, scope_clause
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import HALF, to_hot_vector
from memoryd.hot.finding import Finder, Query
from memoryd.hot.rows import Candidates, Found, rarest, told_in
from memoryd.limits import CANDIDATES_MAX, EXACT_MEMORIES_MAX, FORGET_PLAN_MAX, RECALL_LIMIT_MAX
from memoryd.model.episode import EpisodeFilter
from memoryd.model.memory import MemoryType, Tier
from memoryd.model.question import Narrowing
from memoryd.model.scope import Scope
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import inside, recorded

RETRY_AFTER_SECONDS = 5
NOTHING: Mapping[str, str] = {}
NAMED_MAX = 200  # ids that one query looks for: each is a term of its own


@dataclass(frozen=True)
class QueryVector:
    """A question's vector, and whose it is: among another model's vectors it finds nothing."""

    vector: bytes
    model: str


class Search:
    """Queries over the indexes of one Redis. `ef_runtime` None means that the index is exact (FLAT)."""

    def __init__(self, redis: Redis, *, ef_runtime: int | None, datatype: str = "float32") -> None:
        self._redis = redis
        self._datatype = datatype
        self._ef_runtime = ef_runtime
        self._finder = Finder(redis)

    @inside(telemetry.SEARCH_WORDS)
    async def by_words(
        self,
        scope: Scope,
        filters: Filters,
        *,
        terms: Sequence[str],
        content_hash: str,
        seconds: float | None = None,
    ) -> Found:
        """The memories with one of the terms, how many there are in the scope, and what is exactly the question.

        One round trip; a second one reads what was not met here before, and one counts each term, when more memories than one
        search brings have one of them. Of those the newest come: no score of RediSearch takes part, because its statistics
        are of the whole index, and so of other people's memories. `by_meaning` narrows them then. `seconds`: how long a search
        may take at most.
        """
        kinds, found = _kinds(filters), Found()
        every, long, quoting, worded = (scope_clause(scope, filters) for _ in range(4))
        long.tag("tier", [Tier.LONG])
        quoting.tag("content_hash", [content_hash])
        queries: list[Query] = []
        async with self._pipeline() as pipe:
            for kind in kinds:
                pipe.execute_command(*_counted(names.index(kind), every, seconds=seconds))
                pipe.execute_command(*_counted(names.index(kind), long, seconds=seconds))
                queries.append(_newest(kind, quoting, RECALL_LIMIT_MAX, seconds))
            if terms:
                worded.words(terms)
                # One more than a search brings tells that there are more.
                queries += [_newest(kind, worded, CANDIDATES_MAX + 1, seconds) for kind in kinds]
            for query in queries:
                pipe.execute_command(*query.for_stamps())
            pipe.hmget(names.FOLLOWER_PLACE, ["token", "compared_at"])
            with hot_errors("recall"):
                *answers, place = await pipe.execute()
        found.filled = any(place)
        if any(map(_was_cut, answers)):
            found.cut.add("words")
        counts = iter(int(one[b"total_results"]) for one in answers)
        for kind in kinds:
            found.memories[kind] = next(counts)
            found.long += next(counts)
        met = await self._finder.read(scope, queries, answers[2 * len(kinds) :])
        for one in met:
            found.take(one)
        found.quoted.update(brief.memory_id for one in met[: len(kinds)] for brief in one.briefs)
        found.crowded.update(kind for kind, one in zip(kinds, met[len(kinds) :], strict=False) if len(one.briefs) > CANDIDATES_MAX)
        if found.crowded:
            await self._count_terms(scope, filters, found, terms, seconds)
        if span := recorded():
            span.set_attribute(telemetry.SEARCHED, sum(found.memories.values()))
            span.set_attribute(telemetry.CANDIDATES, len(found.rows))
        return found

    async def _count_terms(
        self, scope: Scope, filters: Filters, found: Found, terms: Sequence[str], seconds: float | None
    ) -> None:
        crowded = sorted(found.crowded)
        async with self._pipeline() as pipe:
            for kind in crowded:
                for term in terms:
                    pipe.execute_command(
                        *_counted(names.index(kind), scope_clause(scope, filters), [term], seconds=seconds)
                    )
            with hot_errors("recall"):
                answers = await pipe.execute()
        if any(map(_was_cut, answers)):
            found.cut.add("words")
        counts = iter(int(one[b"total_results"]) for one in answers)
        for kind in crowded:
            found.with_term[kind] = {term: next(counts) for term in terms}

    @inside(telemetry.SEARCH_MEANING)
    async def by_meaning(
        self,
        scope: Scope,
        filters: Filters,
        found: Found,
        *,
        terms: Sequence[str],
        vector: QueryVector | None,
        seconds: float | None = None,
        named: Mapping[str, str] = NOTHING,
    ) -> Candidates:
        """The candidates: `found`, narrowed where it was crowded, and the nearest to the vector. One round trip, and one for
        what was not met here before. `named` (kinds by id) was found by words in the archive: it comes as far as it passes
        the filters here, with its similarity.

        Of what was found by its words only the similarity comes, and the nearest of the others beside it. So what has the
        words has its true similarity, however far away it is. Without a vector, what was said around it comes instead: an
        answer seldom repeats the words of its question.
        """
        kinds = [kind for kind in _kinds(filters) if found.memories[kind]]
        candidates = Candidates(found.rows.copy())
        if found.crowded:
            kept = ((key, row) for key, row in found.rows.items() if row.kind not in found.crowded or key in found.quoted)
            candidates = Candidates(dict(kept))
        queries = [
            *_by_rarest(scope, filters, found, kinds, seconds),
            *(self._by_vector(scope, filters, found, kinds, terms, vector, seconds) if vector
              else _around(scope, filters, candidates.rows, kinds, terms, seconds)),
            *self._by_name(scope, filters, kinds, named, vector, seconds),
        ]  # fmt: skip
        answers = await self._ask(queries)
        whole = [at for at, answer in enumerate(answers) if not _of_another_model(answer)]
        told = [at for at in whole if not isinstance(answers[at], Exception)]
        found.cut |= {"meaning" if queries[at].nearest else "words" for at in told if _was_cut(answers[at])}
        for near in await self._finder.read(scope, [queries[at] for at in whole], [answers[at] for at in whole]):
            candidates.take(near)
        found.nothing_near = bool(vector and kinds) and not candidates.similarity
        if span := recorded():
            span.set_attribute(telemetry.CANDIDATES, len(candidates.rows))
            span.set_attributes(telemetry.range_of(candidates.similarity.values()))
        return candidates

    async def _ask(self, queries: Sequence[Query]) -> list[Any]:
        """The answers in one round trip; what Redis refused among them as its error."""
        async with self._pipeline() as pipe:
            for query in queries:
                pipe.execute_command(*query.for_stamps())
            with hot_errors("recall"):
                answers: list[Any] = await pipe.execute(raise_on_error=False) if queries else []
                for one in answers:
                    if isinstance(one, Exception) and not isinstance(one, ResponseError):
                        raise one
        return answers

    def _by_vector(
        self, scope: Scope, filters: Filters, found: Found, kinds: Sequence[str], terms: Sequence[str], vector: QueryVector,
        seconds: float | None,
    ) -> Iterator[Query]:  # fmt: skip
        for kind in kinds:
            few = found.memories[kind] <= EXACT_MEMORIES_MAX
            for clause, most, all_here in _near(scope, filters, found, kind, terms):
                yield self._nearest(kind, clause, vector, exact=all_here or few, seconds=seconds, most=most)
            if found.long:  # what is light has no words here, and its vector is in a field of its own
                yield self._nearest(kind, scope_clause(scope, filters), vector, light=True, exact=few, seconds=seconds)

    def _by_name(
        self, scope: Scope, filters: Filters, kinds: Sequence[str], named: Mapping[str, str], vector: QueryVector | None,
        seconds: float | None,
    ) -> Iterator[Query]:  # fmt: skip
        for kind in kinds:
            for clause in _named(scope, filters, [one for one, of in named.items() if of == kind]):
                if not vector:
                    yield _newest(kind, clause, NAMED_MAX, seconds)
                    continue
                for light in (False, True):  # one on its way into the tier has its vector whole
                    yield self._nearest(kind, copied(clause), vector, light=light, exact=True, seconds=seconds)

    async def matching(self, scope: Scope, filters: Filters, terms: Sequence[str]) -> int:
        """How many memories of the scope pass the filters here, and have one of the terms if any is given."""
        with hot_errors("count"):
            async with self._pipeline() as pipe:
                for kind in _kinds(filters):
                    pipe.execute_command(*_counted(names.index(kind), scope_clause(scope, filters), terms))
                answers = await pipe.execute()
        return sum(int(whole(one, "count")[b"total_results"]) for one in answers)

    async def matching_ids(self, scope: Scope, filters: Filters, most: int) -> list[str]:
        """The ids of the scope's memories that pass the filters, as far as indexed; at most `most` of each kind. Raises
        Overloaded."""
        return await self._ids(_all_of(names.index(kind), scope_clause(scope, filters), most) for kind in _kinds(filters))

    async def _ids(self, queries: Iterable[list[Any]]) -> list[str]:
        """The ids that queries without contents find, in one round trip. Raises Overloaded."""
        return [_id_of(row) for rows in await self._rows_of_each(queries) for row in rows]

    async def _rows_of_each(self, queries: Iterable[list[Any]]) -> list[Sequence[Any]]:
        with hot_errors("search"):
            async with self._pipeline() as pipe:
                for query in queries:
                    pipe.execute_command(*query)
                answers = await pipe.execute()
        return [whole(one, "search")[b"results"] for one in answers]

    def _pipeline(self) -> Any:
        return self._redis.pipeline(transaction=False)

    def _nearest(
        self, kind: str, clause: Clause, vector: QueryVector, *, exact: bool, seconds: float | None, most: int = CANDIDATES_MAX,
        light: bool = False,
    ) -> Query:  # fmt: skip
        datatype = HALF if light else self._datatype
        clause.params |= {"k": most, "model": vector.model, "vector": to_hot_vector(vector.vector, datatype)}
        how = ""
        if exact:
            # Vector by vector through the scope: exact, and what others store has no part in it, as it has in a graph.
            how = " HYBRID_POLICY ADHOC_BF"
        elif self._ef_runtime is not None and not light:
            clause.params["ef"] = max(self._ef_runtime, most)
            how = " EF_RUNTIME $ef"
        # The model is a condition: a query cannot meet another model's vectors, whatever the index holds by now.
        field = "half" if light else "embedding"
        text = f"({clause} @embedding_model:{{$model}})=>[KNN $k @{field} $vector{how} AS distance]"
        return Query(kind, text, clause.arguments(seconds), most, nearest=True)

    async def neighbours(
        self, asked: Sequence[tuple[Scope, MemoryType, QueryVector]], most: int
    ) -> list[list[str]]:
        """For each: the ids of its scope's memories of its type that are nearest to the vector, nearest first. One round trip.

        Raises Overloaded.
        """
        queries = []
        for scope, memory_type, vector in asked:
            for light in (False, True):
                clause = scope_clause(scope, Filters(Narrowing(types=[memory_type])))
                kind = names.kind_of(memory_type)
                query = self._nearest(kind, clause, vector, light=light, exact=False, seconds=None, most=most)
                queries.append(query.for_distances())
        found = await self._rows_of_each(queries)
        return [_nearest_ids([*whole, *light], most) for whole, light in zip(found[::2], found[1::2], strict=True)]

    async def naming(self, scope: Scope, field: str, memory_ids: Sequence[str]) -> set[str]:
        """The ids of the scope's memories whose `derived_from` or `related` names one of these, as far as indexed."""
        queries = []
        for start in range(0, len(memory_ids), NAMED_MAX):
            for kind in names.KINDS:
                clause = scope_clause(scope)
                clause.tag(field, memory_ids[start : start + NAMED_MAX])
                queries.append(_all_of(names.index(kind), clause))
        return set(await self._ids(queries))

    async def newest_events(self, scope: Scope, wanted: EpisodeFilter, count: int) -> list[str]:
        """The ids of the scope's newest events that fit and live here."""
        clause = scope_clause(scope, Filters(episodes=wanted))
        query = ["FT.SEARCH", names.index("episodic"), str(clause), *clause.arguments(), "NOCONTENT",
                 "SORTBY", "valid_from", "DESC", "LIMIT", 0, count, "DIALECT", 2]  # fmt: skip
        with hot_errors("search episodes"):
            answer: Any = await self._redis.execute_command(*query)  # type: ignore[no-untyped-call]
        return [row[b"id"].decode().rpartition(":")[2] for row in whole(answer, "search episodes")[b"results"]]

    async def saying(self, scope: Scope, content_hash: str, count: int) -> list[str]:
        """The ids of the scope's memories with this content, as far as indexed; a few."""
        queries = []
        for kind in names.KINDS:
            clause = scope_clause(scope)
            clause.tag("content_hash", [content_hash])
            queries.append(_all_of(names.index(kind), clause, count))
        return (await self._ids(queries))[:count]

    async def indexed(self, kind: str, memory_ids: Sequence[str]) -> set[str]:
        """Those of the memories that the index of a kind has, whoever's: for the daemon's own work, never for a caller."""
        queries = []
        for start in range(0, len(memory_ids), NAMED_MAX):
            clause = Clause()
            clause.tag("id", memory_ids[start : start + NAMED_MAX])
            queries.append(_all_of(names.index(kind), clause, NAMED_MAX))
        return set(await self._ids(queries))

    async def in_tier(self, tier: Tier, count: int) -> list[str]:
        """The keys of some records of a tier, whoever's: for the daemon's own work, never for a caller."""
        found: list[str] = []
        with hot_errors("look at a tier"):
            for kind in names.KINDS:
                clause = Clause()
                clause.tag("tier", [tier])
                answer: Any = await self._redis.execute_command(  # type: ignore[no-untyped-call]
                    "FT.SEARCH", names.index(kind), str(clause), *clause.arguments(), "NOCONTENT", "LIMIT", 0, count,
                    "DIALECT", 2,
                )  # fmt: skip
                found += [row[b"id"].decode() for row in answer[b"results"]]
        return found

    async def count(self, scope: Scope) -> Counts:
        """How many memories of each type the scope holds here, how many wait for their vector, how many others share."""
        counts = Counts()
        with hot_errors("stats"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for kind in names.KINDS:
                    pipe.execute_command(*_by_type_and_tier(names.index(kind), scope_clause(scope)))
                    pipe.execute_command(*_waiting(names.index(kind), scope_clause(scope)))
                for kind in names.KINDS if scope.agent and not scope.session else ():
                    pipe.execute_command(*_shared(names.index(kind), scope))
                answers = await pipe.execute()
        own, shared = answers[: 2 * len(names.KINDS)], answers[2 * len(names.KINDS) :]
        counts.shared = sum(int(whole(one, "stats")[b"total_results"]) for one in shared)
        for grouped, waiting_answer in zip(own[::2], own[1::2], strict=True):
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
    shared: int = 0
    """Memories of others that are shared with the scope's agent; in no other count."""

    def add(self, memory_type: str, tier: str, count: int) -> None:
        """Counts `count` more."""
        self.by_type[memory_type] = self.by_type.get(memory_type, 0) + count
        self.by_tier[tier] = self.by_tier.get(tier, 0) + count


def _by_type_and_tier(index: str, clause: Clause) -> list[Any]:
    return ["FT.AGGREGATE", index, str(clause), *clause.arguments(), "GROUPBY", 2, "@memory_type", "@tier",
            "REDUCE", "COUNT", 0, "AS", "n", "DIALECT", 2]  # fmt: skip


def _waiting(index: str, clause: Clause) -> list[Any]:
    clause.tag("pending", ["1"])
    return ["FT.SEARCH", index, str(clause), *clause.arguments(), "LIMIT", 0, 0, "DIALECT", 2]


def _shared(index: str, scope: Scope) -> list[Any]:
    clause = scope_clause(Scope(scope.tenant, scope.project))
    clause.tag("shared_with", [scope.agent])
    return ["FT.SEARCH", index, str(clause), *clause.arguments(), "LIMIT", 0, 0, "DIALECT", 2]


def _counted(index: str, clause: Clause, terms: Sequence[str] = (), *, seconds: float | None = None) -> list[Any]:
    if terms:
        clause.words(terms)
    return ["FT.SEARCH", index, str(clause), *clause.arguments(seconds), "LIMIT", 0, 0, "DIALECT", 2]


def _named(scope: Scope, filters: Filters, memory_ids: Sequence[str]) -> Iterator[Clause]:
    for start in range(0, len(memory_ids), NAMED_MAX):
        clause = scope_clause(scope, filters)
        clause.tag("id", memory_ids[start : start + NAMED_MAX])
        yield clause


def _with_terms(kind: str, clause: Clause, terms: Sequence[str], most: int, seconds: float | None) -> Query:
    clause.words(terms)
    return _newest(kind, clause, most, seconds)


def _near(
    scope: Scope, filters: Filters, found: Found, kind: str, terms: Sequence[str]
) -> Iterator[tuple[Clause, int, bool]]:
    """Among what to look for the nearest, how many at most, and whether that is all here already and only its similarity is
    asked for."""
    known = 0 if kind in found.crowded else sum(row.kind == kind for row in found.rows.values())
    if not terms or not known:
        yield scope_clause(scope, filters), CANDIDATES_MAX, False
    elif found.memories[kind] <= known + CANDIDATES_MAX:  # the others come all: one search brings them and what is here
        yield scope_clause(scope, filters), known + CANDIDATES_MAX, True
    else:
        for none in (False, True):
            clause = scope_clause(scope, filters)
            clause.words(terms, none=none)
            yield clause, CANDIDATES_MAX, not none


def _around(
    scope: Scope, filters: Filters, rows: Mapping[str, Brief], kinds: Sequence[str], terms: Sequence[str], seconds: float | None
) -> Iterator[Query]:
    """What was said around the words without having one of them: the newest, in the sessions that have most of them."""
    for kind in kinds if terms else ():
        if sessions := told_in(rows.values(), kind, terms):
            clause = scope_clause(scope, filters)
            clause.exact("session_id", sessions)
            clause.words(terms, none=True)
            yield _newest(kind, clause, CANDIDATES_MAX, seconds)


def _by_rarest(
    scope: Scope, filters: Filters, found: Found, kinds: Sequence[str], seconds: float | None
) -> Iterator[Query]:
    """What has the words that say most, where more has one than a search brings."""
    for kind in kinds:
        if kind in found.crowded:
            telling = rarest(found.with_term[kind])
            yield _with_terms(kind, scope_clause(scope, filters), telling, CANDIDATES_MAX, seconds)


def _newest(kind: str, clause: Clause, most: int, seconds: float | None) -> Query:
    return Query(kind, str(clause), clause.arguments(seconds), most)


def _kinds(filters: Filters) -> list[str]:
    return [kind for kind in names.KINDS if not filters.among.types or kind in {names.kind_of(one) for one in filters.among.types}]


def _all_of(index: str, clause: Clause, count: int = FORGET_PLAN_MAX + 1) -> list[Any]:
    return ["FT.SEARCH", index, str(clause), *clause.arguments(), "NOCONTENT", "LIMIT", 0, count, "DIALECT", 2]


def _id_of(row: Any) -> str:
    return str(row[b"id"][-names.ID_CHARS :].decode())


def _nearest_ids(rows: Iterable[Any], most: int) -> list[str]:
    there = [(float(fields[b"distance"]), _id_of(row)) for row in rows if (fields := row.get(b"extra_attributes"))]
    return [memory_id for _, memory_id in sorted(there)[:most]]


def _of_another_model(error: Any) -> bool:
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
