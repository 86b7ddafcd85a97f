"""What a process can do just now: probes of what it stands on, each within a time limit, and the modes that follow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from memoryd.errors import MemorydError
from memoryd.health.listener import Answer
from memoryd.limits import HEALTH_KEPT_SECONDS, HEALTH_PROBE_SECONDS

STARTING, STOPPING = "starting", "stopping"


@dataclass(frozen=True)
class Probe:
    """A look at one part. `look` answers "" when it is well, else why not in our own words, or raises a MemorydError."""

    part: str
    mode: str
    """What the process is called while it is not well: archive away, embedder away …"""
    look: Callable[[], Awaitable[str]]
    needed: bool = False
    """Whether nothing works without it; else the process does what it can."""
    through: str = ""
    """The part through which it is asked: while that is away, nothing is known of this one."""


class Part(msgspec.Struct, frozen=True):
    """What one probe has found."""

    part: str
    ok: bool
    needed: bool
    mode: str = ""
    why: str = ""
    milliseconds: int = 0


class Report(msgspec.Struct, frozen=True):
    """How a process does. `modes` names what it has to do without; empty when all is well."""

    ready: bool
    modes: list[str]
    parts: list[Part]


class Health:
    """Of one process. Many who ask at once cause one look; who asks again at once is told the same."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._probes: Sequence[Probe] = ()
        self._looking = asyncio.Lock()
        self._last: Report | None = None
        self._at = 0.0

    def watch(self, probes: Sequence[Probe]) -> None:
        """From now on the process is what these say; until then it is starting."""
        self._probes = probes

    async def report(self) -> Report:
        """As it is now, or was a moment ago."""
        if self._stop.is_set():
            return Report(ready=False, modes=[STOPPING], parts=[])
        if not self._probes:
            return Report(ready=False, modes=[STARTING], parts=[])
        async with self._looking:
            if self._last is None or time.monotonic() - self._at > HEALTH_KEPT_SECONDS:
                self._last, self._at = await look(self._probes), time.monotonic()
            return self._last

    async def page(self) -> Answer:
        """/ready: 200 while what is needed is well, else 503; which parts are not, as JSON."""
        report = await self.report()
        status = HTTPStatus.OK if report.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(msgspec.json.encode(report) + b"\n", status, "application/json")


async def look(probes: Sequence[Probe]) -> Report:
    """Asks every part at once."""
    found = {one.part: one for one in await asyncio.gather(*map(_ask, probes))}
    for probe in probes:
        if probe.through and not found[probe.through].ok:
            found[probe.part] = Part(probe.part, False, probe.needed, why=f"not known: it is asked through {probe.through}")
    parts = list(found.values())
    modes = list(dict.fromkeys(one.mode for one in parts if one.mode))
    return Report(ready=all(one.ok for one in parts if one.needed), modes=modes, parts=parts)


async def _ask(probe: Probe) -> Part:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(HEALTH_PROBE_SECONDS):
            why = await probe.look()
    except TimeoutError:
        why = f"no answer within {HEALTH_PROBE_SECONDS:g} s"
    except MemorydError as error:
        why = error.message
    took = round((time.perf_counter() - began) * 1000)
    return Part(probe.part, not why, probe.needed, probe.mode if why else "", why, took)
