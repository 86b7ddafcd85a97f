"""Documents have a memory's promises: one atomic step, one journal entry, the archive exactly once, and back again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from memoryd.agent.documents import DocumentStore
from memoryd.archive.documents import DocumentArchive
from memoryd.clock import SystemClock
from memoryd.errors import ArchiveUnavailable, RequestIdReused
from memoryd.hot.changes import Request
from memoryd.hot.documents import Change, Documents, Outline
from memoryd.hot.sessions import Sessions
from memoryd.model.document import Place, place_id
from memoryd.model.scope import Scope
from tests.integration.tools import a_hand, dead_letters
from tests.waiting import PATIENCE_SECONDS, eventually
from tests.world import World

SCOPE = Scope("acme", "support", "scout", "s1")
PLACE = Place("sessions", place_id("ses", "acme", "support", "scout", "s1"), SCOPE)
AWKWARD = {"status": "open", "variables": {"$ref": 1, "a.b": [1, None, {}, []], "": "x\u2028\x01", "n": -(2**63), "f": 1e300}}
_ids = itertools.count()


def request(fingerprint: str = "f", request_id: str = "") -> Request:
    return Request(request_id or f"request-{next(_ids)}", fingerprint)


def change(step: int, **more: Any) -> Change:
    return Change(PLACE, AWKWARD | {"step": step}, more.pop("request", None) or request(), **more)


def store_of(world: World) -> DocumentStore:
    return DocumentStore(Documents(world.redis, world.keys), DocumentArchive(world.archive), SystemClock())


async def emptied(world: World) -> None:
    """Redis without the document and without any memory of it, its journal drained."""
    await world.redis.delete(world.keys.document(PLACE))


async def archived_version(world: World) -> int:
    found = await DocumentArchive(world.archive).find(PLACE)
    return int(found["version"]) if found else 0


async def test_a_document_is_the_same_in_both_stores(world: World) -> None:
    """Whatever JSON its body holds; the archive has its last version once."""
    store = store_of(world)
    for step in range(5):
        written, _ = await store.put(change(step, ttl_seconds=600))
        assert (written.outcome, written.version) == ("written", step + 1)
    await eventually(lambda: _is(archived_version(world), 5), what="the archive has version 5")

    here, there = await store.documents.get(PLACE), await store.archive.get(PLACE)
    assert here == there
    assert here is not None
    assert here.body == AWKWARD | {"step": 4}
    assert 0 < await world.redis.ttl(world.keys.document(PLACE)) <= 600


async def test_one_request_has_one_effect_and_one_answer(world: World) -> None:
    """A repeat gets the first answer, also after others have written; its id for another request is refused."""
    store, first = store_of(world), request("f", "once")
    one, _ = await store.put(change(1, request=first))
    await store.put(change(2))
    again, _ = await store.put(change(1, request=first))

    assert (again.version, again.entry, again.replayed) == (one.version, one.entry, True)
    with pytest.raises(RequestIdReused):
        await store.put(change(1, request=request("other", "once")))


async def test_of_two_changes_of_one_version_one_is_refused(world: World) -> None:
    """Compare-and-set: the loser learns the version that stands."""
    store = store_of(world)
    await store.put(change(0))
    answers = await asyncio.gather(*(store.put(change(step, if_version=1)) for step in range(8)))

    outcomes = sorted(step.outcome for step, _ in answers)
    assert outcomes == ["conflict"] * 7 + ["written"]
    assert {step.version for step, _ in answers} == {2}
    assert (await store.put(change(9, if_version=0)))[0].outcome == "conflict"


async def test_a_document_that_redis_lost_goes_on_where_it_was(world: World) -> None:
    """Expired or emptied: it is read through, and its next version is above the archive's."""
    store = store_of(world)
    for step in range(3):
        await store.put(change(step))
    await eventually(lambda: _is(archived_version(world), 3), what="it is archived")
    await emptied(world)

    found = await store.get(PLACE)
    assert found is not None
    assert (found.version, found.body["step"]) == (3, 2)
    await emptied(world)
    assert (await store.put(change(3)))[0].version == 4
    await eventually(lambda: _is(archived_version(world), 4), what="the next version is archived")


async def test_a_document_that_expired_before_it_was_archived_is_waited_for(unsynced: World) -> None:
    """The journal has it: a new beginning beside it would lose what was acknowledged."""
    store = store_of(unsynced)
    await store.put(change(1))
    await emptied(unsynced)
    coming = asyncio.create_task(store.get(PLACE))
    async with a_hand(unsynced) as hand:
        await asyncio.sleep(0)
        await hand.archive_all()
        found = await asyncio.wait_for(coming, PATIENCE_SECONDS)
    assert found is not None
    assert found.body["step"] == 1


async def test_without_the_archive_a_new_document_begins_above_all_that_it_may_hold(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MongoDB is away, and this Redis was emptied: the old one's version must not refuse the new one."""
    store = store_of(world)
    await store.put(change(1))
    await eventually(lambda: _is(archived_version(world), 1), what="it is archived")
    await world.redis.delete(world.keys.document(PLACE), world.keys.dedup(world.keys.bucket(PLACE.id)))

    with monkeypatch.context() as away:
        away.setattr(store.archive, "find", _away)
        written, _ = await store.put(change(2))
        await emptied(world)
        with pytest.raises(ArchiveUnavailable):  # but one that was here a moment ago is not begun anew
            await store.put(change(3))
    assert written.version > 10**15
    await eventually(lambda: _is(archived_version(world), written.version), what="the new one is archived")


async def test_an_ended_document_does_not_come_back(unsynced: World) -> None:
    """Its text leaves the journal with it, and an archiver that read it before does not bring it back."""
    store = store_of(unsynced)
    async with a_hand(unsynced, "slow") as slow, a_hand(unsynced, "fast") as fast:
        await store.put(change(1))
        late = await slow.take()
        await store.put(change(2))
        ended = await store.end(PLACE, request())
        assert ended.version == 3
        assert b"variables" not in await unsynced.everything_in_redis()

        await fast.archive_all()
        await slow.archiver.archive(late)

        assert await store.get(PLACE) is None
        assert (await store.end(PLACE, request())).outcome == "missing"
        found = await store.archive.find(PLACE)
        assert found is not None
        place = {"_id", "tenant", "project", "agent_id", "session_id"}
        assert found.keys() == place | {"version", "tombstone", "ended_at", "archived"}
        again, _ = await store.put(change(1))
        assert again.version == 4
        await fast.archive_all()
        assert (await archived_version(unsynced)) == 4


async def test_parts_may_come_late_twice_or_after_their_end(unsynced: World) -> None:
    """A part is written once; what was dropped, or ended with its owner, stays away, whoever was asleep."""
    store = store_of(unsynced)
    journal: Any = unsynced.keys.journal(unsynced.keys.bucket(PLACE.id))
    place = {"collection": "messages", "id": PLACE.id, "tenant": "acme", "project": "support", "agent_id": "scout",
             "session_id": "s1"}  # fmt: skip

    async def add(**fields: Any) -> Any:
        entry: Any = {"op": "parts", "traceparent": "", **place, **fields}
        await unsynced.redis.xadd(journal, entry)
        async with a_hand(unsynced) as hand:
            return await hand.take()

    async def kept() -> list[tuple[int, str]]:
        return [(one.number, one.body["content"]) for one in await store.archive.parts("messages", PLACE.id)]

    async with a_hand(unsynced) as hand:
        some = await add(version=1, first=0, body='[{"role":"user","content":"a"},{"role":"user","content":"b"}]')
        more = await add(version=2, first=2, body='[{"role":"user","content":"c"}]')
        dropped = await add(op="dropped", version=3, numbers="1,2")
        for entries in (dropped, more, some, more):
            await hand.archiver.archive(entries)
        assert await kept() == [(0, "a")]

        await store.put(change(1))
        await hand.archive_all()
        await store.end(PLACE, request())
        await hand.archive_all()
        await hand.archiver.archive(await add(version=1, first=5, body='[{"role":"user","content":"late"}]'))
        assert await kept() == []
        await store.put(change(2))  # it lives again, above its tombstone: the late one is of its former life
        await hand.archive_all()
        await hand.archiver.archive(await add(version=1, first=6, body='[{"role":"user","content":"later"}]'))
        assert await kept() == []


async def test_a_poison_document_goes_to_the_dead_letters(world: World) -> None:
    """By reference and reason; tried again it is taken from Redis as it is."""
    store = store_of(world)
    await store.put(Change(PLACE, {"variables": {}}, request()))  # a session without a status: the validator refuses it
    [letter] = await eventually(lambda: dead_letters(world), what="the dead letter")
    assert (letter["op"], letter["collection"], letter["id"]) == ("document", "sessions", PLACE.id)
    await store.put(change(2))
    await eventually(lambda: _is(archived_version(world), 2), what="what comes after it is archived")


async def _is(answer: Any, wanted: int) -> bool:
    return bool(await answer == wanted)


async def _away(*_: Any) -> Any:
    raise ArchiveUnavailable


async def test_a_document_that_ends_while_all_are_looked_at_is_passed_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who scans is told of a key before it is read; a forget may come between, and neither a rebuild nor a verify ends of it."""
    store = store_of(world)
    await store.put(change(1))
    ended = Place("sessions", place_id("ses", "acme", "support", "scout", "s2"), Scope("acme", "support", "scout", "s2"))
    scan = world.redis.scan_iter

    async def with_one_that_has_ended(**asked: Any) -> AsyncIterator[bytes]:
        async for key in scan(**asked):
            yield key
        yield world.keys.document(ended).encode()

    monkeypatch.setattr(world.redis, "scan_iter", with_one_that_has_ended)
    found = [one async for one in store.documents.outlines("sessions", ["messages", "checkpoints"])]

    assert found == [{PLACE: Outline(1, {"messages": [], "checkpoints": []})}]
    sessions = Sessions(store.documents)
    assert (await sessions.sizes(ended), await sessions.checkpoints(ended)) == ({}, None)
