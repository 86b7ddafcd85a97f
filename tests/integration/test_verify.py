"""A receipt can be checked: whatever of the forgotten is planted again somewhere, and whatever is done to the receipts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from memoryd import MemoryClient
from memoryd.archive.receipts import ReceiptArchive, to_body
from memoryd.errors import BadRequest, NotFound
from memoryd.keys import RECEIPTS
from memoryd.model.receipt import FullReceipt, Verification, hash_of
from memoryd.model.scope import Scope
from tests.integration.tools import a_hand, caught_up, verified
from tests.waiting import eventually
from tests.world import World

PROJECT = Scope("acme", "support")


class Case:
    """A memory that was forgotten, everything that it was before, and its receipt."""

    def __init__(self, world: World, memory: MemoryClient) -> None:
        self.world = world
        self.memory = memory

    async def prepare(self) -> Case:
        """Stores, updates, archives and forgets it; keeps copies of what every place had."""
        world: Any = self.world
        kept = await self.memory.store("The kumquat.", type="fact")
        await self.memory.update(kept.id, content="The second kumquat.")
        await caught_up(self.world, self.memory)
        self.id = kept.id
        self.key = world.keys.memory("semantic", self.memory.scope, kept.id)
        self.record = await world.redis.hgetall(self.key)
        self.document = await world.memories.find_one({"_id": kept.id})
        self.versions = [one async for one in world.versions.find({"memory_id": kept.id})]
        await self.memory.forget_many(words="nothing like it", durability="archived")
        self.receipt: FullReceipt = await self.memory.forget_many(ids=[kept.id], durability="archived")
        await self.memory.forget_many(words="nothing like it either", durability="archived")
        await caught_up(self.world, self.memory)
        return self

    @property
    def receipts(self) -> Any:
        """The collection of the receipts."""
        return ReceiptArchive(self.world.archive.database).collection


@pytest.fixture
async def case(world: World, memory: MemoryClient) -> Case:
    """One forgotten memory, whose receipt stands between two others."""
    return await Case(world, memory).prepare()


async def a_record_put_back_by_hand(case: Case) -> str:
    await case.world.redis.hset(case.key, mapping=case.record)
    return "Redis: records"


async def half_a_record(case: Case) -> str:
    await case.world.redis.hset(case.key, "content", "The kumquat.")
    return "Redis: records"


async def no_tombstone_in_redis(case: Case) -> str:
    await case.world.redis.delete(case.world.keys.tombstone(case.id))
    return "Redis: tombstones"


async def a_journal_entry_from_a_backup(case: Case) -> str:
    entry: Any = {**case.record, b"op": b"stored"}
    await case.world.redis.xadd(case.world.keys.journal(case.world.keys.bucket(case.id)), entry)
    return f"Redis: journal {case.world.keys.bucket(case.id)}"


async def a_version_from_a_backup(case: Case) -> str:
    await case.world.versions.insert_one(case.versions[0])
    return "MongoDB: versions"


async def a_document_from_a_backup(case: Case) -> str:
    await case.world.memories.replace_one({"_id": case.id}, case.document)
    return "MongoDB: memories"


async def no_tombstone_in_mongodb(case: Case) -> str:
    await case.world.memories.delete_one({"_id": case.id})
    return "MongoDB: memories"


async def a_summary_that_is_still_there(case: Case) -> str:
    other = "mem_" + "1" * 32
    record = {**case.record, b"id": other.encode(), b"derived_from": case.id.encode()}
    await case.world.redis.hset(case.world.keys.memory("semantic", PROJECT, other), mapping=record)
    return "Redis: records"


async def a_summary_in_the_archive(case: Case) -> str:
    summary = {**case.document, "_id": "mem_" + "1" * 32, "derived_from": [case.id]}
    await case.world.memories.insert_one(summary)
    return "MongoDB: memories"


async def a_former_version_of_a_summary(case: Case) -> str:
    other = "mem_" + "1" * 32
    past = {**case.versions[0], "_id": f"{other}:1", "memory_id": other, "derived_from": [case.id]}
    await case.world.versions.insert_one(past)
    return "MongoDB: versions"


async def a_receipt_that_says_less(case: Case) -> str:
    await case.receipts.update_one({"_id": case.receipt.id}, {"$set": {"request_id": "another"}})
    return "chain"


async def a_receipt_with_a_hash_that_fits(case: Case) -> str:
    body = to_body(await case.receipts.find_one({"_id": case.receipt.id}))
    fitting = hash_of({**body, "request_id": "another"})
    await case.receipts.update_one({"_id": case.receipt.id}, {"$set": {"request_id": "another", "hash": fitting}})
    return "chain"


async def the_receipt_before_it_removed(case: Case) -> str:
    await case.receipts.delete_one({"seq": 1})
    return "chain"


PLANTED = (
    a_record_put_back_by_hand, half_a_record, no_tombstone_in_redis, a_journal_entry_from_a_backup,
    a_version_from_a_backup, a_document_from_a_backup, no_tombstone_in_mongodb, a_summary_that_is_still_there,
    a_summary_in_the_archive, a_former_version_of_a_summary, a_receipt_that_says_less, a_receipt_with_a_hash_that_fits,
    the_receipt_before_it_removed,
)  # fmt: skip


async def test_everything_that_is_planted_is_found(case: Case) -> None:
    """One thing at a time, where it is; and when it is taken away again, nothing is found. Sync stands still meanwhile."""
    world, database = case.world, case.world.archive.database
    await world.stop("sync")
    await world.stop("daemon")  # which would embed what is planted in a journal
    verifier = _verifier(world)
    saved = {name: [one async for one in database[name].find({})] for name in ("memories", "versions", "receipts")}
    all_keys = [key async for key in world.redis.scan_iter()]
    dumps: dict[bytes, Any] = {key: dump for key in all_keys if (dump := await world.redis.dump(key))}

    async def restored() -> None:
        for name, documents in saved.items():
            await database[name].delete_many({})
            if documents:
                await database[name].insert_many(documents)
        await world.redis.delete(*[key async for key in world.redis.scan_iter()])
        for key, dump in dumps.items():
            await world.redis.restore(key, 0, dump)

    for plant in PLANTED:
        where = await plant(case)
        found: Verification = await verifier.verify(case.memory.scope, case.receipt.id)
        assert not found.ok, plant.__name__
        assert where in {one.where for one in found.findings}, (plant.__name__, found.findings)
        await restored()
        clean = await verifier.verify(case.memory.scope, case.receipt.id)
        assert (clean.ok, clean.findings) == (True, []), plant.__name__


def _verifier(world: World) -> Any:
    """What the daemon would ask, without the daemon."""
    from memoryd.clock import SystemClock
    from memoryd.hot.receipts import Forgets
    from memoryd.hot.records import Records
    from memoryd.lifecycle.receipts import ReceiptBook
    from memoryd.lifecycle.verifying import Verifier

    book = ReceiptBook(Forgets(world.redis), ReceiptArchive(world.archive.database))
    return Verifier(book, Records(world.redis, world.keys), world.archive, [], SystemClock())


async def test_the_whole_chain_is_walked_on_demand(case: Case, memory: MemoryClient) -> None:
    """A receipt far away was changed: this one and its neighbours are well, the chain is not."""
    last = (await memory.receipts())[0]
    await case.receipts.update_one({"seq": 1}, {"$set": {"asked_by": "nobody"}})

    assert (await verified(memory, last.id)).ok
    found = await memory.verify_receipt(last.id, chain=True)
    assert [(one.where, one.what) for one in found.findings] == [("chain", "was changed: its hash is another")]
    assert found.looked["receipts"] >= 3


async def test_a_memory_that_was_stored_again_is_no_finding(case: Case, memory: MemoryClient, world: World) -> None:
    """It is reported; and what is made of its new life may be there."""
    again = await memory.store("The kumquat.", type="fact")
    made = await memory.store("Made of the new one.", derived_from=[again.id])
    await caught_up(world, memory)

    found = await memory.verify_receipt(case.receipt.id)

    assert again.id == case.id
    assert (found.ok, found.stored_again, found.findings) == (True, [case.id], [])
    assert (await memory.get(made.id)).derived_from == [case.id]


async def test_what_has_still_to_follow_is_said(unsynced: World) -> None:
    """A forget that nobody has archived yet is not proven, and a receipt that nobody has chained is not either."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = await memory.store("The kumquat.", type="fact")
        await hand.archive_all()
        receipt = await memory.forget_many(ids=[kept.id])

        found = await memory.verify_receipt(receipt.id)

        bucket = unsynced.keys.bucket(kept.id)
        assert {one.where for one in found.findings} == {
            "chain", f"Redis: journal {bucket}", "MongoDB: memories", "MongoDB: versions"
        }  # fmt: skip
        assert not found.chained
        assert await unsynced.redis.xlen(RECEIPTS) == 1


async def test_a_receipt_is_seen_inside_its_scope_only(case: Case, world: World, memory: MemoryClient) -> None:
    """By the project, not by another agent; and an id that is none is refused."""
    async with world.connect(agent="planner") as planner, world.connect(agent="") as project:
        for look in (planner.receipt, planner.verify_receipt):
            with pytest.raises(NotFound):
                await look(case.receipt.id)
        assert await planner.receipts() == []
        assert (await project.receipt(case.receipt.id)).count == 1
        assert len(await project.receipts()) == len(await memory.receipts()) == 3
        newest, *_ = await memory.receipts(limit=1)
        assert [one.seq for one in await memory.receipts(before_seq=newest.seq)] == [2, 1]
        for wrong in ("mem_" + "0" * 32, "rcp_1"):
            with pytest.raises(BadRequest):
                await memory.receipt(wrong)
        with pytest.raises(NotFound):
            await memory.receipt("rcp_" + "0" * 32)


async def test_syncs_that_chain_at_once_make_one_chain(unsynced: World) -> None:
    """Three of them, and many receipts of one project: every number once, every link whole."""
    async with unsynced.connect() as memory:
        kept = [await memory.store(f"Note {number}.", type="fact") for number in range(60)]
        for one in kept:
            await memory.forget(one.id)
        await unsynced.start("sync", "sync2", "sync3")
        await eventually(lambda: _count(unsynced, 60), what="all receipts are chained")
        await caught_up(unsynced, memory)
        [last, *_] = await memory.receipts()
        found = await memory.verify_receipt(last.id, chain=True)
        assert (found.ok, found.looked["receipts"]) == (True, 61)


async def test_a_receipt_that_was_chained_and_not_acknowledged_stays_one(world: World, memory: MemoryClient) -> None:
    """A sync that died in between: the next one meets its own receipt."""
    kept = await memory.store("The kumquat.", type="fact")
    receipt = await memory.forget(kept.id, durability="archived")
    chained = await memory.receipt(receipt.receipt)
    await world.redis.xadd(RECEIPTS, {"id": receipt.receipt, "receipt": _json(chained)})
    await world.redis.xadd(RECEIPTS, {"id": "rcp_x", "receipt": b"rubbish"})

    async def fetched() -> bool:
        return bool(await world.redis.xlen(RECEIPTS) == 1)  # the rubbish stays, with a dead letter

    await eventually(fetched, what="the receipt is acknowledged")
    assert await _count(world, 1)

    async def buried() -> bool:
        return (await memory.stats()).dead_letters == 1

    await eventually(buried, what="the rubbish is a dead letter")
    assert (await memory.verify_receipt(receipt.receipt, chain=True)).ok


async def test_a_forget_that_redis_lost_and_that_was_repeated_has_both_receipts(world: World, memory: MemoryClient) -> None:
    """The archive knew the first run, Redis not any more; the second one's receipt went to the dead letters (seed 600084)."""
    kept = await memory.store("The kumquat.", type="fact")
    receipt = await memory.forget(kept.id, durability="archived")
    first = await memory.receipt(receipt.receipt)
    [one] = first.memories
    second = msgspec.structs.replace(first, memories=[msgspec.structs.replace(one, version=one.version + 1)])
    for _ in range(2):  # and a sync that died before it had acknowledged
        await world.redis.xadd(RECEIPTS, {"id": second.id, "receipt": _json(second)})
        await eventually(lambda: _none_waits(world), what="the receipt is acknowledged")
    both = await memory.receipts()
    assert [one.id == first.id for one in both] == [False, True]
    again = await memory.receipt(both[0].id)
    assert (again.memories, again.request_id) == (second.memories, first.request_id)
    assert (await memory.stats()).dead_letters == 0
    assert (await memory.verify_receipt(first.id, chain=True)).ok


async def _none_waits(world: World) -> bool:
    return not await world.redis.xlen(RECEIPTS)


def _json(receipt: FullReceipt) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(receipt, seq=0, previous="", hash=""))


async def _count(world: World, count: int) -> bool:
    return bool(await ReceiptArchive(world.archive.database).collection.count_documents({}) == count)
