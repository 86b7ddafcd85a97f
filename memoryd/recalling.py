"""The verb recall: finds the candidates, ranks them, and reads the best."""

from __future__ import annotations

from memoryd.clock import Clock, to_microseconds
from memoryd.embed.cache import EmbeddingCache
from memoryd.embed.protocol import ModelFailed
from memoryd.hot.records import Records
from memoryd.hot.search import Filters, Search
from memoryd.model.episode import EpisodeFilter
from memoryd.model.ids import hash_content
from memoryd.model.question import Question
from memoryd.model.results import Hit, Recalled
from memoryd.model.scope import Scope
from memoryd.model.terms import query_terms
from memoryd.recall.pool import Pool
from memoryd.recall.profiles import Profiles
from memoryd.recall.rank import rank
from memoryd.recall.speech import first_person, named

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
    ) -> None:
        self._records = records
        self._search = search
        self._cache = cache
        self._clock = clock
        self._profiles = profiles or Profiles()

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
        vector, degraded = await self._query_vector(scope, first_person(question.query, who))
        rows = await self._search.by_meaning(scope, filters, found, vector=vector)
        pool = Pool(rows, terms, found.spread.with_term, found.spread.memories)
        now = to_microseconds(self._clock.now())
        ranked = rank(pool, weights, who=who, quoted=found.quoted, now=now, limit=question.limit + SPARE)
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

    async def _query_vector(self, scope: Scope, query: str) -> tuple[bytes | None, str]:
        if self._cache is None:
            return None, "no embedding model is configured: words only"
        try:
            [vector] = await self._cache.embed([scope], [query])
        except ModelFailed as error:
            return None, f"the embedding model failed ({error.code}): words only"
        return vector, ""
