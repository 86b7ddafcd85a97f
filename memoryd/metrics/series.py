"""Metrics in RedisTimeSeries: every value for two hours, what each minute comes to for a day, each hour for a month.

Redis itself makes the minutes and the hours, by rules. A time is the begin of a period that is the same for all processes, so
that what several of them have done at once adds up in one series, and of what they see the highest counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from memoryd.errors import HotUnavailable
from memoryd.hot.client import hot_errors
from memoryd.keys import Keys
from memoryd.limits import (
    METRIC_SERIES_MAX,
    METRICS_HOURS_SECONDS,
    METRICS_MAKE_MAX,
    METRICS_MINUTES_SECONDS,
    METRICS_PERIOD_SECONDS,
    METRICS_RAW_SECONDS,
    METRICS_RENEW_SECONDS,
    METRICS_TTL_SECONDS,
    METRICS_WRITE_SECONDS,
)
from memoryd.metrics.periods import Measured
from memoryd.model.scope import to_tag
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.logs import get_logger
from memoryd_telemetry.metrics import measure

log = get_logger("memoryd.metrics")

CHUNK_BYTES = 512  # Redis's 4 KB are never filled by a series of two hours
RAW = "raw"
COARSER = {"minute": (60, METRICS_MINUTES_SECONDS), "hour": (3600, METRICS_HOURS_SECONDS)}
ADDS_UP = frozenset({"increase", "count", "sum"})

Command = tuple[Any, ...]


@dataclass(frozen=True)
class Series:
    """One number of one metric, with its labels."""

    keys: Keys
    service: str
    measured: Measured
    shows: str
    """Which of the metric's numbers: increase, level, count, p95 …"""

    @property
    def key(self) -> str:
        """Where every value is."""
        return self._key(RAW)

    def made(self) -> Iterator[Command]:
        """The commands that make it, those that are made of it, and the rules; again, they do nothing but lengthen its life."""
        adds = self.shows in ADDS_UP
        yield self._made(RAW, METRICS_RAW_SECONDS, "sum" if adds else "max")
        yield "EXPIRE", self.key, METRICS_TTL_SECONDS
        for kept, (seconds, retention) in COARSER.items():
            for how in ("sum",) if adds else ("avg", "max"):
                key = self._key(f"{kept}.{how}")
                yield self._made(f"{kept}.{how}", retention, "last", "kept", kept, "by", how)
                yield "TS.CREATERULE", self.key, key, "AGGREGATION", how, seconds * 1000
                yield "EXPIRE", key, METRICS_TTL_SECONDS

    def _made(self, kept: str, retention_seconds: int, policy: str, *labels: str) -> Command:
        about = {"metric": self.measured.metric, "service": self.service, "shows": self.shows, **self.measured.labels}
        described = [part for pair in about.items() for part in pair]
        return (
            "TS.CREATE", self._key(kept), "RETENTION", retention_seconds * 1000, "CHUNK_SIZE", CHUNK_BYTES,
            "DUPLICATE_POLICY", policy, "LABELS", *described, *(labels or ("kept", RAW)),
        )  # fmt: skip

    def _key(self, kept: str) -> str:
        labels = tuple(value for _, value in sorted(self.measured.labels.items()))
        return _key(self.keys, self.service, (self.measured.metric.removeprefix("memoryd."), self.shows, *labels), kept)


@lru_cache(4 * METRIC_SERIES_MAX)  # each is asked for in every period
def _key(keys: Keys, service: str, parts: tuple[str, ...], kept: str) -> str:
    return keys.metric(service, "-".join(map(to_tag, parts)), kept)


class SeriesSink:
    """Writes the series of one process. `redis` must not send again what it has sent: it would count twice."""

    name = "redis"

    def __init__(self, redis: Redis, keys: Keys, service: str) -> None:
        self._redis: Any = redis
        self._keys = keys
        self._service = service
        self._made: dict[str, float] = {}
        self._without = False

    async def write(self, measured: Sequence[Measured]) -> int:
        """Adds one value to each series; answers how many it has not added. Raises HotUnavailable, Overloaded, MemorydError."""
        if self._without:
            return 0
        series = [Series(self._keys, self._service, one, shows) for one in measured for shows in one.values]
        found = {one.key: one for one in series}
        try:
            async with asyncio.timeout(METRICS_WRITE_SECONDS):
                known = await self._known(found)
                return 0 if self._without else await self._add(known)
        except TimeoutError as error:
            raise HotUnavailable("keep metrics: Redis takes too long") from error

    async def _known(self, found: Mapping[str, Series]) -> Mapping[str, Series]:
        """Those of the series for which there is room; made, if they are new to this process."""
        now = time.monotonic()
        room = METRIC_SERIES_MAX - len(self._made)
        new = [key for key in found if key not in self._made]
        if len(new) > room:
            measure(telemetry.METRICS_DROPPED, len(new) - room, {telemetry.OUTCOME: "series"})
        old = [key for key in found if now - self._made.get(key, now) > METRICS_RENEW_SECONDS]
        await self._make({key: found[key] for key in (*new[:room], *old)}, now)
        return {key: one for key, one in found.items() if key in self._made}

    async def _make(self, series: Mapping[str, Series], now: float) -> None:
        names = list(series)
        for some in (names[at : at + METRICS_MAKE_MAX] for at in range(0, len(names), METRICS_MAKE_MAX)):
            answers = await self._run([command for key in some for command in series[key].made()])
            if no_such_command(answers[0]):
                self._without = True
                log.warning("metrics.not_kept", why="this Redis has no RedisTimeSeries")
                return
            self._made.update(dict.fromkeys(some, now))

    async def _add(self, known: Mapping[str, Series]) -> int:
        at = int(time.time() / METRICS_PERIOD_SECONDS) * int(METRICS_PERIOD_SECONDS * 1000)
        buckets: dict[str, list[Series]] = {}
        for key, one in known.items():
            buckets.setdefault(key.split(":")[2], []).append(one)  # one command writes to one bucket
        commands = [
            ("TS.MADD", *(part for one in some for part in (one.key, at, float(one.measured.values[one.shows]))))
            for some in buckets.values()
        ]
        lost = 0
        for some, answers in zip(buckets.values(), await self._run(commands), strict=True):
            if isinstance(answers, Exception):
                with hot_errors("keep metrics"):
                    raise answers
            for one, answer in zip(some, answers, strict=True):
                if isinstance(answer, Exception):  # the series is gone, as of a Redis that was emptied; it is made next time
                    self._made.pop(one.key, None)
                    lost += 1
        return lost

    async def _run(self, commands: Sequence[Command]) -> list[Any]:
        with hot_errors("keep metrics"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers


def no_such_command(answer: Any) -> bool:
    """Whether this Redis has no RedisTimeSeries."""
    return isinstance(answer, ResponseError) and "unknown command" in str(answer)
