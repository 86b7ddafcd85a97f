"""Search in Redis: by words and by meaning, always inside a scope."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from memoryd import keys as names
from memoryd.hot.answers import id_of, rows_of_each, was_cut
from memoryd.hot.clauses import NAMED_MAX, Clause, Filters, copied, kinds_of, scope_clause
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import HALF, to_hot_vector
from memoryd.hot.counting import counted
from memoryd.hot.finding import Finder, Query
from memoryd.hot.queries import around, by_rarest, nearest_among, newest, with_ids
from memoryd.hot.rows import Candidates, Found
from memoryd.limits import CANDIDATES_MAX, EXACT_MEMORIES_MAX, RECALL_LIMIT_MAX
from memoryd.model.memory import MemoryType, Tier
from memoryd.model.question import Narrowing
from memoryd.model.scope import Scope
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import inside, recorded

NOTHING: Mapping[str, str] = {}


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
        kinds, found = kinds_of(filters), Found()
        every, long, quoting, worded = (scope_clause(scope, filters) for _ in range(4))
        long.tag("tier", [Tier.LONG])
        quoting.tag("content_hash", [content_hash])
        queries: list[Query] = []
        async with self._pipeline() as pipe:
            for kind in kinds:
                pipe.execute_command(*counted(names.index(kind), every, seconds=seconds))
                pipe.execute_command(*counted(names.index(kind), long, seconds=seconds))
                queries.append(newest(kind, quoting, RECALL_LIMIT_MAX, seconds))
            if terms:
                worded.words(terms)
                # One more than a search brings tells that there are more.
                queries += [newest(kind, worded, CANDIDATES_MAX + 1, seconds) for kind in kinds]
            for query in queries:
                pipe.execute_command(*query.for_stamps())
            pipe.hmget(names.FOLLOWER_PLACE, ["token", "compared_at"])
            with hot_errors("recall"):
                *answers, place = await pipe.execute()
        found.filled = any(place)
        if any(map(was_cut, answers)):
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
                        *counted(names.index(kind), scope_clause(scope, filters), [term], seconds=seconds)
                    )
            with hot_errors("recall"):
                answers = await pipe.execute()
        if any(map(was_cut, answers)):
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
        kinds = [kind for kind in kinds_of(filters) if found.memories[kind]]
        candidates = Candidates(found.rows.copy())
        if found.crowded:
            kept = ((key, row) for key, row in found.rows.items() if row.kind not in found.crowded or key in found.quoted)
            candidates = Candidates(dict(kept))
        queries = [
            *by_rarest(scope, filters, found, kinds, seconds),
            *(self._by_vector(scope, filters, found, kinds, terms, vector, seconds) if vector
              else around(scope, filters, candidates.rows, kinds, terms, seconds)),
            *self._by_name(scope, filters, kinds, named, vector, seconds),
        ]  # fmt: skip
        answers = await self._ask(queries)
        whole = [at for at, answer in enumerate(answers) if not _of_another_model(answer)]
        told = [at for at in whole if not isinstance(answers[at], Exception)]
        found.cut |= {"meaning" if queries[at].nearest else "words" for at in told if was_cut(answers[at])}
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
            for clause, most, all_here in nearest_among(scope, filters, found, kind, terms):
                yield self._nearest(kind, clause, vector, exact=all_here or few, seconds=seconds, most=most)
            if found.long:  # what is light has no words here, and its vector is in a field of its own
                yield self._nearest(kind, scope_clause(scope, filters), vector, light=True, exact=few, seconds=seconds)

    def _by_name(
        self, scope: Scope, filters: Filters, kinds: Sequence[str], named: Mapping[str, str], vector: QueryVector | None,
        seconds: float | None,
    ) -> Iterator[Query]:  # fmt: skip
        for kind in kinds:
            for clause in with_ids(scope, filters, [one for one, of in named.items() if of == kind]):
                if not vector:
                    yield newest(kind, clause, NAMED_MAX, seconds)
                    continue
                for light in (False, True):  # one on its way into the tier has its vector whole
                    yield self._nearest(kind, copied(clause), vector, light=light, exact=True, seconds=seconds)

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
        found = await rows_of_each(self._redis, queries)
        return [_nearest_ids([*whole, *light], most) for whole, light in zip(found[::2], found[1::2], strict=True)]

def _nearest_ids(rows: Iterable[Any], most: int) -> list[str]:
    there = [(float(fields[b"distance"]), id_of(row)) for row in rows if (fields := row.get(b"extra_attributes"))]
    return [memory_id for _, memory_id in sorted(there)[:most]]


def _of_another_model(error: Any) -> bool:
    # Of other dimensions, that is; among as many the query's own condition finds nothing.
    return isinstance(error, ResponseError) and "does not match index's expected size" in str(error)
