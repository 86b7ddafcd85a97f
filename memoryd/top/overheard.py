"""Listens to requests as they come into their stream, beside the daemons and without taking any."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd.hot.client import hot_errors
from memoryd.keys import REQUESTS
from memoryd.limits import TOP_LISTED_MAX, TOP_READ_MAX, TOP_SAMPLE_MAX
from memoryd.top.frame import Heard, Overheard
from memoryd_telemetry.names import OPERATIONS, OTHER


class _Scope(msgspec.Struct):
    tenant: str
    project: str
    agent: str = ""


class _Asked(msgspec.Struct):
    op: str
    scope: _Scope


async def overhear(blocking: Redis, seconds: float) -> Overheard:
    """What is asked for a while, as much of it as is seen before it is answered, and TOP_SAMPLE_MAX at most. Raises
    HotUnavailable."""
    began, last = time.monotonic(), b"$"
    verbs: Counter[str] = Counter()
    agents: Counter[str] = Counter()
    while (left := seconds - (time.monotonic() - began)) > 0:
        if verbs.total() >= TOP_SAMPLE_MAX:
            break
        for entry_id, fields in await _read(blocking, last, left):
            last = entry_id
            if asked := _asked(fields):
                verbs[asked.op if asked.op in OPERATIONS else OTHER] += 1
                agents[f"{asked.scope.tenant}/{asked.scope.project}/{asked.scope.agent}"] += 1
    listened = time.monotonic() - began
    await asyncio.sleep(max(0.0, seconds - listened))
    return Overheard(verbs.total(), _heard(verbs, listened), _heard(agents, listened))


async def _read(blocking: Redis, last: bytes, seconds: float) -> list[tuple[bytes, dict[bytes, bytes]]]:
    client: Any = blocking
    with hot_errors("listen to requests"):
        answer = await client.xread({REQUESTS: last}, count=TOP_READ_MAX, block=max(1, int(seconds * 1000)))
    return [entry for _, entries in answer or [] for entry in entries]


def _asked(fields: dict[bytes, bytes]) -> _Asked | None:
    try:
        return msgspec.json.decode(fields[b"envelope"], type=_Asked)
    except (KeyError, msgspec.MsgspecError):
        return None  # rubbish, which a daemon answers as such


def _heard(counted: Counter[str], seconds: float) -> list[Heard]:
    return [Heard(name, round(count / seconds, 2)) for name, count in counted.most_common(TOP_LISTED_MAX)]
