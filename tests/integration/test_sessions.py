"""Working memory: whatever happens, a session holds what was acknowledged, in the order in which it was."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.agent import documents, overflow
from memoryd.agent.documents import DocumentStore
from memoryd.agent.session_forgetting import SessionForgetting, What
from memoryd.agent.sessions import Sessions
from memoryd.archive.documents import DocumentArchive
from memoryd.clock import SystemClock
from memoryd.embed.tokens import Estimate
from memoryd.errors import (
    ArchiveUnavailable,
    BadRequest,
    Conflict,
    NotFound,
    Overloaded,
    RequestIdReused,
    TooLarge,
)
from memoryd.hot import sessions as hot_sessions
from memoryd.hot.changes import Request
from memoryd.hot.documents import Documents
from memoryd.limits import CHECKPOINTS_MAX
from memoryd.model.session import Window
from memoryd.protocol import connection
from memoryd.protocol.sessions import WorkingMemory
from memoryd_schemas.indexes import definition
from memoryd_sync.documents import DocumentReconciler
from tests.waiting import eventually
from tests.world import World


def said(*texts: str, role: str = "user") -> list[dict[str, Any]]:
    return [{"role": role, "content": text} for text in texts]


def contents(window: Window) -> list[str]:
    return [one.content for one in window.messages]


def forgetting_of(world: World) -> SessionForgetting:
    """A hand for what no verb does by itself; forgetting needs no engine."""
    store = DocumentStore(Documents(world.redis, world.keys), DocumentArchive(world.archive), SystemClock())
    engine: Any = None
    return SessionForgetting(Sessions(store, engine, Estimate()))


async def expire(world: World) -> None:
    """What Redis does after an hour without use."""
    async for key in world.redis.scan_iter(match="aether:memory:working:*"):
        await world.redis.delete(key)


# --- messages -----------------------------------------------------------------------------------------------------------
async def test_what_is_appended_is_read_as_it_was_said(memory: MemoryClient) -> None:
    """Newest kept, oldest first, with everything that came with it."""
    session = memory.working("s1")
    call = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q": "tea"}'}, "n": None}
    kept = await session.append(
        {"role": "user", "content": "Find tea.", "metadata": {"a": [1.5, None, {}], "$ref": 1}},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "{}", "name": "search", "tool_call_id": "c1", "at": "2026-05-08T13:56:00.000001Z"},
    )
    assert (kept.first, kept.messages) == (0, 3)

    window = await session.window()
    assert [one.number for one in window.messages] == [0, 1, 2]
    assert window.messages[0].metadata == {"a": [1.5, None, {}], "$ref": 1}
    assert window.messages[1].tool_calls == [call]
    assert window.messages[2].at.isoformat() == "2026-05-08T13:56:00.000001+00:00"
    assert contents(await session.window(1)) == ["{}"]


async def test_sixteen_writers_lose_nothing_and_keep_their_order(world: World) -> None:
    """Each has a client of its own and never waits for the others."""

    async def write(writer: int) -> None:
        async with world.connect() as client:
            session = client.working("shared")
            for count in range(12):
                await session.append(*said(f"{writer}: {count}", f"{writer}: {count} and"))

    async with asyncio.TaskGroup() as tasks:
        for writer in range(16):
            tasks.create_task(write(writer))
    async with world.connect() as client:
        window = await client.working("shared").window(4000)
    assert [one.number for one in window.messages] == list(range(16 * 24))
    for writer in range(16):
        own = [text for text in contents(window) if text.startswith(f"{writer}: ")]
        assert own == [text for n in range(12) for text in (f"{writer}: {n}", f"{writer}: {n} and")]


async def test_a_repeated_append_has_one_effect(memory: MemoryClient) -> None:
    """The second answer is the first one; the id with something else is refused."""
    session = memory.working("s1")
    one = await session.append(*said("once"), request_id="r1")
    await session.append(*said("then"))
    again = await session.append(*said("once"), request_id="r1")

    assert (again.first, again.version, again.replayed) == (one.first, one.version, True)
    with pytest.raises(RequestIdReused):
        await session.append(*said("other"), request_id="r1")
    assert contents(await session.window()) == ["once", "then"]


async def test_a_window_holds_what_the_budget_allows(memory: MemoryClient) -> None:
    """The newest without a gap; who counted is said, and that it is an estimate."""
    session = memory.working("s1")
    await session.append(*said("old " * 100, "short", "x" * 30, "newest"))
    whole = await session.window()
    some = await session.window(budget_tokens=20)

    assert contents(some) == ["x" * 30, "newest"]
    assert some.tokens <= 20 < whole.tokens
    assert (some.total, some.counted_by) == (4, "estimate: 3 bytes a token")
    assert contents(await session.window(budget_tokens=1)) == []


async def test_an_append_does_not_touch_what_is_there(world: World, memory: MemoryClient) -> None:
    """Its journal entry carries the new messages only, and the search index reads none: the cost cannot grow with them."""
    await world.stop("sync")
    session = memory.working("s1")
    sizes = []
    for _ in range(3):
        await session.append(*said(*("a message" for _ in range(100))))
        await session.append(*said("kumquat"))
        entries = [entry async for entry in journal_entries(world)]
        sizes.append(len(entries[-1][b"body"]))
    assert max(sizes) < 100
    paths = [field.get("path", "") for field in definition("working", None)["fields"]]
    assert not [path for path in paths if "messages" in path]


async def journal_entries(world: World) -> Any:
    redis: Any = world.redis
    for bucket in world.keys.all_buckets():
        for _, fields in await redis.xrange(world.keys.journal(bucket)):
            if fields[b"op"] == b"parts":
                yield fields


# --- variables and tool state -------------------------------------------------------------------------------------------
async def test_state_is_set_by_path(memory: MemoryClient) -> None:
    """Variables and tool state are two spaces; a path leads through objects and lists."""
    session = memory.working("s1")
    await session.set("plan", {"steps": [{"done": False}], "note": None})
    await session.set("plan.steps[0].done", True)
    await session.set("call-1", {"status": "running"}, of="tools")
    await session.remove("plan.note")

    assert (await session.get()).value == {"plan": {"steps": [{"done": True}]}}
    assert (await session.get("plan.steps[0]")).value == {"done": True}
    assert (await session.get("call-1.status", of="tools")).value == "running"
    for wrong in ("plan.missing.deeper", "plan.steps[7]", "other.thing"):
        with pytest.raises(NotFound):
            await session.set(wrong, 1)
    with pytest.raises(NotFound):
        await session.get("nothing")
    with pytest.raises(TooLarge):
        await session.set("a", "x" * 40_000) and await session.set("b", "x" * 40_000)
    assert "b" not in (await session.get()).value


async def test_one_of_many_that_compare_and_set_wins(memory: MemoryClient) -> None:
    """By value as by version; and many that count up by it lose no step."""
    session = memory.working("s1")
    await session.set("owner", None)
    answers = await asyncio.gather(
        *(session.set("owner", n, if_value=None) for n in range(8)), return_exceptions=True
    )
    won = [one.value for one in answers if not isinstance(one, BaseException)]
    assert len(won) == 1
    assert sum(isinstance(one, Conflict) for one in answers) == 7
    assert (await session.get("owner")).value == won[0]

    stands = await session.get("owner")
    await session.set("owner", {"a": 1, "b": 2.0}, if_state_version=stands.state_version)
    with pytest.raises(Conflict):
        await session.set("owner", 5, if_state_version=stands.state_version)
    await session.set("owner", 0, if_value={"b": 2, "a": 1})  # equal as JSON

    async def count() -> None:
        while True:
            now = (await session.get("owner")).value
            try:
                await session.set("owner", now + 1, if_value=now)
            except Conflict:
                continue
            return

    await asyncio.gather(*(count() for _ in range(10)))
    assert (await session.get("owner")).value == 10


# --- open, close, list --------------------------------------------------------------------------------------------------
async def test_a_session_is_opened_closed_and_listed(world: World, memory: MemoryClient) -> None:
    """Used last first; another agent's are not seen, but by who sees the project."""
    opened = await memory.working("s1").open(ttl_seconds=120)
    assert (opened.source, opened.status, opened.messages) == ("new", "open", 0)
    await memory.working("s2").append(*said("hello"))
    await memory.working("s1").append(*said("hello"))
    closed = await memory.working("s2").close()
    assert closed.status == "closed"
    with pytest.raises(BadRequest, match="closed"):
        await memory.working("s2").append(*said("more"))
    assert (await memory.working("s2").open()).source == "hot"
    [key] = [key async for key in world.redis.scan_iter(match="*working*s1")]
    assert 0 < await world.redis.ttl(key) <= 120

    async with world.connect(agent="other") as other, world.connect(agent="") as project:
        await other.working("s3").append(*said("mine"))
        assert [one.session for one in (await memory.sessions()).sessions] == ["s2", "s1"]
        assert [one.session for one in (await other.sessions()).sessions] == ["s3"]
        page = await project.sessions(limit=2)
        rest = await project.sessions(limit=2, after=page.after)
        assert [one.session for one in (*page.sessions, *rest.sessions)] == ["s3", "s2", "s1"]
        with pytest.raises(NotFound):
            await other.working("s1").window()
        with pytest.raises(BadRequest):
            await other.working("s1", agent="scout").window()
        with pytest.raises(NotFound):
            await project.working("s1").window()
        assert contents(await project.working("s1", agent="scout").window()) == ["hello"]

    await world.drained(memory)
    archived = await memory.sessions(archived=True)
    assert {(one.session, one.messages) for one in archived.sessions} == {("s1", 1), ("s2", 1)}


async def test_use_keeps_a_session_in_redis(world: World, memory: MemoryClient) -> None:
    """Each read and each write begins its hour anew."""
    session = memory.working("s1")
    await session.append(*said("hello"))
    [key] = [key async for key in world.redis.scan_iter(match="*working*")]
    for use in (session.window(), session.append(*said("x")), session.get(), session.set("a", 1), session.checkpoint(),
                session.checkpoints(), session.rollback(1), session.open(), session.context("hello")):  # fmt: skip
        await world.redis.expire(key, 100)
        await use
        assert await world.redis.ttl(key) > 3000, use


# --- from the archive ---------------------------------------------------------------------------------------------------
async def whole(session: WorkingMemory) -> Any:
    """All that a session holds."""
    checkpoints = await session.checkpoints()
    states = [await session.checkpoint_state(one.number) for one in checkpoints]
    return await session.window(4000), (await session.get()), (await session.get(of="tools")).value, checkpoints, states


async def test_an_expired_session_comes_back_byte_for_byte(world: World, memory: MemoryClient) -> None:
    """Messages, state, checkpoints, numbers and version: nobody can tell, but for the place that it came from."""
    session = memory.working("s1")
    await session.append({"role": "user", "content": "é\u2028", "metadata": {"z": 1e300, "a": -0.5, "$id": {"x": []}}})
    await session.set("plan", {"z": [None, 1.0, -(2**63)], "a": {"$ref": "x"}})
    await session.set("call", {"n": 1}, of="tools")
    await session.checkpoint("first")
    await session.append(*said("two", "three"))
    await session.rollback(1)
    await session.append(*said("four"))
    await session.checkpoint("second")
    before = await whole(session)

    await expire(world)
    assert (await session.rehydrate()).source == "archive"
    assert await whole(session) == before
    assert (await session.append(*said("five"))).first == 4
    await session.rollback(2)  # the undoing of the first rollback, from the archive
    assert contents(await session.window()) == ["é\u2028", "two", "three"]
    with pytest.raises(NotFound):
        await memory.working("never").rehydrate()


async def test_a_session_that_came_back_lets_go_of_its_oldest_checkpoints(world: World, memory: MemoryClient) -> None:
    """They have no journal entry any more that would have to go with them."""
    session = memory.working("s1")
    await session.append(*said("one"))
    for number in range(CHECKPOINTS_MAX):
        await session.checkpoint(f"number {number}")
    await world.drained(memory)
    await expire(world)
    assert (await session.rehydrate()).source == "archive"
    newest = await session.checkpoint("one more")
    assert [one.number for one in await session.checkpoints()] == list(range(2, newest.number + 1))


async def test_an_emptied_redis_brings_sessions_back_on_first_use(world: World, memory: MemoryClient) -> None:
    """By reading, and by appending."""
    for name in ("s1", "s2"):
        await memory.working(name).append(*said("one", "two"))
    await world.drained(memory)
    await world.redis.flushall()
    await eventually(lambda: world.redis.exists("aether:schema"), what="the daemon has prepared it")

    async with world.connect() as client:
        assert contents(await client.working("s1").window()) == ["one", "two"]
        kept = await client.working("s2").append(*said("three"))
        assert (kept.first, kept.messages) == (2, 3)
        assert contents(await client.working("s2").window()) == ["one", "two", "three"]


async def _away(*_: Any) -> Any:
    raise ArchiveUnavailable


async def test_a_session_that_expires_while_mongodb_is_away_is_not_begun_anew(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither read as nothing, nor written beside its past; a new one can be begun meanwhile."""
    monkeypatch.setattr(connection, "RESEND_SECONDS", 60)  # a refused request that is sent again would succeed later
    await world.stop("sync")
    await memory.working("s1").append(*said("one"))
    await expire(world)
    with monkeypatch.context() as away:
        away.setattr(DocumentArchive, "find", _away)
        away.setattr(documents, "ARCHIVED_TIMEOUT_SECONDS", 0.1)
        with pytest.raises(ArchiveUnavailable):
            await memory.working("s1").window()
        with pytest.raises(ArchiveUnavailable):
            await memory.working("s1").append(*said("two"))
        kept = await memory.working("new").append(*said("hello"))
        assert kept.first > 10**15
    await world.start("sync")
    assert contents(await memory.working("s1").window()) == ["one"]
    await world.drained(memory)
    await expire(world)
    assert contents(await memory.working("new").window()) == ["hello"]


# --- overflow -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of twenty messages, of which four leave at a time."""
    monkeypatch.setattr(overflow, "SESSION_MESSAGES_MAX", 20)
    monkeypatch.setattr(overflow, "SESSION_OVERFLOW_MESSAGES", 4)
    monkeypatch.setattr(hot_sessions, "SESSION_MESSAGES_MAX", 20)


async def test_the_oldest_messages_of_a_full_session_become_memories(
    small: None, world: World, memory: MemoryClient
) -> None:
    """Each once, in its session, with its time and number; the session goes on without them."""
    session = memory.working("s1")
    for number in range(30):
        kept = await session.append(*said(f"remark {number}"))
        assert kept.messages <= 20
    await world.drained(memory)

    numbers = [one.number for one in (await session.window(100)).messages]
    assert numbers == list(range(12, 30))
    async with world.connect(session="s1") as inside:
        stats = await inside.stats()
        assert stats.by_type == {"episodic": 12}
        found = await inside.recall("remark", limit=50)
    assert {hit.memory.metadata["message"]: hit.memory.content for hit in found} == {
        n: f"user: remark {n}" for n in range(12)
    }


async def test_an_overflow_that_was_cut_off_is_done_again(
    small: None, world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memories come first: a death before the messages leave repeats them, and they meet themselves."""
    session = memory.working("s1")
    await session.append(*said(*(f"remark {number}" for number in range(20))))
    with monkeypatch.context() as cut:
        cut.setattr(hot_sessions.Sessions, "leave", _nothing)
        for number in range(20, 24):
            assert (await session.append(*said(f"remark {number}"))).overflowed == 0
        await session.append(*said("remark 24"))
        with pytest.raises(Overloaded):
            await session.append(*said("too much"))
    await session.window()
    monkeypatch.setattr(hot_sessions, "SESSION_FULL_FACTOR", 2)
    kept = await session.append(*said("remark 25"))
    assert (kept.overflowed, kept.messages) == (8, 18)
    await world.drained(memory)
    assert (await memory.stats()).memories == 8
    assert await world.memories.count_documents({}) == 8


async def _nothing(*_: Any, **__: Any) -> bool:
    return False


async def test_a_rollback_brings_back_what_had_become_memories(small: None, world: World, memory: MemoryClient) -> None:
    """The checkpoint names them, and the archive has them."""
    session = memory.working("s1")
    await session.append(*said(*(f"remark {number}" for number in range(15))))
    taken = await session.checkpoint("fifteen")
    await session.append(*said(*(f"remark {number}" for number in range(15, 30))))
    assert (await session.window(100)).messages[0].number == 12
    back = await session.rollback(taken.number)
    assert back.messages == 15
    assert contents(await session.window(100)) == [f"remark {number}" for number in range(15)]
    await session.rollback(back.undo)
    assert [one.number for one in (await session.window(100)).messages] == list(range(12, 30))


# --- forgetting ---------------------------------------------------------------------------------------------------------
async def test_two_lives_of_a_session_share_nothing(world: World, memory: MemoryClient) -> None:
    """A session that begins again under a forgotten one's name starts empty, in both stores."""
    session = memory.working("s1")
    await session.append(*said("one", "two"))
    await session.checkpoint("x")
    await world.drained(memory)
    scope = memory.scope.narrowed("s1")
    assert await forgetting_of(world).whole(scope, request=Request("r1", "f"))
    assert not await forgetting_of(world).whole(scope, request=Request("r2", "f"))
    with pytest.raises(NotFound):
        await session.window()
    kept = await session.append(*said("three"))
    assert kept.first == 2
    await world.drained(memory)
    await expire(world)
    assert contents(await session.window()) == ["three"]
    assert await session.checkpoints() == []


async def test_what_is_forgotten_of_a_session_is_in_no_checkpoint_and_no_store(
    world: World, memory: MemoryClient, small: None
) -> None:
    """Messages that it holds, that have overflowed, that only a checkpoint names; values; and checkpoints of values."""
    session = memory.working("s1")
    await session.append(*said("the code is kumquat", *(f"remark {n}" for n in range(9))))
    await session.checkpoint("clean")
    await session.set("note", {"code": "kumquat"})
    await session.checkpoint("with the value")
    await session.append(*said("kumquat again", "after"))
    await session.rollback(1)
    await session.append(*said(*(f"more {n}" for n in range(12))))
    await world.drained(memory)
    what = What(lambda body: "kumquat" in body["content"], lambda text: "kumquat" in text)

    gone = await forgetting_of(world).some(memory.scope.narrowed("s1"), what)

    assert (gone.messages, gone.variables, gone.checkpoints) == ([0, 10], [], [2, 3])
    await world.drained(memory)
    redis: Any = world.redis
    for key in [key async for key in redis.scan_iter(match="*working*")]:
        assert b"kumquat" not in await redis.execute_command("JSON.GET", key)
    for collection in ("sessions", "messages", "checkpoints"):
        assert "kumquat" not in str([one async for one in world.archive.database[collection].find({})])
    await session.rollback(1)
    assert contents(await session.window(50)) == [f"remark {n}" for n in range(9)]
    await expire(world)
    assert contents(await session.window(50)) == [f"remark {n}" for n in range(9)]
    assert await forgetting_of(world).all_of(memory.scope, request=Request("r", "f")) == 1


async def test_a_session_that_mongodb_has_lost_is_archived_again(world: World, memory: MemoryClient) -> None:
    """Found by its version; journaled anew with every message and checkpoint, and brought back from there."""
    session = memory.working("s1")
    await session.append(*said("one", "two"))
    await session.set("a", 1)
    await session.checkpoint("x")
    await session.append(*said("three"))
    await world.drained(memory)
    before = await whole(session)
    reconciler = DocumentReconciler(Documents(world.redis, world.keys), DocumentArchive(world.archive))
    assert ((await reconciler.compare()).hot, (await reconciler.compare()).behind) == (1, [])

    for name in ("sessions", "messages", "checkpoints"):
        await world.archive.database[name].delete_many({})
    [behind] = (await reconciler.compare()).behind
    await reconciler.mend(behind)
    await world.drained(memory)

    assert (await reconciler.compare()).behind == []
    await expire(world)
    assert await whole(session) == before

    for name in ("messages", "checkpoints"):  # one of several: the version tells nothing
        await session.append(*said("four"))
        await world.drained(memory)
        one = await world.archive.database[name].find_one(sort=[("number", 1)])
        assert one is not None
        await world.archive.database[name].delete_one({"_id": one["_id"]})
        assert (await reconciler.compare()).behind == [behind], name
        await reconciler.mend(behind)
        await world.drained(memory)
        assert (await reconciler.compare()).behind == []
