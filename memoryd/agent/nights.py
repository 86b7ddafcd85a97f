"""Every night each agent's last days get their summaries, those that have none: the job `days`."""

from __future__ import annotations

import secrets
from collections import Counter
from datetime import timedelta

from memoryd.agent.days import Days
from memoryd.archive.days import days_of_agents
from memoryd.archive.store import Archive
from memoryd.clock import Clock
from memoryd.errors import ArchiveUnavailable, HotUnavailable, MemorydError, NotFound, Overloaded
from memoryd.hot.changes import Request
from memoryd.limits import DAYS_BACK_MAX
from memoryd.model.day import bounds
from memoryd_telemetry.logs import get_logger
from memoryd_telemetry.propagation import inject

log = get_logger("memoryd.days")

JOB = "days"


class Nights:
    """Makes the days of all agents of one Redis and one archive."""

    def __init__(self, days: Days, archive: Archive, clock: Clock) -> None:
        self._days = days
        self._archive = archive
        self._clock = clock

    async def run(self, given: str = "") -> dict[str, int]:
        """Makes what the last days lack; what is made already is done. Raises HotUnavailable, ArchiveUnavailable, Overloaded."""
        done = Counter({"days": 0, "made": 0, "refused": 0})
        today, _ = bounds(self._clock.now().date())
        for scope, day in await days_of_agents(self._archive, today - timedelta(days=DAYS_BACK_MAX), today):
            done["days"] += 1
            if await self._days.known(scope, day) is not None:
                continue
            try:
                await self._days.made(scope, day, Request(f"{JOB} {secrets.token_hex(8)}", JOB, inject(), JOB))
                done["made"] += 1
            except (HotUnavailable, ArchiveUnavailable, Overloaded):
                raise  # the whole job is done again soon; what is made by then is made
            except NotFound:
                continue  # nothing that a summary could speak of: events, or facts in parts
            except MemorydError as error:
                log.warning("day.not_made", code=error.code)
                done["refused"] += 1
        return dict(done)
