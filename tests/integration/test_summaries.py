"""`summarize` says in few words what is remembered, and changes nothing, whatever its summariser does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from memoryd.config import Settings
from memoryd.errors import BadRequest, NotFound, SummarizerFailed
from memoryd.summarize.extractive import Extractive
from memoryd.summarize.protocol import Failed, Passage
from tests.world import World

TALK = [
    "Ada: Hi there, how are you?",
    "Ben: I signed the mortgage for the house on Elm Street on Friday, and we move in on 3 May.",
    "Ada: Congratulations! I adopted a dog called Rex from the shelter last week.",
    "Ben: We are planning a camping trip to Yosemite in July with the kids and the canoe.",
]


class Scripted:
    """A summariser that does what a test says."""

    name = "scripted"

    def __init__(self) -> None:
        self.act: Callable[[Sequence[Passage], int], Awaitable[str]] = self._extract
        self.read: list[Passage] = []

    async def summarize(self, passages: Sequence[Passage], *, chars: int) -> str:
        self.read = list(passages)
        return await self.act(passages, chars)

    async def _extract(self, passages: Sequence[Passage], chars: int) -> str:
        return await Extractive().summarize(passages, chars=chars)

    async def close(self) -> None:
        """Nothing to free."""


async def test_a_summary_is_of_what_is_selected_and_inside_the_scope(settings: Settings) -> None:
    """In the order in which it happened, with the vectors that the archive has."""
    async with World(settings.model_copy(update={"summarize_timeout_seconds": 0.3})) as world:
        world.summarizer = scripted = Scripted()
        await world.start("daemon", "sync")
        async with world.connect() as memory, world.connect(agent="other") as other:
            for turn in TALK:
                await memory.store(turn, type="episodic", session="s1")
            await other.store("Cy: My bank's PIN is 1234, and that is a secret of mine.", type="episodic", session="s1")
            await world.drained(memory)

            summary = await memory.summarize(session="s1", chars=160)
            assert summary.memories == 4
            assert summary.chars == sum(map(len, TALK))
            assert summary.made_by == "scripted"
            assert 0 < len(summary.text) <= 160
            assert [one.text for one in scripted.read] == TALK
            assert all(one.vector for one in scripted.read)
            assert (await memory.stats()).memories == 4

            with pytest.raises(BadRequest, match="nothing was selected"):
                await memory.summarize()
            with pytest.raises(NotFound):
                await memory.summarize(session="s2")

            async def refuses(passages: Sequence[Passage], chars: int) -> str:
                raise Failed("the model is away", retryable=True)

            async def breaks(passages: Sequence[Passage], chars: int) -> str:
                raise RuntimeError(passages[1].text)

            async def hangs(passages: Sequence[Passage], chars: int) -> str:
                await asyncio.Event().wait()
                return ""

            async def says_nothing(passages: Sequence[Passage], chars: int) -> str:
                return " "

            for act, why in ((refuses, "away"), (breaks, "RuntimeError"), (hangs, "within 0.3 s"), (says_nothing, "nothing")):
                scripted.act = act
                with pytest.raises(SummarizerFailed, match=why) as told:
                    await memory.summarize(session="s1")
                assert "Elm Street" not in told.value.message
