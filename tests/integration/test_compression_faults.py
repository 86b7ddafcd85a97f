"""Whatever dies between the steps of a compression: every memory stays readable, and the next run finishes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

import memoryd.daemon
from memoryd import MemoryClient
from memoryd.archive.packing import Packing
from memoryd.engine import Engine
from memoryd.errors import ArchiveUnavailable
from memoryd.hot.tiers import HotTiers
from memoryd.lifecycle.summarizing import Summarizing
from memoryd.retry import heed_cancellation
from tests.integration.test_compression import before, remember, told
from tests.integration.tools import caught_up, hot
from tests.waiting import PATIENCE_SECONDS, eventually
from tests.world import World

STEPS = (
    ("the summary is made", Summarizing, "text_of"),
    ("the summary is stored", Engine, "store"),
    ("some are on their way", HotTiers, "move"),
    ("the archive was seen to have them", HotTiers, "put_away"),
)


class Trap:
    """A step after which, or before which, nothing more happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, first: bool = False) -> None:
        self.reached = asyncio.Event()
        original: Callable[..., Any] = getattr(owner, name)

        async def step(*given: Any, **named: Any) -> Any:
            result = None if first else await original(*given, **named)
            self.reached.set()
            heed_cancellation()  # the driver may have swallowed it on the way here
            await asyncio.Event().wait()
            return result

        monkeypatch.setattr(owner, name, step)


async def begun(memory: MemoryClient, trap: Trap, session: str) -> asyncio.Task[Any]:
    """A compression that has come into the trap."""
    running = asyncio.create_task(memory.compress(session=session))
    await asyncio.wait_for(trap.reached.wait(), PATIENCE_SECONDS)
    return running


async def given_up(running: asyncio.Task[Any]) -> None:
    """Nobody waits for it any more."""
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_a_daemon_that_dies_between_two_steps_leaves_everything_readable_and_the_next_run_finishes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each step, and before the first removal; one summary for each session in the end, whatever was done twice."""
    async with world.connect() as memory:
        traps = [*((what, owner, name, False) for what, owner, name in STEPS), ("nothing is removed", HotTiers, "put_away", True)]
        for number, (what, owner, name, first) in enumerate(traps):
            session = f"s{number}"
            ids = await remember(memory, session)
            await caught_up(world, memory)
            were = await before(memory, ids)
            with monkeypatch.context() as patch:
                running = await begun(memory, Trap(patch, owner, name, first=first), session)
                await world.kill("daemon")
            await given_up(running)
            await world.start("daemon")
            now = await before(memory, ids)
            assert [told(one) for one in now.values()] == [told(one) for one in were.values()], what
            await memory.compress(session=session)

            async def moved(ids: list[str] = ids) -> bool:
                return not (await hot(world)).keys() & set(ids)

            # What was on its way when the daemon died is ended by the sweep; here at once.
            await eventually(moved, what=f"{what}: all of {session} have moved")
            summaries = [one.memory for one in (await hot(world)).values() if one.memory.session_id == session]
            assert [one.derived_from for one in summaries] == [ids], what
            expanded = await memory.expand(summaries[0].id)
            assert [told(one) for one in expanded.memories] == [told(were[one]) for one in ids], what


async def test_a_sync_that_dies_before_it_has_packed_what_it_has_written_packs_it_when_it_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the archive has it in the clear, and nobody notices."""
    async with world.connect() as memory:
        ids = await remember(memory, "s1")
        await caught_up(world, memory)
        were = await before(memory, ids)
        with monkeypatch.context() as patch:
            running = await begun(memory, Trap(patch, Packing, "pack", first=True), "s1")
            await world.kill("sync")
        assert [told(one) for one in (await before(memory, ids)).values()] == [told(one) for one in were.values()]
        await world.start("sync")
        done = await asyncio.wait_for(running, 60)

        async def packed() -> bool:
            return await world.memories.count_documents({"tier": "archive", "content": {"$exists": False}}) == len(ids)

        await eventually(packed, what="all of it is packed")
        [group] = done.groups
        expanded = await memory.expand(group.summary)
        assert [told(one) for one in expanded.memories] == [told(were[one]) for one in ids]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moves that were cut off are ended within a moment."""
    monkeypatch.setattr(memoryd.daemon, "MOVE_SWEEP_SECONDS", 0.5)


async def test_an_archive_that_goes_away_half_way_leaves_an_answer_that_says_what_is_done(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first group has its summary and its id; the others stay as they are, with the reason."""
    for session in ("s1", "s2", "s3"):
        await remember(memory, session)
    await caught_up(world, memory)
    make, made = Summarizing.text_of, list[str]()

    async def once(*given: Any, **named: Any) -> str:
        if made:
            raise ArchiveUnavailable("it went away")
        made.append(await make(*given, **named))
        return made[0]

    monkeypatch.setattr(Summarizing, "text_of", once)
    done = await memory.compress(types=["episodic"])

    assert [(one.outcome, one.reason) for one in done.groups] == [("compressed", "")] + [("refused", "it went away")] * 2
    assert (await memory.get(done.groups[0].summary)).content == made[0]
    with pytest.raises(ArchiveUnavailable):
        await memory.compress(types=["episodic"])
