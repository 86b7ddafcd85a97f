"""What a fleet knows of its jobs, in Redis: when each has run last, whether it is paused or asked for, and whose turn it is."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.clock import from_microseconds, to_microseconds
from memoryd.hot.client import hot_errors
from memoryd.hot.lease import Lease
from memoryd.limits import JOB_LEASE_SECONDS

_FACTS = ("when", "last", "paused", "asked", "note")


@dataclass(frozen=True)
class Standing:
    """How one job stands. `last`: when its last run began, or since when it is known."""

    when: str = ""
    last: datetime | None = None
    ran: bool = False
    paused: bool = False
    asked: str = ""
    """The id of the run that somebody has asked for, and what it is given."""


class JobStates:
    """The jobs of one Redis: one hash, with some fields of each job."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._redis: Any = redis

    async def all(self) -> Mapping[str, Standing]:
        """Every job that some process has had."""
        with hot_errors("look at the jobs"):
            fields = {name.decode(): raw.decode() for name, raw in (await self._redis.hgetall(names.JOBS)).items()}
        jobs = sorted({name.partition(":")[2] for name in fields})
        return {job: _standing({fact: fields.get(f"{fact}:{job}", "") for fact in _FACTS}) for job in jobs}

    async def of(self, job: str) -> Standing:
        """One of them."""
        with hot_errors("look at the jobs"):
            raw = await self._redis.hmget(names.JOBS, [f"{fact}:{job}" for fact in _FACTS])
        return _standing({fact: (one or b"").decode() for fact, one in zip(_FACTS, raw, strict=True)})

    async def known(self, job: str, when: str, now: datetime) -> None:
        """A process has this job; from now on it is known how long it has not run."""
        with hot_errors("tell of a job"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(names.JOBS, f"when:{job}", when)
                pipe.hsetnx(names.JOBS, f"last:{job}", f"since {to_microseconds(now)}")
                await pipe.execute()

    async def begun(self, job: str) -> None:
        """What was asked for is under way: nobody else begins with it."""
        with hot_errors("begin a job"):
            await self._redis.hdel(names.JOBS, f"asked:{job}")

    async def ran(self, job: str, started_at: datetime) -> None:
        """It has run, however that ended."""
        with hot_errors("end a job"):
            await self._redis.hset(names.JOBS, f"last:{job}", f"ran {to_microseconds(started_at)}")

    async def pause(self, job: str) -> None:
        """It is not due any more, until it is resumed."""
        with hot_errors("pause a job"):
            await self._redis.hset(names.JOBS, f"paused:{job}", "1")

    async def resume(self, job: str) -> None:
        """It is due again. What it has missed it does once."""
        with hot_errors("resume a job"):
            await self._redis.hdel(names.JOBS, f"paused:{job}")

    async def ask(self, job: str, given: str) -> str:
        """Asks for a run; its id. One that somebody has asked for and nobody has begun is replaced."""
        run = secrets.token_hex(8)
        with hot_errors("ask for a job"):
            await self._redis.hset(names.JOBS, f"asked:{job}", f"{run} {given}")
        return run

    async def asked_for(self, job: str, run: str) -> bool:
        """Whether this run is asked for, and nobody has begun it."""
        return (await self.of(job)).asked.partition(" ")[0] == run

    async def withdraw(self, job: str, run: str) -> bool:
        """Takes back what was asked for; False when it is begun by now."""
        if not await self.asked_for(job, run):
            return False
        await self.begun(job)
        return True

    async def note(self, job: str, what: str) -> None:
        """Something that the next run has to know, if this one dies; empty: nothing."""
        with hot_errors("note something of a job"):
            if what:
                await self._redis.hset(names.JOBS, f"note:{job}", what)
            else:
                await self._redis.hdel(names.JOBS, f"note:{job}")

    async def noted(self, job: str) -> str:
        """What the last run has noted."""
        with hot_errors("look at the jobs"):
            return (await self._redis.hget(names.JOBS, f"note:{job}") or b"").decode()

    async def holder(self, job: str) -> str:
        """The process that is at a job; empty when none is."""
        with hot_errors("look at the jobs"):
            return (await self._redis.get(names.job_lease(job)) or b"").decode().rpartition(":")[0]

    def turn(self, job: str, name: str) -> Lease:
        """The right to be the one that does it."""
        return Lease(
            self._redis, name, key=names.job_lease(job), fence_key=names.JOBS_FENCE, seconds=JOB_LEASE_SECONDS,
            what="take a turn at a job",
        )  # fmt: skip


def _standing(facts: Mapping[str, str]) -> Standing:
    how, _, moment = facts["last"].partition(" ")
    last = from_microseconds(int(moment)) if moment else None
    return Standing(facts["when"], last, how == "ran", bool(facts["paused"]), facts["asked"])
