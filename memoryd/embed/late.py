"""Late chunking: a text goes through the model together with what stands around it, and only its own tokens are pooled.

"It was great!" says nothing alone; read after "I ran the charity race" its tokens mean the race. The vectors stay those
of one model and one space: a question, which has no context, is compared with them as ever. See Günther et al., "Late
Chunking: Contextual Chunk Embeddings Using Long-Context Embedding Models" (arXiv 2409.04701), here at the time of the
write with what was said before, and, where that is set, again with what was said after.

A text that is longer than the model's window goes through it window by window, and the vector is of all of its tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from memoryd.embed.protocol import Text
from memoryd.embed.vectors import well_formed
from memoryd.limits import EMBED_TEXT_TOKENS_MAX

IN_CONTEXT = "+context"  # behind the name of a model whose vectors of events are made in context


def name_in_context(model: str, turns_after: int) -> str:
    """What a model is called whose vectors of events are made in context: `NAME+context`, and `NAME+context+1` where they read one
    event after their own, too. Vectors that are made in different ways do not stand in one index."""
    return f"{model}{IN_CONTEXT}{f'+{turns_after}' if turns_after else ''}"


def turns_after(model: str) -> int:
    """How many events after their own a model's vectors read, by its name."""
    _, known, count = model.rpartition(f"{IN_CONTEXT}+")
    return int(count) if known and count.isdecimal() else 0


@dataclass(frozen=True)
class Tokens:
    """What the model reads of a text at once, and the part from `start` to `end` of which the vector is."""

    ids: list[int]
    start: int
    end: int


class Tokeniser:
    """Cuts texts into tokens. `encode` gives the ids of a text, with the model's own marks around it or without."""

    def __init__(self, encode: Callable[[str, bool], list[int]], max_length: int) -> None:
        self._encode = encode
        self._max_length = max_length
        marked, bare = encode("a", True), encode("a", False)
        at = next(i for i in range(len(marked)) if marked[i : i + len(bare)] == bare)
        self._head, self._tail = marked[:at], marked[at + len(bare) :]
        self._room = max_length - len(self._head) - len(self._tail)

    def windows(self, text: Text) -> list[Tokens]:
        """All tokens of a plain text, its marks included; those of a text in context without them. Of a text that the model
        cannot read at once, one window after the other, EMBED_TEXT_TOKENS_MAX tokens at most."""
        if isinstance(text, str):
            ids = self._encode(well_formed(text), True)
            if len(ids) <= self._max_length:
                return [Tokens(ids, 0, len(ids))]
            return [Tokens(one.ids, 0, len(one.ids)) for one in self._split(ids[len(self._head) : len(ids) - len(self._tail)])]
        own, before = self._bare(text.own), self._bare(text.before)
        if not own:  # nothing but spaces to this model: let it say what it says of the text alone
            return self.windows(text.own)
        if len(own) > self._room:
            return self._split(own)
        return [woven(self._head, before, own, self._bare(text.after), self._tail, self._max_length)]

    def _split(self, own: Sequence[int]) -> list[Tokens]:
        own = own[:EMBED_TEXT_TOKENS_MAX]
        parts = [own[at : at + self._room] for at in range(0, len(own), self._room)]
        return [woven(self._head, (), part, (), self._tail, self._max_length) for part in parts]

    def _bare(self, text: str) -> list[int]:
        return self._encode(well_formed(text), False) if text else []


def woven(
    head: Sequence[int], before: Sequence[int], own: Sequence[int], after: Sequence[int], tail: Sequence[int], most: int
) -> Tokens:
    """One window of at most `most` tokens: its own, and as much as fits of what stands nearest before and after it. What comes
    after has half of that at most, where there is something before."""
    room = most - len(head) - len(tail) - len(own)
    behind = after[: room // (2 if before else 1)]
    kept = before[max(0, len(before) - (room - len(behind))) :]
    start = len(head) + len(kept)
    return Tokens([*head, *kept, *own, *behind, *tail], start, start + len(own))
