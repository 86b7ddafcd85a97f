"""Working memory over an agent's limit rests: the sessions that nobody has used for longest leave Redis, and come back when used.

Only what the archive has whole: a session that leaves before would come back without its last words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from memoryd.hot import scripts
from memoryd.hot.client import hot_errors
from memoryd.hot.journal import archived_up_to, last_entry
from memoryd.hot.lookups import key_batches
from memoryd.hot.records import Records
from memoryd.keys import DOCUMENTS
from memoryd.lifecycle.policy import resting
from memoryd.limits import SURVEY_BATCH_MAX, WORKING_REST_SECONDS
from memoryd.model.memory import Tier
from memoryd.model.rules import Configured, rules_of
from memoryd.model.scope import Scope, from_tag
from memoryd_telemetry.metrics import count_moves

AGENT_LIMIT = "agent_limit"


@dataclass(frozen=True)
class _Session:
    """One in Redis, as this looks at it."""

    key: str
    bucket: str
    agent: Scope
    left_milliseconds: int
    idle_milliseconds: int


class Resting:
    """Keeps the working memories of one Redis within the limit of each agent."""

    def __init__(self, records: Records, configured: Configured) -> None:
        self._records = records
        self._redis: Any = records.redis
        self._configured = configured

    async def run(self) -> int:
        """How many sessions were sent to rest. Raises HotUnavailable."""
        rested = 0
        for agent, sessions in (await self._by_agent()).items():
            most = rules_of(self._configured, agent.tenant, agent.project).working_of_agent
            for key in resting({key: one.idle_milliseconds for key, one in sessions.items()}, most):
                rested += await self._rest(sessions[key])
        if rested:
            count_moves(Tier.WORKING, Tier.ARCHIVE, AGENT_LIMIT, rested)
        return rested

    async def _by_agent(self) -> Mapping[Scope, Mapping[str, _Session]]:
        """Every session, by its agent and its key."""
        found: dict[Scope, dict[str, _Session]] = {}
        prefix, _ = DOCUMENTS["sessions"]
        with hot_errors("look at the sessions"):
            async for keys in key_batches(self._redis, f"{prefix}*", SURVEY_BATCH_MAX, count=SURVEY_BATCH_MAX):
                for one in await self._look(keys):
                    found.setdefault(one.agent, {})[one.key] = one
        return found

    async def _look(self, keys: Sequence[str]) -> list[_Session]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.pttl(key)
                pipe.execute_command("JSON.GET", key, "$.head.ttl_seconds")
            answers = await pipe.execute(raise_on_error=False)
        found = []
        for key, left, raw in zip(keys, answers[::2], answers[1::2], strict=True):
            life = msgspec.json.decode(raw) if isinstance(raw, bytes) else []
            if life and isinstance(left, int) and left > 0:  # what is no session has no life of its own
                *_, bucket, tenant, project, agent, _session = key.split(":")
                scope = Scope(from_tag(tenant), from_tag(project), from_tag(agent))
                found.append(_Session(key, bucket.strip("{}"), scope, left, round(life[0] * 1000) - left))
        return found

    async def _rest(self, one: _Session) -> int:
        """1 if it is to leave by now."""
        redis, keys = self._records.redis, self._records.keys
        place = (await archived_up_to(redis, keys, [one.bucket]))[one.bucket]
        with hot_errors("look at the clock"):
            seconds, microseconds = await self._redis.time()
        used_at = seconds * 1000 + microseconds // 1000 - one.idle_milliseconds
        if place[0] <= used_at and await last_entry(redis, keys, one.bucket) > place:
            return 0
        with hot_errors("let a session rest"):
            asked = [one.left_milliseconds, round(WORKING_REST_SECONDS * 1000)]
            return int(await scripts.session_rest(redis, [one.key], asked))
