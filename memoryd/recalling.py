"""The verbs recall and count: find the candidates, rank them, read the best."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import msgspec

from memoryd.archive.deep import ARCHIVE, Deep, asked_for, nearest
from memoryd.archive.store import Archive
from memoryd.archive.words import Worded
from memoryd.archive.words import by_words as long_by_words
from memoryd.clock import Clock, to_microseconds
from memoryd.embed.cache import EmbeddingCache, model_of
from memoryd.embed.protocol import ModelFailed
from memoryd.errors import ArchiveUnavailable
from memoryd.hot import counting
from memoryd.hot.briefs import Brief
from memoryd.hot.clauses import Filters
from memoryd.hot.pages import Order, Pages, cursor_at
from memoryd.hot.query_cache import QueryCache
from memoryd.hot.records import Records
from memoryd.hot.rows import LONG, Candidates, Found
from memoryd.hot.search import QueryVector, Search
from memoryd.limits import DIVERSE_MAX, RECALL_PAGES_HITS_MAX, RERANK_CANDIDATES
from memoryd.model.episode import EpisodeFilter
from memoryd.model.ids import hash_content
from memoryd.model.memory import Memory, Tier
from memoryd.model.question import Narrowing, Question, check_query
from memoryd.model.results import Counted, Hit, Part, Ranked, Recalled
from memoryd.model.scope import Scope
from memoryd.model.terms import query_terms
from memoryd.recall.diverse import by_session, diverse, likeness
from memoryd.recall.layout import Layouts
from memoryd.recall.pool import Pool
from memoryd.recall.profiles import Profiles
from memoryd.recall.rank import QUOTE_WEIGHT, rank
from memoryd.recall.relevance import with_relevance
from memoryd.recall.speech import first_person, named
from memoryd.recall.synonyms import Synonyms
from memoryd.recall.when import periods
from memoryd.rerank.protocol import Failed, Reranker
from memoryd.whole import Wholes
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import inner, inside, tell

FOLLOW_SECONDS_MAX = 2.0  # how long a question waits for another model to be opened; then it is answered by words
SPARE = 3  # memories read beyond a recall's limit: one may be forgotten between the search and the reading
T = TypeVar("T")


@dataclass
class Ended:
    """What a recall could not do whole, and why, in words."""

    reasons: list[str] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    cold: bool = False
    """Whether some of what was found is perhaps in the archive only."""

    def late(self, what: str, why: str) -> None:
        """The search by words or by meaning was ended by a time limit; or something of the tier long could not be had."""
        self.missing.add(what)
        if why not in self.reasons:
            self.reasons.append(why)


class Deadline:
    """Until when an answer has to be found; without milliseconds there is no hurry."""

    def __init__(self, milliseconds: int | None) -> None:
        self._end = None if milliseconds is None else asyncio.get_running_loop().time() + milliseconds / 1000

    def left(self) -> float | None:
        """The seconds that are left, None for no limit."""
        return None if self._end is None else max(0.0, self._end - asyncio.get_running_loop().time())

    async def before(self, work: Awaitable[T]) -> T | None:
        """The result of the work; None when it was not there in time."""
        if self._end is None:
            return await work
        try:
            async with asyncio.timeout(self.left()):
                return await work
        except TimeoutError:
            return None


class Recalling:
    """Recall over one Redis and one embedding model, which may be away or absent."""

    def __init__(
        self,
        records: Records,
        search: Search,
        cache: EmbeddingCache | None,
        *,
        clock: Clock,
        archive: Archive | None = None,
        profiles: Profiles | None = None,
        synonyms: Synonyms | None = None,
        follow: Callable[[], Awaitable[None]] | None = None,
        reranker: Reranker | None = None,
        rerank_seconds: float = 2.0,
        answers: QueryCache | None = None,
    ) -> None:
        """`answers` knows what was asked a moment ago; without it every question is searched for. `follow` looks whether
        another model's vectors are read by now, and changes to it."""
        self._records = records
        self._search = search
        self._cache = cache
        self._clock = clock
        self._archive = archive
        self._wholes = Wholes(records, archive, lambda: model_of(cache))
        self._profiles = profiles or Profiles()
        self._synonyms = synonyms or Synonyms()
        self._follow = follow or _stay
        self._reranker = reranker
        self._rerank_seconds = rerank_seconds
        self._answers = answers
        self._pages = Pages(records.redis)
        self._layouts = Layouts()

    async def recall(self, scope: Scope, question: Question, *, events: EpisodeFilter | None = None) -> Recalled:
        """The memories of the scope that fit the question best, each with its reasons. Raises BadRequest, CursorExpired.

        `events`: only events that fit. With a deadline the answer may be partial, and says so.
        """
        shared = events is None and _sees_shared(scope, question)  # a log is its agent's own
        scope = question.check().within(scope)
        filters = Filters(question, events, shared)
        asked, deadline = _digest(scope, question), Deadline(question.deadline_ms)
        if question.cursor:
            order, token, first = await self._pages.turn(scope, question.cursor, asked)
            return await self._answer(scope, order, token, first, question.limit, deadline)
        make = partial(self._order, scope, question, filters, asked, deadline)
        # What is only in the archive changes there without an event, and a log's own filters are not in the digest.
        if self._answers is None or events is not None or question.deep:
            order = await make()
        else:
            order = await self._answers.order(scope, f"{asked} {shared} {_needed(question)} {model_of(self._cache)}", make)
        token = await self._pages.keep(scope, order) if question.cursor == "" else ""
        return await self._answer(scope, order, token, 0, question.limit, deadline)

    async def count(self, scope: Scope, among: Narrowing, query: str = "") -> Counted:
        """How many memories of the scope pass the filters; of how many a word is in the query. Raises Overloaded."""
        shared = _sees_shared(scope, among)
        scope = among.check().within(scope)
        filters = Filters(among, shared=shared)
        memories = await counting.matching(self._records.redis, scope, filters, ())
        if not query:
            return Counted(memories=memories)
        check_query(query)
        terms = self._synonyms.with_synonyms(scope, query_terms(query))
        with_words = await counting.matching(self._records.redis, scope, filters, terms) if terms else 0
        return Counted(memories=memories, with_words=with_words)

    # --- what comes, in which order -------------------------------------------------------------------------------

    async def _order(self, scope: Scope, question: Question, filters: Filters, asked: str, deadline: Deadline) -> Order:
        """Two round trips: the words, which tell who is named; then the meaning of the question as those would ask it. Between
        them, while the question gets its vector, the archive is asked for the words of what is light in Redis, if there is any.

        Where more memories have the words than one search brings, the words are counted in one more; a diverse answer
        reads the vectors of the best in another one.
        """
        profile = self._profiles.choose(question.profile, tuple(question.types))
        ended = Ended()
        pool, who, quoted, searched = await self._candidates(scope, question, filters, deadline, ended)
        now = self._clock.now()
        with inner(telemetry.FUSE):
            best = rank(
                pool, profile, who=who, quoted=quoted, now=to_microseconds(now), times=periods(question.query, now),
                limit=_needed(question), min_score=question.min_score, min_likeness=question.min_likeness,
            )  # fmt: skip
            scores = telemetry.range_of([best[0].score, best[-1].score] if best else [])
            tell({telemetry.CANDIDATES: len(pool.rows), telemetry.RECORD_COUNT: len(best), **scores})
        if question.rerank:
            best = await self._reranked(scope, question.query, best, deadline, ended)
        rows = dict(zip(pool.ids, pool.rows, strict=True))
        if question.diversity:
            best = await self._diverse(scope, best, rows, question.diversity)
        if question.per_session:
            best = [best[at] for at in by_session([rows[one.memory_id].place for one in best], question.per_session)]
        return Order(asked, best, searched, profile.name, "; ".join(ended.reasons), sorted(ended.missing), ended.cold)

    async def _candidates(
        self, scope: Scope, question: Question, filters: Filters, deadline: Deadline, ended: Ended
    ) -> tuple[Pool, set[str], set[str], list[str]]:
        """The candidates, who is named, what is the question word for word, and by what was searched."""
        terms = self._synonyms.with_synonyms(scope, query_terms(question.query))
        quoting = hash_content(question.query)
        found = await deadline.before(
            self._search.by_words(scope, filters, terms=terms, content_hash=quoting, seconds=deadline.left())
        )
        if found is None:
            for one in ("words", "meaning"):
                ended.late(one, f"the deadline came before the search by {one} was done")
            return Pool(Candidates(), terms, 0), set(), set(), []
        speakers = {row.speaker for row in found.rows.values()}
        who = named(question.query, speakers)
        asked = first_person(question.query, who)
        vector, worded = await asyncio.gather(
            self._query_vector(scope, asked, deadline, ended), self._worded(scope, filters, found, terms, quoting, deadline, ended)
        )
        near = partial(self._search.by_meaning, scope, filters, found, terms=terms, named=worded.kinds)
        candidates = await deadline.before(near(vector=vector, seconds=deadline.left()))
        if vector and found.nothing_near and await deadline.before(self._changed(vector)):  # it follows, and asks once more
            vector = await self._query_vector(scope, asked, deadline, ended)
            candidates = await deadline.before(near(vector=vector, seconds=deadline.left()))
        if candidates is None:
            ended.late("meaning", "the deadline came before the search by meaning was done")
            candidates, vector = found, None
        candidates.word(worded.terms)
        filling = not (found.filled or self._archive is None or filters.episodes)  # a log's own filters are Redis's alone
        tiers = asked_for(filters.among, deep=question.deep, filling=filling)
        below = await self._deep(scope, filters, vector, quoting, tiers, deadline, ended) if tiers else Deep()
        if filling and (below.looked_at > sum(found.memories.values()) or below.rows.keys() - candidates.rows.keys()):
            ended.late("words", "Redis is being filled from the archive: what it lacks was found by meaning only")
        candidates.add(below)
        counted = found.with_term if worded.counted is None else {**found.with_term, LONG: worded.counted}
        for one in sorted(found.cut):
            ended.late(one, f"the search by {one} took too long and has not looked at everything")
        ways = (("words", terms), ("meaning", vector), (ARCHIVE, tiers and vector))
        searched = [name for name, used in ways if used]
        pool = Pool(candidates, terms, sum(found.memories.values()) + below.looked_at, counted, self._layouts)
        speaking = pool.layout.said_by.keys()
        who = (who & speaking) | named(question.query, speaking - speakers)  # also who has said none of the words
        return pool, who, found.quoted | worded.quoted | below.quoted, searched

    async def _worded(
        self, scope: Scope, filters: Filters, found: Found, terms: Sequence[str], quoting: str, deadline: Deadline, ended: Ended
    ) -> Worded:
        """What of the tier long has one of the words, or is the question to the letter."""
        if not (found.long and self._archive):
            return Worded()
        try:
            worded = await deadline.before(long_by_words(self._archive, scope, filters, terms, quoting))
        except ArchiveUnavailable:
            ended.late(LONG, "the archive does not answer: what has its content there was found by meaning only")
            return Worded()
        if worded is None:
            ended.late(LONG, "the deadline came before the search by words in the archive was done")
            return Worded()
        return worded

    async def _deep(
        self, scope: Scope, filters: Filters, vector: QueryVector | None, quoting: str, tiers: Collection[Tier],
        deadline: Deadline, ended: Ended,
    ) -> Deep:  # fmt: skip
        """What is in these tiers of the archive word for word, and the nearest there."""
        if self._archive is None:
            return Deep()
        ended.cold = True
        try:
            found = await nearest(self._archive, scope, filters, vector, quoting, tiers=tiers, seconds=deadline.left())
        except ArchiveUnavailable:
            ended.late(ARCHIVE, "the archive does not answer: what is only there was not searched")
            return Deep()
        if found.cut:
            ended.late(ARCHIVE, "the time was over before all of the archive was looked at")
        return found

    async def _changed(self, vector: QueryVector) -> bool:
        """Whether another model's vectors are read by now than the one that this was made by."""
        with contextlib.suppress(TimeoutError):  # a model that is slow to open is opened by the follower meanwhile
            async with asyncio.timeout(FOLLOW_SECONDS_MAX):
                await self._follow()
        return model_of(self._cache) != vector.model

    async def _query_vector(self, scope: Scope, query: str, deadline: Deadline, ended: Ended) -> QueryVector | None:
        if self._cache is None:
            ended.reasons.append("no embedding model is configured: words only")
            return None
        return await self._embedded(self._cache, scope, query, deadline, ended)

    @inside(telemetry.EMBED_QUERY)
    async def _embedded(
        self, cache: EmbeddingCache, scope: Scope, query: str, deadline: Deadline, ended: Ended
    ) -> QueryVector | None:
        model = cache.embedder
        try:
            vectors = await deadline.before(cache.embed([scope], [query], by=model))
        except ModelFailed as error:
            ended.reasons.append(f"the embedding model failed ({error.code}): words only")
            return None
        if vectors is None:
            ended.late("meaning", "the deadline came before the question had its vector: words only")
            return None
        return QueryVector(vectors[0], model.model)

    @inside(telemetry.RERANK)
    async def _reranked(
        self, scope: Scope, query: str, ranked: list[Ranked], deadline: Deadline, ended: Ended
    ) -> list[Ranked]:
        """The candidates after a cross-encoder has read the best of them; as they were when it has not, and says why.

        One more round trip, for what it is to read, and the model's own time.
        """
        if self._reranker is None:
            ended.reasons.append("no reranker is configured: the order is that of the other signals")
            return ranked
        kinds = {one.memory_id: one.kind for one in ranked[:RERANK_CANDIDATES]}
        read = await self._whole(scope, await self._records.visible_many(scope, kinds), deadline, ended)
        texts = {one: memory.content for one, memory in read.items()}
        left = deadline.left()
        seconds = self._rerank_seconds if left is None else min(left, self._rerank_seconds)
        try:
            async with asyncio.timeout(seconds):
                found = await self._reranker.relevance(query, list(texts.values())) if texts else []
        except Failed as error:
            ended.reasons.append(f"{error}: the order is that of the other signals")
            return ranked
        except TimeoutError:
            late = f"the reranker has not answered within {seconds:g} s"
            ended.reasons.append(f"{late}: the order is that of the other signals")
            return ranked
        return with_relevance(ranked, dict(zip(texts, found, strict=True)))

    async def _diverse(
        self, scope: Scope, best: Sequence[Ranked], rows: Mapping[str, Brief], diversity: float
    ) -> list[Ranked]:
        """The best in another order: none that repeats what came before it. What is quoted stays in front."""
        some, others = best[:DIVERSE_MAX], best[DIVERSE_MAX:]
        vectors = await self._records.vectors(scope, {one.memory_id: one.kind for one in some})
        alike = likeness([vectors.get(one.memory_id) for one in some], [rows[one.memory_id].terms for one in some])
        scores = [min(one.score, QUOTE_WEIGHT / 2) for one in some]
        order, told = diverse(scores, alike, diversity)
        chosen = [
            msgspec.structs.replace(some[at], why={**some[at].why, "alike": Part(like, diversity, 0.0)})
            for at, like in zip(order, told, strict=True)
        ]
        quoted = [one for one in chosen if "quote" in one.found_by]
        return [*quoted, *(one for one in chosen if "quote" not in one.found_by), *others]

    # --- a page of it ---------------------------------------------------------------------------------------------

    @inside(telemetry.FETCH)
    async def _answer(
        self, scope: Scope, order: Order, token: str, first: int, limit: int, deadline: Deadline
    ) -> Recalled:
        """The hits from a place on, read as they are now: what was forgotten meanwhile makes room for the next, and so does what
        is only in an archive that does not answer. All contents that are only there come in one round trip."""
        place, hits, recall_id = first, list[Hit](), ""
        ended = Ended([order.degraded] if order.degraded else [], set(order.missing))
        while len(hits) < limit and place < len(order.found):
            some = order.found[place : place + limit - len(hits) + SPARE]
            kinds = {one.memory_id: one.kind for one in some}
            read, noted = await self._records.get_recalled(scope, kinds, used=limit - len(hits))
            memories = await self._whole(scope, read, deadline, ended)
            if order.deep and (cold := [one for one in kinds if one not in read]):
                memories = {**memories, **await self._cold(scope, cold, deadline, ended)}
            recall_id = recall_id or noted
            for one in some:
                if len(hits) == limit:
                    break
                place += 1
                if memory := memories.get(one.memory_id):
                    shared = not scope.holds(memory.scope)
                    hits.append(Hit(memory=memory, score=one.score, why=one.why, found_by=one.found_by, shared=shared))
        tell({telemetry.RECORD_COUNT: len(hits), telemetry.TIERS: sorted({one.memory.tier for one in hits})})
        return Recalled(
            hits=hits, searched=order.searched, profile=order.profile, degraded="; ".join(ended.reasons),
            missing=sorted(ended.missing),
            next=cursor_at(token, place, order.found) if token else "", recall_id=recall_id,
        )  # fmt: skip

    async def _cold(
        self, scope: Scope, memory_ids: Sequence[str], deadline: Deadline, ended: Ended
    ) -> Mapping[str, Memory]:
        """Those that are only in the archive and that the scope sees: of one that has a record or a tombstone in Redis, that
        knows better."""
        try:
            found = await deadline.before(self._wholes.cold(scope, memory_ids))
        except ArchiveUnavailable:
            found = None
        if found is None:
            ended.late(ARCHIVE, "the archive has not answered in time: memories that are only there are left out")
        return found or {}

    async def _whole(
        self, scope: Scope, memories: Mapping[str, Memory], deadline: Deadline, ended: Ended
    ) -> Mapping[str, Memory]:
        """The memories with their contents; without those whose content cannot be had now."""
        try:
            found = await deadline.before(self._wholes.read(memories.values()))
            why = "the deadline came before contents were read from the archive"
        except ArchiveUnavailable:
            found, why = None, "the archive does not answer"
        if found is not None:
            return {key: one for key, one in found.items() if one.seen_from(scope)}
        ended.late(LONG, f"{why}: memories whose content is only there are left out")
        return {key: one for key, one in memories.items() if not one.light}


def _needed(question: Question) -> int:
    """How many of the best are looked at to answer."""
    if question.per_session or question.cursor is not None:
        return RECALL_PAGES_HITS_MAX
    looked_at = max(DIVERSE_MAX if question.diversity else 0, RERANK_CANDIDATES if question.rerank else 0)
    return max(question.limit, looked_at) + SPARE


def _sees_shared(scope: Scope, among: Narrowing) -> bool:
    """Whether what others share with the scope's agent is asked for: not in a session, nor where an agent is named."""
    return bool(scope.agent) and not scope.session and among.session is None and among.agent is None


async def _stay() -> None:
    return None


def _digest(scope: Scope, question: Question) -> str:
    """Of whose question it is and what it asks, whichever page of it."""
    asked = msgspec.structs.replace(question, cursor=None, limit=1)
    return hashlib.sha256(msgspec.json.encode((scope, asked), order="deterministic")).hexdigest()[:32]
