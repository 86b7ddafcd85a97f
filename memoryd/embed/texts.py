"""What the model is to read of a memory: an event together with what is around it, as far as that is still there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from memoryd.embed.late import turns_after
from memoryd.embed.protocol import Embedder, InContext, Text, Vectors, reads_context
from memoryd.hot.journal import Entry
from memoryd.hot.records import Records
from memoryd.model.scope import Scope
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
    hears = turns_after(embedder.model) > 0
    around = [(ids_in(one, "follows")[::-1], ids_in(one, "followed_by") if hears else []) for one in entries]
    places = [
        (entry.scope, one) for entry, (before, after) in zip(entries, around, strict=True) for one in (*before, *after)
    ]
    found = dict(zip(places, await records.neighbours(places), strict=True))
    light = [one for (_, one), (content, _) in found.items() if content is None]
    away = await contents(list(dict.fromkeys(light))) if light else {}
    turns = {}
    for (scope, one), (content, speaker) in found.items():
        if words := away.get(one, "") if content is None else content:
            turns[scope, one] = said(words, speaker)

    def heard(scope: Scope, ids: Sequence[str]) -> str:
        return " ".join(turns[scope, one] for one in ids if (scope, one) in turns)

    return [
        _in_context(one.text("content"), one.text("speaker"), heard(one.scope, before), heard(one.scope, after))
        for one, (before, after) in zip(entries, around, strict=True)
    ]


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


def _in_context(content: str, speaker: str, before: str, after: str) -> Text:
    """`content` between the turns around it, after its speaker's name: of these the vector is not, but they tell what it means."""
    named = " ".join(one for one in (before, speaker and f"{speaker}:") if one)
    return InContext(named, own_words(content, speaker), after) if named or after else content
