"""A summary of what is selected: passages of memories, and a summariser that may raise, hang or answer nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from memoryd.archive.store import Archive
from memoryd.errors import NotFound, SummarizerFailed
from memoryd.lifecycle.planning import Planner
from memoryd.lifecycle.selection import Selection
from memoryd.limits import (
    SUMMARIZE_MEMORIES_MAX,
    SUMMARY_CHARS_MAX,
    SUMMARY_CHARS_MIN,
    SUMMARY_GROUP_MIN,
    SUMMARY_SHARE,
)
from memoryd.model.memory import Memory
from memoryd.model.scope import Scope
from memoryd.model.speech import speaker_of
from memoryd.model.summary import Summary
from memoryd.summarize.gate import judge, words_for
from memoryd.summarize.protocol import Passage, Summarizer


@dataclass(frozen=True)
class Made:
    """A summary that may stand for memories, or the reason why none does."""

    text: str = ""
    words: str = ""
    reason: str = ""


class Summarizing:
    """Summaries of one scope's memories. `seconds` is how long any summariser is waited for."""

    def __init__(self, planner: Planner, archive: Archive, summarizer: Summarizer, *, seconds: float) -> None:
        self._planner = planner
        self._archive = archive
        self._summarizer = summarizer
        self._seconds = seconds

    @property
    def made_by(self) -> str:
        """What is noted beside a summary."""
        return self._summarizer.name

    async def summarize(self, scope: Scope, selection: Selection, *, chars: int | None = None) -> Summary:
        """A summary of what is selected, which stays as it is.

        Raises NotFound when nothing is selected, SummarizerFailed, TooLarge, ArchiveUnavailable.
        """
        memories = await self._planner.memories(scope.check(), selection.check(), most=SUMMARIZE_MEMORIES_MAX)
        if not memories:
            raise NotFound("the selection holds no memory", hint="see what there is with `recall` or `stats`")
        text = await self.text_of(await self.passages(memories), chars or room_for(memories))
        if not text:
            raise SummarizerFailed("the summariser answered nothing", retryable=True)
        return Summary(text=text, memories=len(memories), chars=size_of(memories), made_by=self.made_by)

    async def judged(self, memories: Sequence[Memory], chars: int) -> Made:
        """A summary that the gate lets pass, of about so many characters; whatever the summariser does, the reason is in it."""
        if len(memories) < SUMMARY_GROUP_MIN:
            return Made(reason="it is one memory alone: a summary would be no shorter")
        passages = await self.passages(memories)
        try:
            text = await self.text_of(passages, chars)
        except SummarizerFailed as error:
            return Made(reason=error.message)
        words = words_for(text, passages)
        return Made(text, words, judge(text, passages, words))

    async def passages(self, memories: Sequence[Memory]) -> list[Passage]:
        """The memories as a summariser reads them, with the vectors that the archive has."""
        vectors = await self._archive.vectors([one.id for one in memories])
        return [Passage(one.id, one.content, speaker_of(one.metadata), vectors.get(one.id)) for one in memories]

    async def text_of(self, passages: Sequence[Passage], chars: int) -> str:
        """What the summariser makes of the passages; it may be nothing. Raises SummarizerFailed, whatever it does."""
        try:
            async with asyncio.timeout(self._seconds):
                return (await self._summarizer.summarize(passages, chars=chars)).strip()
        except SummarizerFailed:
            raise
        except TimeoutError:
            raise SummarizerFailed(f"the summariser gave nothing within {self._seconds:g} s", retryable=True) from None
        except Exception as error:  # what somebody else's code raises may quote what it read
            raise SummarizerFailed(f"the summariser failed ({type(error).__name__})", retryable=False) from None


def size_of(memories: Sequence[Memory]) -> int:
    """Their characters."""
    return sum(len(one.content) for one in memories)


def room_for(memories: Sequence[Memory]) -> int:
    """How long their summary may be."""
    return max(SUMMARY_CHARS_MIN, min(SUMMARY_CHARS_MAX, int(size_of(memories) * SUMMARY_SHARE)))
