"""The atomic steps and Redis's memory of them: it forgets scripts with a restart, or when somebody tells it to."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

import memoryd.hot.scripts
from memoryd.config import Settings
from memoryd.hot import scripts
from memoryd.hot.records import Records
from memoryd.hot.storing import HotStoring
from memoryd.keys import REQUESTS, Keys
from tests.integration.tools import new_fact


async def test_steps_that_redis_has_forgotten_are_repeated_in_order_and_once(redis: Redis) -> None:
    """Each is sent again with its text; what had its effect already is not among them."""
    names = [f"r-{number}" for number in range(5)]
    await redis.script_flush()

    answers = await scripts.claim.many(redis, [([f"aether:claim:{name}", REQUESTS], [5, b"", name, ""]) for name in names])

    entries: Any = await redis.xrange(REQUESTS)
    assert [fields[b"id"].decode() for _, fields in entries] == names
    assert [entry for entry, _ in entries] == answers


async def test_a_step_that_redis_knows_is_one_round_trip(redis: Redis) -> None:
    """Nobody asks first whether it is known."""
    call = (["aether:fence:{00}"], [1])
    await scripts.fence.many(redis, [call])
    await redis.config_resetstat()

    await scripts.fence.many(redis, [call, call])

    assert {name for name in await redis.info("commandstats") if "script" in name or "eval" in name} == {
        "cmdstat_evalsha"
    }


async def test_what_was_repeated_is_confirmed_only_when_it_is_on_disk(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first WAITAOF had no write to wait for, so that its yes says nothing about the repeat."""
    storing = HotStoring(Records(redis, Keys(settings.buckets)))
    await redis.script_flush()
    assert (await storing.store([new_fact("Ada lives in Porto.")], fsync=True))[1]

    monkeypatch.setattr(memoryd.hot.scripts, "FSYNC_TIMEOUT_SECONDS", 0.2)
    await redis.config_set("appendfsync", "no")  # whatever is written now stays off the disk
    try:
        await redis.script_flush()
        [written], fsynced = await storing.store([new_fact("Ada drinks tea.")], fsync=True)
    finally:
        await redis.config_set("appendfsync", "everysec")
    assert written.outcome == "stored"
    assert not fsynced
