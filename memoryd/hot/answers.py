"""What searches answer, if they have looked at everything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.errors import Overloaded
from memoryd.hot.client import hot_errors

RETRY_AFTER_SECONDS = 5


async def rows_of_each(redis: Redis, queries: Iterable[list[Any]]) -> list[Sequence[Any]]:
    """What each query has found, in one round trip. Raises Overloaded."""
    with hot_errors("search"):
        async with redis.pipeline(transaction=False) as pipe:
            for query in queries:
                pipe.execute_command(*query)
            answers = await pipe.execute()
    return [whole(one, "search")[b"results"] for one in answers]


def whole(answer: Any, doing: str) -> Any:
    """A search's answer, if it has looked at everything. Raises Overloaded when Redis has cut it short."""
    if was_cut(answer):
        raise Overloaded(f"{doing}: Redis was too busy to look at everything", retry_after_seconds=RETRY_AFTER_SECONDS)
    return answer


def was_cut(answer: Any) -> bool:
    """Whether Redis has ended a search before it had looked at everything."""
    # By default Redis gives what it has found until then, with a warning that is easily overlooked.
    return bool(answer[b"warning"])


def id_of(row: Any) -> str:
    """The id of the memory that a row is of."""
    return str(row[b"id"][-names.ID_CHARS :].decode())
