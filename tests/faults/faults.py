"""The faults: each begins, lasts, and heals what it has broken."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from memoryd.keys import FOLLOWER_PLACE
from tests.faults.lab import Lab
from tests.faults.model import Model
from tests.faults.plan import Fault
from tests.faults.proxy import Link, Proxy

UNKNOWN_TOKEN = '{"_data": "8263A1B2C3000000012B022C0100296E5A1004"}'
HEARD_SECONDS = 0.5  # longer than any delay of the proxy, and than a busy laboratory takes for what has arrived
JUMPS = (-3600, -60, -2, 2, 60, 3600)  # seconds
REPEATED = 20  # journal entries that are copied at a time


async def inflict(lab: Lab, model: Model, fault: Fault) -> None:
    """Waits until it is time, then lets it happen."""
    await asyncio.sleep(fault.at)
    await _BY_KIND[fault.kind](lab, model, fault)


# --- processes --------------------------------------------------------------------------------------------------------
async def _kill_service(lab: Lab, model: Model, fault: Fault) -> None:
    name = lab.named(fault.kind.partition("_")[0], fault.target)
    lab.kill(name)
    await asyncio.sleep(fault.seconds)
    lab.bring_back(name)


async def _pause_service(lab: Lab, model: Model, fault: Fault) -> None:
    service = lab.services[lab.named(fault.kind.partition("_")[0], fault.target)]
    service.pause()
    await asyncio.sleep(fault.seconds)
    service.resume()


async def _kill_redis(lab: Lab, model: Model, fault: Fault) -> None:
    async with lab.redis_lock:
        await _killed(lab, model)
        await asyncio.sleep(fault.seconds)
        await lab.redis_server.start()


async def _cut_redis_power(lab: Lab, model: Model, fault: Fault) -> None:
    """A killed process leaves what it wrote to the kernel; without power, what was not fsynced is gone too."""
    async with lab.redis_lock:
        await _killed(lab, model)
        lab.lose_what_no_fsync_confirmed(fault.target / 6)
        await asyncio.sleep(fault.seconds)
        await lab.redis_server.start()


async def _killed(lab: Lab, model: Model) -> None:
    """Kills Redis; returns when the answers that it had sent have been heard: what they confirm must not be cut off."""
    model.redis_killed(time.monotonic())
    lab.redis_server.kill()
    await asyncio.sleep(HEARD_SECONDS)
    model.redis_killed(time.monotonic())  # what was heard since may be lost as well


async def _pause_redis(lab: Lab, model: Model, fault: Fault) -> None:
    async with lab.redis_lock:
        lab.redis_server.pause()
        await asyncio.sleep(fault.seconds)
        lab.redis_server.resume()


async def _fill_redis(lab: Lab, model: Model, fault: Fault) -> None:
    """Redis is at its maxmemory: writes are refused, reads go on."""
    async with lab.redis_lock:
        await lab.redis.config_set("maxmemory", 1)
        await asyncio.sleep(fault.seconds)
        await lab.redis.config_set("maxmemory", 0)


async def _fill_redis_disk(lab: Lab, model: Model, fault: Fault) -> None:
    """Redis refuses writes while it cannot keep them; with `always` it ends itself."""
    async with lab.redis_lock:
        if await lab.fill_redis_disk(fault.seconds, 100 * fault.target):
            model.redis_killed(time.monotonic())


async def _fill_mongo_disk(lab: Lab, model: Model, fault: Fault) -> None:
    async with lab.mongo_lock:
        member = await lab.mongo_set.primary()
        if member is not None:
            await lab.fill_mongo_disk(member, fault.seconds)


async def _refuse(lab: Lab, model: Model, fault: Fault) -> None:
    """Somebody gave a collection a validator that nothing passes."""
    name = ("memories", "versions")[fault.target % 2]
    async with lab.mongo_lock:
        with contextlib.suppress(PyMongoError):
            async with lab.refusing(name):
                await asyncio.sleep(fault.seconds)


async def _kill_mongo(lab: Lab, model: Model, fault: Fault) -> None:
    async with lab.mongo_lock:
        member = await lab.mongo_set.primary()
        if member is not None:
            member.kill()
            await asyncio.sleep(fault.seconds)
            await member.start()


async def _pause_mongo(lab: Lab, model: Model, fault: Fault) -> None:
    async with lab.mongo_lock:
        member = await lab.mongo_set.primary()
        if member is not None:
            member.pause()
            await asyncio.sleep(fault.seconds)
            member.resume()


async def _step_down(lab: Lab, model: Model, fault: Fault) -> None:
    async with lab.mongo_lock:
        await lab.mongo_set.step_down()


# --- the network ------------------------------------------------------------------------------------------------------
def _proxy(lab: Lab, fault: Fault) -> Proxy:
    return lab.redis_proxy if fault.kind.startswith("redis") else lab.mongo_proxy


def _each_link(act: Callable[[Link], None]) -> Callable[[Lab, Model, Fault], Awaitable[None]]:
    async def fault_of(lab: Lab, model: Model, fault: Fault) -> None:
        # All connections, or every second, or every third.
        _proxy(lab, fault).each(act, lambda links: links[:: fault.target % 3 + 1])

    return fault_of


async def _half_close(lab: Lab, model: Model, fault: Fault) -> None:
    _proxy(lab, fault).each(Link.half_close)
    await asyncio.sleep(fault.seconds)
    _proxy(lab, fault).each(Link.close)


async def _delay(lab: Lab, model: Model, fault: Fault) -> None:
    _proxy(lab, fault).delay = 0.02 + fault.seconds / 10
    await asyncio.sleep(fault.seconds)
    _proxy(lab, fault).delay = 0.0


async def _deafen(lab: Lab, model: Model, fault: Fault) -> None:
    _proxy(lab, fault).go_deaf()
    await asyncio.sleep(fault.seconds)
    _proxy(lab, fault).each(Link.reset)  # what was on its way is gone
    _proxy(lab, fault).heal()


# --- delivery ---------------------------------------------------------------------------------------------------------
async def _redeliver(lab: Lab, model: Model, fault: Fault) -> None:
    """Copies of entries of some journals come again, later and behind newer ones, for as long as it lasts."""
    until = time.monotonic() + fault.seconds
    while True:
        for bucket in lab.keys.all_buckets():
            with contextlib.suppress(RedisError):
                journal: str = lab.keys.journal(bucket)
                recent: Any = await lab.redis.xrevrange(journal, count=REPEATED)
                for _, fields in recent:
                    await lab.redis.xadd(journal, fields)
        if time.monotonic() > until:
            return
        await asyncio.sleep(0.1)


async def _reassign(lab: Lab, model: Model, fault: Fault) -> None:
    """What someone works on is given to others as well, in any order."""
    until = time.monotonic() + fault.seconds
    while time.monotonic() < until:
        with contextlib.suppress(RedisError):
            await lab.age_pending()
        await asyncio.sleep(0.05)


async def _jump(lab: Lab, model: Model, fault: Fault) -> None:
    """A clock that is wrong by up to an hour, and right again."""
    name = lab.named(fault.kind.partition("_")[0], fault.target)
    lab.set_clock(name, JUMPS[fault.target])
    await asyncio.sleep(fault.seconds)
    lab.set_clock(name, 0)


async def _lose_history(lab: Lab, model: Model, fault: Fault) -> None:
    """MongoDB's oplog rolls over while no sync runs: the place is one that it has known."""
    names = [name for name in lab.services if name.startswith("sync")]
    for name in names:
        lab.kill(name)
    async with lab.mongo_lock:
        await lab.mongo_set.roll_oplog_over()
    for name in names:
        lab.bring_back(name)


async def _lose_place(lab: Lab, model: Model, fault: Fault) -> None:
    """The resume token is one that MongoDB does not know; the next follower meets it."""
    names = [name for name in lab.services if name.startswith("sync")]
    for name in names:
        lab.kill(name)
    with contextlib.suppress(RedisError):
        await lab.redis.hset(FOLLOWER_PLACE, mapping={"token": UNKNOWN_TOKEN, "saved_at": 1})
    await asyncio.sleep(fault.seconds)
    for name in names:
        lab.bring_back(name)


_BY_KIND: dict[str, Callable[[Lab, Model, Fault], Awaitable[None]]] = {
    "daemon_kill": _kill_service,
    "daemon_pause": _pause_service,
    "sync_kill": _kill_service,
    "sync_pause": _pause_service,
    "redis_kill": _kill_redis,
    "redis_power": _cut_redis_power,
    "redis_pause": _pause_redis,
    "redis_full": _fill_redis,
    "mongo_kill": _kill_mongo,
    "mongo_pause": _pause_mongo,
    "mongo_stepdown": _step_down,
    "redis_cut": _each_link(Link.close),
    "redis_reset": _each_link(Link.reset),
    "redis_half_close": _half_close,
    "redis_delay": _delay,
    "redis_deaf": _deafen,
    "mongo_cut": _each_link(Link.close),
    "mongo_reset": _each_link(Link.reset),
    "mongo_half_close": _half_close,
    "mongo_delay": _delay,
    "mongo_deaf": _deafen,
    "redis_disk_full": _fill_redis_disk,
    "mongo_disk_full": _fill_mongo_disk,
    "mongo_refuses": _refuse,
    "daemon_clock": _jump,
    "sync_clock": _jump,
    "redeliver": _redeliver,
    "reassign": _reassign,
    "place_lost": _lose_place,
    "history_lost": _lose_history,
}
