"""Late chunking: a text goes through the model together with what stands before it, and only its own tokens are pooled.

"It was great!" says nothing alone; read after "I ran the charity race" its tokens mean the race. The vectors stay those
of one model and one space: a question, which has no context, is compared with them as ever. See Günther et al., "Late
Chunking: Contextual Chunk Embeddings Using Long-Context Embedding Models" (arXiv 2409.04701), here at the time of the
write, with what was said before only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from memoryd.embed.protocol import Text
from memoryd.embed.vectors import well_formed

IN_CONTEXT = "+context"  # behind the name of a model whose vectors of events are made in context


@dataclass(frozen=True)
class Tokens:
    """What the model reads of a text, and the part from `start` to `end` of which the vector is."""

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

    def tokens(self, text: Text) -> Tokens:
        """All tokens of a plain text, its marks included; those of a text in context without them."""
        if isinstance(text, str):
            ids = self._encode(well_formed(text), True)
            if len(ids) > self._max_length:
                ids = [*ids[: self._max_length - len(self._tail)], *self._tail]
            return Tokens(ids, 0, len(ids))
        own, before = self._bare(text.own), self._bare(text.before)
        if not own:  # nothing but spaces to this model: let it say what it says of the text alone
            return self.tokens(text.own)
        return woven(self._head, before, own, self._tail, self._max_length)

    def _bare(self, text: str) -> list[int]:
        return self._encode(well_formed(text), False) if text else []


def woven(head: Sequence[int], before: Sequence[int], own: Sequence[int], tail: Sequence[int], most: int) -> Tokens:
    """One run of at most `most` tokens: its own first, then as much as fits of what stands nearest before it."""
    room = most - len(head) - len(tail)
    own = own[:room]
    kept = before[max(0, len(before) - (room - len(own))) :]
    start = len(head) + len(kept)
    return Tokens([*head, *kept, *own, *tail], start, start + len(own))
