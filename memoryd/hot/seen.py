"""What has been seen, in Bloom filters: contents of memories, and questions. A filter forgets nothing and grows.

An entry is a digest of a scope and a text, so that nobody can ask for another scope's. What lies inside several scopes (a
session's memory is its agent's and its project's too) has an entry for each: any of them is answered by one look. The text
alone chooses the bucket. A project's questions have a list beside the filter, of such digests with their times, to look at
exactly.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded
from memoryd.keys import Keys
from memoryd.limits import (
    FILTER_CAPACITY,
    FILTER_ERROR_RATE,
    QUESTIONS_MAX,
    QUESTIONS_TOGETHER_MAX,
    QUESTIONS_TTL_SECONDS,
)
from memoryd.model.scope import Scope
from memoryd.model.seen import FilterStats
from memoryd.together import Together

Command = tuple[Encoded, ...]
Asked = tuple[Scope, str, int]
"""A question: in which scope, its hash, and when (microseconds)."""


def entry(scope: Scope, text_hash: str) -> str:
    """What stands in a filter for a text in a scope."""
    parts = (scope.tenant, scope.project, scope.agent, scope.session, text_hash)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def _entries(scope: Scope, text_hash: str) -> list[str]:
    """One for every scope that sees what is stored in this one."""
    agents, sessions = dict.fromkeys(("", scope.agent)), dict.fromkeys(("", scope.session))
    seeing = [Scope(scope.tenant, scope.project, agent, session) for agent in agents for session in sessions]
    return [entry(one, text_hash) for one in seeing]


def noting(keys: Keys, contents: Iterable[tuple[Scope, str]]) -> list[Command]:
    """The commands that put contents (their scopes and hashes) into the filters. They run before the contents are stored:
    who dies between leaves an entry too many, which is harmless, and never one too few."""
    items: dict[str, list[str]] = {}
    for scope, content_hash in contents:
        items.setdefault(keys.dedup(keys.bucket_of_hash(content_hash)), []).extend(_entries(scope, content_hash))
    return [_insert(place, some) for place, some in items.items()]


def _insert(place: str, items: Sequence[str]) -> Command:
    return ("BF.INSERT", place, "CAPACITY", FILTER_CAPACITY, "ERROR", FILTER_ERROR_RATE, "ITEMS", *items)


class SeenFilters:
    """The filters of one Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis: Any = redis
        self._keys = keys
        self._together = Together(self._note, at_most=QUESTIONS_TOGETHER_MAX)

    async def has_content(self, scope: Scope, content_hash: str) -> bool:
        """Whether the scope has probably held this content; False is sure."""
        return await self._has(self._keys.dedup(self._keys.bucket_of_hash(content_hash)), entry(scope, content_hash))

    async def has_question(self, scope: Scope, question_hash: str) -> bool:
        """Whether the scope was probably asked this; False is sure."""
        return await self._has(self._keys.asked(self._keys.bucket_of_hash(question_hash)), entry(scope, question_hash))

    async def _has(self, place: str, item: str) -> bool:
        with hot_errors("look for what was seen"):
            return bool(await self._redis.execute_command("BF.EXISTS", place, item))

    async def note_question(self, scope: Scope, question_hash: str, *, now: int) -> None:
        """Puts a question into the filter and its project's list, with those that others ask at the same time."""
        await self._together((scope, question_hash, now))

    async def _note(self, questions: Sequence[Asked]) -> Sequence[None]:
        filtered, listed = defaultdict[str, list[str]](list), defaultdict[str, dict[str, int]](dict)
        for scope, question_hash, now in questions:
            entries = _entries(scope, question_hash)
            filtered[self._keys.asked(self._keys.bucket_of_hash(question_hash))] += entries
            listed[self._keys.questions(scope)] |= dict.fromkeys(entries, now)
        with hot_errors("note a question"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for place, entries in filtered.items():
                    pipe.execute_command(*_insert(place, entries))
                for place, times in listed.items():
                    pipe.zadd(place, times, gt=True)
                    pipe.zremrangebyrank(place, 0, -QUESTIONS_MAX - 1)
                    pipe.expire(place, QUESTIONS_TTL_SECONDS)
                await pipe.execute()
        return [None] * len(questions)

    async def asked_at(self, scope: Scope, question_hash: str) -> int | None:
        """When the scope was asked this last, as far as its project's list reaches."""
        with hot_errors("look for a question"):
            at = await self._redis.zscore(self._keys.questions(scope), entry(scope, question_hash))
        return None if at is None else int(at)

    async def stats(self) -> dict[str, FilterStats]:
        """How full the filters are, of contents and of questions."""
        buckets = self._keys.all_buckets()
        places = [self._keys.dedup(one) for one in buckets] + [self._keys.asked(one) for one in buckets]
        with hot_errors("stats"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for place in places:
                    pipe.execute_command("BF.INFO", place)
                answers = await pipe.execute(raise_on_error=False)
            infos = [_info(one) for one in answers]
        return {"contents": _together(infos[: len(buckets)]), "questions": _together(infos[len(buckets) :])}


def _info(answer: Any) -> Mapping[bytes, int]:
    """What Redis says of one filter; nothing of one that is not there yet."""
    if isinstance(answer, ResponseError):
        return {}
    if isinstance(answer, Exception):
        raise answer
    return dict(answer)


def _together(infos: Sequence[Mapping[bytes, int]]) -> FilterStats:
    there = [one for one in infos if one]
    return FilterStats(
        items=sum(one[b"Number of items inserted"] for one in there),
        capacity=sum(one[b"Capacity"] for one in there),
        fill=max((one[b"Number of items inserted"] / one[b"Capacity"] for one in there), default=0.0),
        layers=max((one[b"Number of filters"] for one in there), default=0),
        bytes=sum(one[b"Size"] for one in there),
        error_rate=FILTER_ERROR_RATE,
    )
