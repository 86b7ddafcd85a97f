"""Chapter 8: everything is counted, and compared with what the demo did."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from rich.text import Text

from memoryd import keys as names
from memoryd.archive.codec import to_record as from_document
from memoryd.demo.forget import Found
from memoryd.demo.stage import Stage
from memoryd.demo.wait import NeverHappened, until
from memoryd.hot.codec import to_record as from_fields
from memoryd.model.record import Record, seal

Records = dict[str, Record]


@dataclass(frozen=True)
class Check:
    """A number that must be right, and (`same`) what was counted must be the very things that were expected."""

    what: str
    expected: int
    found: int
    same: bool = True

    @property
    def passed(self) -> bool:
        """Whether it is right."""
        return self.same and self.expected == self.found


async def count(stage: Stage, left: Found) -> bool:
    """Check everything; whether all is right."""
    stage.voice.chapter(
        "The count",
        "Nothing that was acknowledged may be missing, nothing that was forgotten may be there. So each store is read "
        "directly and compared with what the demo did.",
    )
    await _settled(stage)
    checks = await _checks(stage, left)
    rows = [
        (one.what, one.expected, one.found, Text("ok") if one.passed else Text("DIFFERS", "bold red")) for one in checks
    ]
    stage.voice.table(["what", "expected", "found", ""], rows)
    wrong = [one for one in checks if not one.passed]
    if wrong:
        named = "; ".join(one.what for one in wrong)
        stage.voice.say(f"{len(wrong)} of {len(checks)} checks failed: {named}", style="bold red")
    else:
        stage.voice.say(f"all {len(checks)} checks passed", style="bold green")
    return not wrong


async def _checks(stage: Stage, left: Found) -> list[Check]:
    ledger = stage.ledger
    hot, current, past = await _hot(stage), await _current(stage), await _past(stage)
    stones = await _stones(stage)
    alive = set(ledger.alive)
    last = {memory_id: past[key] for memory_id, (_, n) in ledger.alive.items() if (key := f"{memory_id}:{n}") in past}
    others, embedded = len(alive) - ledger.turns, len(alive) if stage.has_model else 0
    return [
        Check("turns of the conversation that were acknowledged", ledger.turns, ledger.turns_acknowledged),
        Check(f"memories in Redis: the turns and {others} facts", len(alive), len(hot), set(hot) == alive),
        Check("memories in MongoDB's `memories`", len(alive), len(current), set(current) == alive),
        Check("versions in MongoDB's `versions`", len(ledger.versions), len(past), set(past) == ledger.versions),
        Check("memories with the acknowledged content in all three", len(alive), _equal(stage, hot, current, last)),
        Check("memories with the same vector in all three", embedded, _vectors(hot, current, last)),
        Check("memories that wait for a vector", len(alive) - embedded, _pending(hot)),
        Check("tombstones, each in both stores", len(ledger.forgotten), len(stones), stones == ledger.forgotten),
        Check("places where the forgotten memory was still found", 0, len(left.anywhere)),
        Check("entries left in the journals", 0, await _journal_entries(stage)),
        Check("requests left unanswered", 0, await stage.redis.xlen(names.REQUESTS)),
        Check("dead letters", 0, await stage.redis.xlen(names.DEAD_LETTERS)),
    ]


async def _hot(stage: Stage) -> Records:
    """Every memory in Redis, whatever its scope."""
    keys = [key async for key in stage.redis.scan_iter("aether:memory:*", count=1000)]
    async with stage.redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hgetall(key)
        rows = await pipe.execute()
    return _by_id(from_fields(fields, stage.settings.vector_type) for fields in rows)


async def _current(stage: Stage) -> Records:
    return _by_id([from_document(one) async for one in stage.archive.memories.find({"tombstone": {"$ne": True}})])


async def _past(stage: Stage) -> Records:
    """Every version by its own id, `<memory>:<version>`."""
    return {
        one["_id"]: from_document({**one, "_id": one["memory_id"]}) async for one in stage.archive.versions.find({})
    }


def _by_id(records: Iterable[Record]) -> Records:
    return {record.memory.id: record for record in records}


async def _stones(stage: Stage) -> dict[str, int]:
    """The tombstones that both stores have, with their versions."""
    found = {one["_id"]: int(one["version"]) async for one in stage.archive.memories.find({"tombstone": True})}
    here = {key.decode().rpartition(":")[2] async for key in stage.redis.scan_iter("aether:tombstone:*", count=1000)}
    return found if here == set(found) else {}


def _equal(stage: Stage, *stores: Records) -> int:
    return sum(
        all(one is not None and (one.memory.content, one.memory.version) == known for one in found)
        and len({seal(one.memory) for one in found if one}) == 1
        for memory_id, known in stage.ledger.alive.items()
        for found in [[store.get(memory_id) for store in stores]]
    )


def _vectors(hot: Records, *others: Records) -> int:
    return sum(
        record.vector is not None
        and all(memory_id in store and store[memory_id].vector == record.vector for store in others)
        for memory_id, record in hot.items()
    )


def _pending(records: Records) -> int:
    return sum(record.memory.pending for record in records.values())


async def _settled(stage: Stage) -> None:
    """Wait until the last entries are trimmed, a moment after they are done. What is left even then is counted."""
    await stage.drained()

    async def look() -> bool | None:
        left = await _journal_entries(stage) + await stage.redis.xlen(names.REQUESTS)
        return left == 0 or None

    with contextlib.suppress(NeverHappened):
        await until(look, "the streams are trimmed", within_seconds=10)


async def _journal_entries(stage: Stage) -> int:
    return sum([await stage.redis.xlen(stage.keys.journal(bucket)) for bucket in stage.keys.all_buckets()])
