"""The verb recall: finds the candidates, ranks them, and reads the best."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from memoryd.clock import Clock, to_microseconds
from memoryd.embed.cache import EmbeddingCache, model_of
from memoryd.embed.protocol import ModelFailed
from memoryd.hot.records import Records
from memoryd.hot.search import Filters, QueryVector, Row, Search
from memoryd.limits import RERANK_CANDIDATES
from memoryd.model.episode import EpisodeFilter
from memoryd.model.ids import hash_content
from memoryd.model.question import Question
from memoryd.model.results import Hit, Recalled
from memoryd.model.scope import Scope
from memoryd.model.terms import query_terms
from memoryd.recall.pool import Pool
from memoryd.recall.profiles import Profiles
from memoryd.recall.rank import Ranked, rank
from memoryd.recall.relevance import with_relevance
from memoryd.recall.speech import first_person, named
from memoryd.rerank.protocol import Failed, Reranker

FOLLOW_SECONDS_MAX = 2.0  # how long a question waits for another model to be opened; then it is answered by words
SPARE = 3  # memories read beyond a recall's limit: one may be forgotten between the search and the reading


class Recalling:
    """Recall over one Redis and one embedding model, which may be away or absent."""

    def __init__(
        self,
        records: Records,
        search: Search,
        cache: EmbeddingCache | None,
        *,
        clock: Clock,
        profiles: Profiles | None = None,
        follow: Callable[[], Awaitable[None]] | None = None,
        reranker: Reranker | None = None,
        rerank_seconds: float = 2.0,
    ) -> None:
        """`follow` looks whether another model's vectors are read by now, and changes to it."""
        self._records = records
        self._search = search
        self._cache = cache
        self._clock = clock
        self._profiles = profiles or Profiles()
        self._follow = follow or _stay
        self._reranker = reranker
        self._rerank_seconds = rerank_seconds

    async def recall(self, scope: Scope, question: Question, *, events: EpisodeFilter | None = None) -> Recalled:
        """The memories of the scope that fit the question best, each with its reasons. Raises BadRequest.

        `events`: only events that fit. Three round trips, whatever is found: the words, which tell who is named; then the
        meaning of the question as those would ask it; then the best memories themselves.
        """
        scope = scope.check().narrowed(question.check().session)
        weights = self._profiles.choose(question.profile, tuple(question.types))
        filters = Filters(types=question.types, tags=question.tags, episodes=events)
        terms = query_terms(question.query)
        found = await self._search.by_words(scope, filters, terms=terms, content_hash=hash_content(question.query))
        who = named(question.query, {row.speaker for row in found.rows.values()})
        asked = first_person(question.query, who)
        vector, degraded = await self._query_vector(scope, asked)
        rows = await self._search.by_meaning(scope, filters, found, vector=vector)
        if vector and found.nothing_near and await self._changed(vector):  # this daemon follows, and asks once more
            vector, degraded = await self._query_vector(scope, asked)
            rows = await self._search.by_meaning(scope, filters, found, vector=vector)
        pool = Pool(rows, terms, found.spread.with_term, found.spread.memories)
        now = to_microseconds(self._clock.now())
        ranked = rank(pool, weights, who=who, quoted=found.quoted, now=now, limit=max(question.limit, RERANK_CANDIDATES) + SPARE)
        if question.rerank:
            ranked, why_not = await self._reranked(scope, question.query, ranked, rows)
            degraded = "; ".join(filter(None, [degraded, why_not]))
        ranked = ranked[: question.limit + SPARE]
        kinds = {one.memory_id: rows[one.memory_id].kind for one in ranked}
        memories, recall_id = await self._records.get_recalled(scope, kinds)
        hits = [
            Hit(memory=memories[one.memory_id], score=one.score, why=one.why)
            for one in ranked
            if one.memory_id in memories
        ]
        searched = [name for name, used in (("words", terms), ("meaning", vector)) if used]
        cut = [f"the search by {one} took too long and has not looked at everything" for one in sorted(found.cut)]
        degraded = "; ".join(filter(None, [degraded, *cut]))
        return Recalled(
            hits=hits[: question.limit], searched=searched, profile=weights.name, degraded=degraded, recall_id=recall_id
        )

    async def _reranked(
        self, scope: Scope, query: str, ranked: list[Ranked], rows: Mapping[str, Row]
    ) -> tuple[list[Ranked], str]:
        """The candidates after a cross-encoder has read the best of them; as they were, and why, when it has not.

        One more round trip, for what it is to read, and the model's own time.
        """
        if self._reranker is None:
            return ranked, "no reranker is configured: the order is that of the other signals"
        kinds = {one.memory_id: rows[one.memory_id].kind for one in ranked[:RERANK_CANDIDATES]}
        texts = {one: memory.content for one, memory in (await self._records.get_many(scope, kinds)).items()}
        try:
            async with asyncio.timeout(self._rerank_seconds):
                found = await self._reranker.relevance(query, list(texts.values())) if texts else []
        except Failed as error:
            return ranked, f"{error}: the order is that of the other signals"
        except TimeoutError:
            late = f"the reranker has not answered within {self._rerank_seconds:g} s"
            return ranked, f"{late}: the order is that of the other signals"
        return with_relevance(ranked, dict(zip(texts, found, strict=True))), ""

    async def _changed(self, vector: QueryVector) -> bool:
        """Whether another model's vectors are read by now than the one that this was made by."""
        with contextlib.suppress(TimeoutError):  # a model that is slow to open is opened by the follower meanwhile
            async with asyncio.timeout(FOLLOW_SECONDS_MAX):
                await self._follow()
        return model_of(self._cache) != vector.model

    async def _query_vector(self, scope: Scope, query: str) -> tuple[QueryVector | None, str]:
        if self._cache is None:
            return None, "no embedding model is configured: words only"
        model = self._cache.embedder
        try:
            [vector] = await self._cache.embed([scope], [query], by=model)
        except ModelFailed as error:
            return None, f"the embedding model failed ({error.code}): words only"
        return QueryVector(vector, model.model), ""


async def _stay() -> None:
    return None
