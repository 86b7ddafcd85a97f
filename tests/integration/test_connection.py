"""Connections that take what has come at once: what is answered, refused, stuck or cut is as with redis-py's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio import connection as of_redis_py
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from memoryd.hot.client import open_redis
from memoryd.local.servers import Servers
from tests.waiting import eventually


@pytest.fixture
async def client(servers: Servers) -> AsyncIterator[Redis]:
    async with open_redis(servers.redis_url, connections=4) as redis:
        await redis.ping()
        yield redis


@contextmanager
def timers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The timers that redis-py starts in the block."""
    started: list[float] = []
    timeout = of_redis_py.async_timeout  # type: ignore[attr-defined]

    def noted(seconds: float) -> Any:
        started.append(seconds)
        return timeout(seconds)

    with monkeypatch.context() as patched:
        patched.setattr(of_redis_py, "async_timeout", noted)
        yield started


async def test_a_pipeline_starts_a_timer_for_what_it_waits_for_only(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred answers come in a few pieces. This fails when a redis-py no longer has what we build on."""
    async with client.pipeline(transaction=False) as pipe:
        for number in range(100):
            pipe.echo(str(number))
        with timers(monkeypatch) as started:
            answers = await pipe.execute()
    assert answers == [str(number).encode() for number in range(100)]
    assert 1 <= len(started) < 10


async def test_what_is_refused_in_a_pipeline_is_one_answer_of_it(client: Redis) -> None:
    async with client.pipeline(transaction=False) as pipe:
        pipe.echo("one")
        pipe.execute_command("NO-SUCH-COMMAND")
        pipe.echo("three")
        one, refused, three = await pipe.execute(raise_on_error=False)
    assert (one, three) == (b"one", b"three")
    assert isinstance(refused, ResponseError)
    assert await client.echo("four") == b"four"  # nothing is left in the connection


async def test_answers_in_several_pieces_are_whole(client: Redis) -> None:
    """Larger than any read of a socket, so that most of them end in the middle of one."""
    values = [bytes([65 + number % 26]) * 70_001 for number in range(20)]
    async with client.pipeline(transaction=False) as pipe:
        for value in values:
            pipe.echo(value)
        assert await pipe.execute() == values


async def test_a_connection_that_was_cut_is_replaced(client: Redis) -> None:
    await client.client_kill_filter(_id=str(await client.client_id()), skipme=False)
    assert await client.echo("still here") == b"still here"


async def test_more_callers_than_connections_wait_for_one(client: Redis) -> None:
    answers = await asyncio.gather(*(client.echo(str(number)) for number in range(50)))
    assert answers == [str(number).encode() for number in range(50)]
    assert len(client.connection_pool._available_connections) <= 4


@pytest.mark.parametrize("size", [10, 8_000_000], ids=["it does not answer", "it does not even read"])
async def test_a_redis_that_is_stuck_is_given_up(own_servers: Servers, size: int) -> None:
    async with open_redis(f"{own_servers.redis_url}?socket_timeout=0.3") as redis:
        await eventually(lambda: answers(redis), what="it answers in time")
        assert own_servers.redis
        own_servers.redis.pause()
        try:
            with pytest.raises(RedisTimeoutError):
                await redis.echo(b"x" * size)
        finally:
            own_servers.redis.resume()
        await eventually(lambda: answers(redis), what="it answers again")


async def answers(redis: Redis) -> bool:
    """Whether it answers this in its time, and nothing else."""
    try:
        return bool(await redis.echo("again") == b"again")
    except RedisTimeoutError:
        return False


async def test_nothing_is_open_behind_a_closed_client(servers: Servers) -> None:
    """What is under way when a client is closed is sent again by redis-py, on a connection that nobody would ever close."""
    redis = open_redis(servers.redis_url)
    waiting: asyncio.Future[object] = asyncio.ensure_future(redis.blpop(["nothing comes here"], timeout=1))

    async def waits() -> bool:
        return any(one["cmd"] == "blpop" for one in await other.client_list())

    async with open_redis(servers.redis_url) as other:
        await eventually(waits, what="the command waits")
        await redis.aclose()
        await asyncio.wait([waiting])
        assert not [one for one in redis.connection_pool._available_connections if one.is_connected]

    with pytest.raises(RedisConnectionError, match="closed"):
        await redis.ping()
