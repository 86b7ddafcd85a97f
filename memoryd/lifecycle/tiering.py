"""The tiers kept: uses are counted, plans are made and carried out, and what was begun before is ended. See docs/tiers.md.

A sweep is of bounded batches and may end anywhere: the next one goes on. One runner of the fleet sweeps at a time; two would
do no harm, since every step is decided again in Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from opentelemetry.util.types import Attributes
from redis.asyncio import Redis

from memoryd.clock import Clock, to_microseconds
from memoryd.errors import ArchiveUnavailable, HotUnavailable
from memoryd.hot.headroom import memory_use
from memoryd.hot.lease import Lease
from memoryd.hot.records import Records
from memoryd.hot.tiers import HotTiers
from memoryd.keys import TIERS_FENCE, TIERS_LEASE
from memoryd.lifecycle.moving import Mover
from memoryd.lifecycle.policy import Candidate, Move, Pressure, Reason, plan, verdict
from memoryd.lifecycle.resting import Resting
from memoryd.lifecycle.survey import Survey, Surveyed
from memoryd.limits import MOVE_BATCH_MAX, SWEEP_REST_SECONDS_MAX, TIER_LEASE_SECONDS, TIERS_TOGETHER_MAX
from memoryd.model.memory import Memory, Tier
from memoryd.model.rules import Configured, Rules, rules_of
from memoryd.model.scope import Scope
from memoryd.retry import all_ended
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.logs import get_logger
from memoryd_telemetry.metrics import count_moves
from memoryd_telemetry.propagation import inject
from memoryd_telemetry.tracing import linked_span, tell

log = get_logger("memoryd.tiers")
T = TypeVar("T")


class Sweep(msgspec.Struct, kw_only=True):
    """What one sweep found and did."""

    memories: int = 0
    used: int = 0
    """Memories whose uses were counted."""
    moved: dict[str, int] = {}
    """By reason."""
    lightened: int = 0
    """Memories whose content has left Redis, or the whole vector that they had got since; those of moves that others had begun
    included."""
    rested: int = 0
    """Sessions that leave Redis soon: their agent has more than it may."""
    brought: int = 0
    """Memories that wait for a vector and got their content back to be embedded."""
    archive_away: bool = False
    """The archive did not answer; the next sweep goes on."""


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """A memory before the policy: its tier, what speaks for it, and what would become of it."""

    id: str
    tier: Tier
    heat: float
    idle_seconds: float
    accesses: int
    held: str
    move_to: str
    """Empty when it stays."""
    why: str
    light: bool


@dataclass
class _Seen:
    """A look at all memories."""

    projects: dict[Scope, list[Candidate]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    heavy: set[str] = field(default_factory=set)
    """Ids of what is in the tier long and has its content here still, or its vector whole."""
    hungry: set[str] = field(default_factory=set)
    """Ids of light records that wait for a vector."""
    size: int = 0

    def add(self, one: Surveyed) -> None:
        memory_id, long = one.candidate.memory_id, one.candidate.tier is Tier.LONG
        self.projects.setdefault(one.project, []).append(one.candidate)
        self.keys[memory_id] = one.key
        self.size += one.candidate.size
        if long and (one.whole or one.vector) and not one.pending:
            self.heavy.add(memory_id)
        if not one.whole and one.pending:
            self.hungry.add(memory_id)


class Tiering:
    """The tiers of one Redis and its archive."""

    def __init__(self, records: Records, mover: Mover, configured: Configured, clock: Clock) -> None:
        self._records = records
        self._tiers = HotTiers(records)
        self._survey = Survey(records)
        self._resting = Resting(records, configured)
        self._mover = mover
        self._configured = configured
        self._clock = clock

    # --- deciding -------------------------------------------------------------------------------------------------

    async def plan(self) -> dict[Scope, list[Move]]:
        """What a sweep would move now, by project. Nothing is changed."""
        return await self._plan(await self._look())

    async def explain(self, scope: Scope, memory_id: str) -> Explained | None:
        """Why a memory is where it is, and what would become of it; None when Redis does not have it."""
        now = self._clock.now().timestamp()
        one = await self._survey.one(scope, memory_id, now, self._configured)
        if one is None:
            return None
        rules = rules_of(self._configured, scope.tenant, scope.project)
        moves = (await self.plan()).get(one.project, [])
        move = next((move for move in moves if move.memory_id == memory_id), None)
        candidate = one.candidate
        return Explained(
            id=memory_id, tier=candidate.tier, heat=round(candidate.heat(now, rules), 4),
            idle_seconds=round(max(0.0, now - candidate.last_used), 1), accesses=candidate.accesses, held=candidate.held,
            move_to=move.to if move else "", why=told(move) if move else _staying(candidate, now, rules), light=not one.whole,
        )  # fmt: skip

    async def _look(self) -> _Seen:
        seen = _Seen()
        async for some in self._survey.each(self._clock.now().timestamp(), self._configured):
            for one in some:
                seen.add(one)
        return seen

    async def _plan(self, seen: _Seen) -> dict[Scope, list[Move]]:
        """Each project bears its share of the pressure: as much as it has of what could go."""
        used, most = await memory_use(self._records.redis)
        now = self._clock.now().timestamp()
        plans = {}
        for project, candidates in seen.projects.items():
            share = sum(one.size for one in candidates) / max(1, seen.size)
            pressure = Pressure(int(used * share), int(most * share))
            rules = rules_of(self._configured, project.tenant, project.project)
            # In a thread: a large project takes seconds, in which the daemon has others to answer.
            if moves := await asyncio.to_thread(plan, candidates, now, pressure, rules):
                plans[project] = moves
        return plans

    # --- acting ---------------------------------------------------------------------------------------------------

    async def sweep(self) -> Sweep | None:
        """Counts the uses, carries out what is planned then, and ends what was begun; None while another one sweeps.

        Raises HotUnavailable.
        """
        turn = tiers_lease(self._records.redis)
        if not await turn.hold():
            return None
        done = Sweep()
        try:
            await self._sweep(turn, done)
        except ArchiveUnavailable:
            done.archive_away = True
        except TurnLost:
            log.warning("tiers.turn_lost")
        finally:
            with contextlib.suppress(HotUnavailable):  # it lapses by itself
                await turn.give_back()
        log.info("tiers.swept", **{name: value for name, value in msgspec.to_builtins(done).items() if value})
        return done

    async def counted_sweep(self, given: str = "") -> dict[str, int]:
        """A sweep as a job, counted. Nothing, while somebody sweeps by hand."""
        done = await self.sweep() or Sweep()
        return {
            "used": done.used, "rested": done.rested, "moved": sum(done.moved.values()), "lightened": done.lightened,
            "brought": done.brought,
        }  # fmt: skip

    async def _sweep(self, turn: Lease, done: Sweep) -> None:
        done.used = await self._tiers.count_uses(to_microseconds(self._clock.now()))
        done.rested = await self._resting.run()
        seen = await self._look()
        done.memories = len(seen.keys)
        moves = [move for some in (await self._plan(seen)).values() for move in some]
        rising = [move for move in moves if move.to is Tier.SHORT]
        falling = [move for move in moves if move.to is Tier.LONG]
        if any(move.reason is Reason.PRESSURE for move in falling):
            await self._in_haste(_some(falling), turn, seen, done)
            falling = []
        async for some in _at_leisure(itertools.chain(_some(falling), _some(rising)), turn):
            await self._carry_out(some, seen, done)
        async for ids in _at_leisure(_some(sorted(seen.heavy - {move.memory_id for move in rising})), turn):
            memories = await self._read(ids, seen)
            async with self._tracing(memories, Tier.LONG, ["begun"]):
                done.lightened += await self._mover.lighten(memories)
        async for ids in _at_leisure(_some(sorted(seen.hungry)), turn):
            memories = await self._read(ids, seen)
            async with self._tracing(memories, Tier.LONG, ["pending"]):
                done.brought += await self._mover.bring(memories)

    async def _in_haste(self, batches: Iterator[Sequence[Move]], turn: Lease, seen: _Seen, done: Sweep) -> None:
        """Carries out moves down, some batches at once: each waits for the archive, which meanwhile writes the others."""

        async def some_of_them() -> None:
            for some in batches:
                await _keep(turn)
                await self._carry_out(some, seen, done)

        await all_ended(some_of_them() for _ in range(TIERS_TOGETHER_MAX))

    async def _carry_out(self, moves: Sequence[Move], seen: _Seen, done: Sweep) -> None:
        """Moves of one direction. What was changed since the look stays."""
        memories = await self._read([move.memory_id for move in moves], seen)
        async with self._tracing(memories, moves[0].to, sorted({move.reason.name.lower() for move in moves})):
            if moves[0].to is Tier.LONG:
                moved, light = await self._mover.to_long(memories, traceparent=inject())
                done.lightened += light
            else:
                moved = await self._mover.to_short(memories, traceparent=inject())
            tell({telemetry.RECORD_COUNT: len(moved)})
        for move in moves:
            if move.memory_id in moved:
                reason = move.reason.name.lower()
                done.moved[reason] = done.moved.get(reason, 0) + 1
                count_moves(Tier.LONG if move.to is Tier.SHORT else Tier.SHORT, move.to, reason)

    @contextlib.asynccontextmanager
    async def _tracing(self, memories: Sequence[Memory], to: Tier, reasons: Sequence[str]) -> AsyncIterator[None]:
        """One move as a trace of its own, linked to what has written the memories. `reasons`: the policy's, or that it was
        begun before, or that contents are brought back for vectors that are pending."""
        known: Attributes = {telemetry.MOVED_TO: to, telemetry.REASONS: reasons, telemetry.BATCH_SIZE: len(memories)}
        with linked_span(telemetry.MOVE, [], known):
            await self._mover.link_to_writes(memories)
            yield

    async def _read(self, ids: Sequence[str], seen: _Seen) -> list[Memory]:
        return await self._records.read([seen.keys[one] for one in ids])


class TurnLost(Exception):
    """Another one sweeps by now."""


def tiers_lease(redis: Redis) -> Lease:
    """The right to be the one that sweeps, as a new runner asks for it."""
    return Lease(
        redis, secrets.token_hex(8), key=TIERS_LEASE, fence_key=TIERS_FENCE, seconds=TIER_LEASE_SECONDS,
        what="take a turn at the tiers",
    )  # fmt: skip


async def _keep(turn: Lease) -> None:
    """Renews the right to sweep. Raises TurnLost."""
    if not await turn.renew():
        raise TurnLost


async def _at_leisure(batches: Iterable[T], turn: Lease) -> AsyncIterator[T]:
    """One batch after the other; after each the sweep rests half as long as it took: who has something to ask meets it less."""
    clock = asyncio.get_running_loop().time
    for some in batches:
        await _keep(turn)
        began = clock()
        yield some
        await asyncio.sleep(min((clock() - began) / 2, SWEEP_REST_SECONDS_MAX))


def told(move: Move) -> str:
    """A move's reason with its numbers."""
    return f"{move.reason} ({move.measured:.6g}, the mark is {move.mark:g}; heat {move.heat:.4f})"


def _staying(one: Candidate, now: float, rules: Rules) -> str:
    if one.held:
        return f"it stays: {one.held}"
    if one.tier is Tier.LONG:
        return "it stays: there is no room in short" if one.used else "it stays: it was not used since it came here"
    reason, measured, mark = verdict(one, now, rules, one.heat(now, rules))
    assert reason is None
    return f"it stays: its heat of {measured:.4f} is above {mark:g}, or it was used lately"


def _some(many: Sequence[T]) -> Iterator[Sequence[T]]:
    return (many[start : start + MOVE_BATCH_MAX] for start in range(0, len(many), MOVE_BATCH_MAX))
