"""Chapter 2: a whole conversation is stored over the agent protocol, embedded and archived."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter

from memoryd.demo.stage import Stage, idle
from memoryd.demo.voice import short
from memoryd.demo.wait import NeverHappened
from memoryd.errors import MemorydError
from memoryd.exchange import Item

BATCH = 32
FOLLOW_SECONDS = 150.0  # 700 turns on a slow core; a laptop needs a tenth of it


async def remember(stage: Stage) -> None:
    """Store every turn, then wait until each has its vector and its place in MongoDB."""
    turns, voice = stage.conversation.turns, stage.voice
    sessions = len({turn["session"] for turn in turns})
    voice.chapter(
        "A conversation is remembered",
        "Each turn becomes one memory of something that happened, dated when it was said. The daemon answers as soon as "
        "Redis has a turn; its vector and its copy in MongoDB follow by themselves.",
    )
    voice.say(f"The conversation “{stage.conversation.name}” has {len(turns)} turns in {sessions} sessions. It begins:")
    for turn in turns[:3]:
        voice.typed(short(turn["content"]))
    if stage.conversation.unusable:
        voice.say(f"{stage.conversation.unusable} turns have neither text nor a caption and are left out.")
    started = perf_counter()
    await _store_all(stage, turns)
    seconds = perf_counter() - started
    rate = stage.ledger.turns_acknowledged / seconds
    voice.say(f"{stage.ledger.turns_acknowledged} turns acknowledged in {seconds:.2f} s ({rate:,.0f} a second).")
    started = perf_counter()
    await _followed(stage, len(turns))
    what = "embedded and archived" if stage.has_model else "archived"
    voice.say(f"All of them were {what} {perf_counter() - started:.1f} s later.")


async def _store_all(stage: Stage, turns: Sequence[Item]) -> None:
    stage.ledger.turns = len(turns)
    with stage.voice.progress("storing") as progress:
        for batch in progress.track([turns[at : at + BATCH] for at in range(0, len(turns), BATCH)]):
            memories = [{name: value for name, value in turn.items() if name != "project"} for turn in batch]
            for turn, kept in zip(batch, await stage.memory.store_many(memories), strict=True):
                if isinstance(kept, MemorydError):
                    raise kept
                stage.ledger.turns_acknowledged += 1
                stage.ledger.stored(kept, turn["content"])


async def _followed(stage: Stage, count: int) -> None:
    deadline = perf_counter() + FOLLOW_SECONDS
    with stage.voice.progress("embedding and archiving") as progress:
        task = progress.add_task("", total=count)
        while not idle(stats := await stage.memory.stats(), has_model=stage.has_model):
            waiting = stats.pending if stage.has_model else stats.archive_backlog
            progress.update(task, completed=max(0, count - waiting))
            if perf_counter() > deadline:
                raise NeverHappened(f"within {FOLLOW_SECONDS:g} s the conversation was not embedded and archived")
            await asyncio.sleep(0.05)
