"""Sessions in which nothing has happened for a while get summaries of their events by themselves: the job `summaries`.

A session is compressed once when it has gone quiet; again, when something was added since and it has gone quiet anew. So what a
summariser has refused is not asked of it every night: a model costs money.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence

from memoryd.clock import Clock
from memoryd.errors import ArchiveUnavailable, HotUnavailable, MemorydError, Overloaded
from memoryd.hot.changes import Request
from memoryd.hot.records import Records
from memoryd.jobs.state import JobStates
from memoryd.lifecycle.compressing import Compressing
from memoryd.lifecycle.selection import Selection
from memoryd.lifecycle.survey import Survey
from memoryd.model.memory import MemoryType, Tier
from memoryd.model.rules import Configured
from memoryd.model.scope import Scope
from memoryd_telemetry.logs import get_logger
from memoryd_telemetry.propagation import inject

log = get_logger("memoryd.sessions")

JOB = "summaries"


class QuietSessions:
    """Compresses over one Redis what was quiet for so long; a session with something pinned stays as it is."""

    def __init__(
        self, records: Records, compressing: Compressing, states: JobStates, tiers: Configured, clock: Clock, *,
        after_seconds: float,
    ) -> None:  # fmt: skip
        self._survey = Survey(records)
        self._compressing = compressing
        self._states = states
        self._tiers = tiers
        self._clock = clock
        self._after_seconds = after_seconds

    async def run(self, given: str = "") -> dict[str, int]:
        """Compresses what has gone quiet since the last run. Raises HotUnavailable, ArchiveUnavailable, Overloaded."""
        done = Counter({"sessions": 0, "compressed": 0, "refused": 0})
        if not self._after_seconds:
            return dict(done)
        for scope in await self._gone_quiet():
            done["sessions"] += 1
            request = Request(f"{JOB} {secrets.token_hex(8)}", JOB, inject(), JOB)
            try:
                compressed = await self._compressing.compress(scope, Selection(types=[MemoryType.EPISODIC]), request=request)
            except (HotUnavailable, ArchiveUnavailable, Overloaded):
                raise  # the whole job is done again soon; what is compressed by then is compressed
            except MemorydError as error:
                log.warning("session.not_compressed", code=error.code)
                done["refused"] += 1
            else:
                done["compressed"] += compressed.moved
                done["refused"] += compressed.refused
        return dict(done)

    async def _gone_quiet(self) -> Sequence[Scope]:
        """The sessions whose last event is old enough by now, and was not when this was done last."""
        standing, now = await self._states.of(JOB), self._clock.now().timestamp()
        since = standing.last.timestamp() - self._after_seconds if standing.ran and standing.last else 0.0
        newest: dict[Scope, float] = {}
        pinned: set[Scope] = set()
        async for some in self._survey.each(now, self._tiers):
            for one in some:
                candidate = one.candidate
                if one.session and candidate.memory_type is MemoryType.EPISODIC and candidate.tier is not Tier.ARCHIVE:
                    place = Scope(one.project.tenant, one.project.project, candidate.agent, one.session)
                    newest[place] = max(newest.get(place, 0.0), one.created_at)
                    if candidate.held == "pinned":
                        pinned.add(place)
        quiet = {place for place, at in newest.items() if since <= at < now - self._after_seconds}
        return sorted(quiet - pinned, key=lambda one: (one.tenant, one.project, one.agent, one.session))
