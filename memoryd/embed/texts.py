"""What the model is to read of a memory: an event together with what it follows, as far as that is still there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from memoryd.embed.protocol import Embedder, InContext, Text, Vectors, reads_context
from memoryd.hot.journal import Entry
from memoryd.hot.records import Records
from memoryd.model.speech import own_words, said

Contents: TypeAlias = Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]
"""Contents by id, of memories whose records are light; nothing for what cannot be had now."""


async def nowhere(_: Sequence[str]) -> Mapping[str, str]:
    """Where no record is light."""
    return {}


async def texts_of(
    records: Records, embedder: Embedder, entries: Sequence[Entry], contents: Contents = nowhere
) -> list[Text]:
    """A text for each; an entry has a record's fields."""
    if not reads_context(embedder):
        return [one.text("content") for one in entries]
    places = [(entry.scope, one) for entry in entries for one in reversed(ids_in(entry, "follows"))]
    found = await records.neighbours(places)
    light = [one for (_, one), (content, _) in zip(places, found, strict=True) if content is None]
    away = await contents(list(dict.fromkeys(light))) if light else {}
    before = iter(
        (away.get(one, "") if content is None else content, speaker)
        for (_, one), (content, speaker) in zip(places, found, strict=True)
    )
    texts: list[Text] = []
    for entry in entries:
        turns = [said(content, speaker) for content, speaker in islice(before, len(ids_in(entry, "follows"))) if content]
        texts.append(_in_context(entry.text("content"), entry.text("speaker"), turns))
    return texts


async def vectors_of(embedder: Embedder, texts: Sequence[Text]) -> Vectors:
    """Their vectors in order, past every cache. Raises ModelFailed."""
    woven = [one for one in texts if isinstance(one, InContext)]
    alone = iter(await embedder.embed([one for one in texts if isinstance(one, str)]))
    read: Iterator[Any] = iter(await embedder.embed_in_context(woven) if woven and reads_context(embedder) else [])
    rows = [next(alone) if isinstance(one, str) else next(read) for one in texts]
    return np.array(rows, dtype=np.float32).reshape(len(rows), embedder.dims)


def ids_in(entry: Entry, field: str) -> list[str]:
    """The ids that a field names, each once."""
    return list(dict.fromkeys(one for one in entry.text(field).split(",") if one))


def _in_context(content: str, speaker: str, turns: Sequence[str]) -> Text:
    """`content` after the turns before it and its speaker's name: of these the vector is not, but they tell what it means."""
    before = [*turns, f"{speaker}:"] if speaker else turns
    return InContext(" ".join(before), own_words(content, speaker)) if before else content
