"""Chapter 7: a memory is forgotten, and looked for in every place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import msgspec

from memoryd.demo.edit import EDITED
from memoryd.demo.journey import FACT, MARK, Memory
from memoryd.demo.look import documents_holding, keys_holding
from memoryd.demo.stage import Stage
from memoryd.errors import NotFound
from memoryd.model.ids import hash_content

# Where it must have shown before: a look that finds nothing proves something only if it could have found it.
SHOWN_BEFORE = (
    "get by its id", "recall by its words", "Redis: all other keys", "MongoDB: memories", "MongoDB: versions"
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """Where a memory shows."""

    places: dict[str, list[str]]

    @property
    def anywhere(self) -> list[str]:
        """All of it."""
        return [one for found in self.places.values() for one in found]


async def forget(stage: Stage, memory: Memory) -> Found:
    """Forget the memory; what is still found of it afterwards."""
    voice = stage.voice
    voice.chapter(
        "A memory is forgotten",
        "A forget removes the record, its vector, its journal entries, its cached vectors and all its versions. A tombstone "
        "stays, which holds no content: it keeps late copies from coming back.",
    )
    needles = await _needles(stage, memory)
    before = await _look(stage, memory, needles)
    receipt = await stage.memory.forget(memory.id, durability="archived")
    stage.ledger.forgot(receipt)
    await stage.drained()
    after = await _look(stage, memory, needles)
    voice.fields("The receipt:", msgspec.structs.asdict(receipt).items())
    voice.say("The memory's words, the hashes of its two contents and its vector's bytes were looked for everywhere:")
    voice.table(
        ["place", "before", "after"],
        [(place, len(found), len(after.places[place])) for place, found in before.places.items()],
    )
    after.places["a look that was blind before"] = [place for place in SHOWN_BEFORE if not before.places[place]]
    await _show_tombstones(stage, memory)
    return after


async def _needles(stage: Stage, memory: Memory) -> list[bytes]:
    """What would give it away: a word of it, the hash of each of its contents, its vector."""
    vector = cast("bytes | None", await stage.redis.hget(memory.key, "embedding"))
    hashes = [hash_content(content).encode() for content in (FACT, EDITED)]
    return [MARK.encode(), *hashes, *([vector[:64]] if vector else [])]


async def _look(stage: Stage, memory: Memory, needles: list[bytes]) -> Found:
    keys = await keys_holding(stage.redis, needles)
    journals = [key for key in keys if key.startswith("aether:journal:")]
    database = stage.archive.database
    places = {
        "get by its id": await _got(stage, memory),
        "recall by its words": await _recalled(stage, memory, MARK),
        "recall by its meaning": await _recalled(stage, memory, "sweet preserves put aside for a family celebration"),
        "Redis: journals": journals,
        "Redis: all other keys": [key for key in keys if key not in journals],
    }
    for name in sorted(await database.list_collection_names()):
        places[f"MongoDB: {name}"] = await documents_holding(database, name, needles)
    return Found(places)


async def _got(stage: Stage, memory: Memory) -> list[str]:
    try:
        return [(await stage.memory.get(memory.id)).id]
    except NotFound:
        return []


async def _recalled(stage: Stage, memory: Memory, query: str) -> list[str]:
    return [hit.memory.id for hit in await stage.memory.recall(query, limit=50) if hit.memory.id == memory.id]


async def _show_tombstones(stage: Stage, memory: Memory) -> None:
    document = await stage.archive.memories.find_one({"_id": memory.id}) or {}
    stage.voice.fields("All that is left of it, in MongoDB (Redis has the same):", document.items())
