"""Hostile input: a typed error or a correct result, and the daemon goes on.

One daemon takes many cases in a row, because what one case breaks, the next ones and the last line of each test meet.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from memoryd import MemoryClient, keys
from memoryd.errors import BadRequest, MemorydError, NotFound, TooLarge
from memoryd.limits import (
    APPEND_MESSAGES_MAX,
    CONTENT_BYTES_MAX,
    ENVELOPE_BYTES_MAX,
    MESSAGE_CONTENT_BYTES_MAX,
    QUERY_BYTES_MAX,
    STATE_BYTES_MAX,
    STORE_MANY_MAX,
    TAGS_MAX,
)
from memoryd.model.results import Stored
from memoryd.protocol.verbs import FORMS
from tests.waiting import PATIENCE_SECONDS, eventually
from tests.wire import SCOPE, Wire, goes_on
from tests.world import World

ID = "mem_" + "0" * 32

# Names that mean something to a key, a query, a glob, a shell, a URL, or a reader's eye.
ODD_NAMES = [
    "*", "a*", "|", "a|b", "{", "}", "{}", "{0a}", "@", "@tenant:{*}", "-", "-a", ":", ",", "a,b", "%", "%2C", "%2a", "~",
    "'", '"', "\\", "\\*", "(", ")", "[", "]", "[a-z]", "$", "$p0", "=>[KNN 1 @embedding $v]", "?", "^", "!", ";", "/", "..",
    "#", "&", "=", "<", ">", "+", " ", " a", "a ", "A", "a", "ä", "a\u0308", "\u202eevil", "\u200b", "\u2028", "עברית",
    "العربية", "नमस्ते", "👩\u200d👩\u200d👧", "the", "null", "true", "0", "nan", "\ufeff", "\uffff", "x" * 128,
]  # fmt: skip
BAD_NAMES = ["", "\0", "a\0b", "a\nb", "\r", "\t", "\x1b[2J", "\x7f", "\x85", "x" * 129, "é" * 65]

ODD_TEXTS = [
    "*", "|", "}", "@tenant:{*}", "-Ada", '"Ada', "it's", "%%Ada%%", "(", ")", "[1 2]", "$p0", "$vector", "\\", "a\\", "~Ada",
    "=>[KNN 10 @embedding $vector AS d]", "@content:(Ada|Bob) -@agent_id:{scout}", "Ada*", "w'*'", "tea => {$weight: 0}",
    "'; DROP TABLE memories; --", '{"$where": "1"}', "$ne", "EVAL return 1", "\r\nFLUSHALL\r\n", "\x1b[31mred\x1b[0m", "\x01",
    "the of and", "?!…", "4711", "1e309", "NaN", "null", "नमस्ते दुनिया", "caf\u0065\u0301", "\u202eright to left", "שלום עולם",
    "👩\u200d👩\u200d👧", "\u0301", "\ufeff", "\uffff", "a" * 300, "<script>alert(1)</script>", "%s %n {0} {{}} ${x}",
]  # fmt: skip


@pytest.fixture
async def wire(world: World) -> AsyncIterator[Wire]:
    """A client without manners."""
    async with Wire(world) as wire:
        yield wire


async def test_odd_text_is_remembered_and_found_as_it_is(world: World, memory: MemoryClient) -> None:
    """Query syntax in a content or a query is text like any other: no error, no operator, no loss."""
    kept = await memory.store_many([{"content": text, "type": "fact"} for text in ODD_TEXTS])
    stats = await world.drained(memory)
    ids = [one.id for one in kept if isinstance(one, Stored)]

    assert len(set(ids)) == stats.memories == len(ODD_TEXTS)
    for memory_id, text in zip(ids, ODD_TEXTS, strict=True):
        assert (await memory.get(memory_id)).content == text
        hits = {hit.memory.id: hit for hit in await memory.recall(text, limit=200)}
        assert hits[memory_id].why["meaning"].value == pytest.approx(1, abs=1e-5), text
    await goes_on(world)


async def test_odd_text_is_found_by_its_words_alone(world: World) -> None:
    """Before the vector is there, each text that has words is found by them, in every script."""
    world.embedder.away = True
    async with world.connect() as memory:
        for text in [
            "नमस्ते दुनिया",
            "caf\u0065\u0301",
            "שלום עולם",
            "4711",
            "a" * 120,
            "snake_case",
            "it's",
            "Ada*",
            "ÄRGER",
            "Österreich",
            "Москва",
        ]:
            kept = await memory.store(text)
            found = {hit.memory.id for hit in await memory.recall(text)}
            assert kept.id in found, text


async def test_odd_names_are_places_like_any_other(world: World, wire: Wire) -> None:
    """As tenant, project, agent, session, tag and tool at once; each sees its own memory and nobody else's."""
    for name in ODD_NAMES:
        scope = dict.fromkeys(("tenant", "project", "agent", "session"), name)
        args = {
            "content": "The same in every place.",
            "type": "fact",
            "tags": [name, f"{name[:60]},y"],
            "source_tool": name,
        }
        kept = await wire.result("store", args, scope=scope)
        assert (kept["outcome"], kept["version"]) == ("stored", 1), name
        one = await wire.result("get", {"id": kept["id"]}, scope=scope)
        assert [one[field] for field in ("tenant", "project", "agent_id", "session_id", "source_tool")] == [name] * 5
        assert one["tags"] == args["tags"]

    for name in ODD_NAMES:
        scope = dict.fromkeys(("tenant", "project", "agent", "session"), name)
        found = await wire.result("recall", {"query": "the same place", "tags": [name]}, scope=scope)
        assert [hit["memory"]["tenant"] for hit in found["hits"]] == [name]
        assert (await wire.result("stats", scope=scope))["memories"] == 1
    await goes_on(world)


async def test_bad_names_are_refused_wherever_they_stand(world: World, wire: Wire) -> None:
    """Before they reach a key or a filter; the error names the field and never quotes the name."""
    for name in BAD_NAMES:
        for part in ("tenant", "project", "agent", "session"):
            if name or part in ("tenant", "project"):
                error = await wire.refused("stats", scope={**SCOPE, part: name})
                assert (error["code"], error["details"]["field"]) == ("bad_request", f"scope.{part}"), (part, name)
        for field, value in (("tags", [name]), ("source_tool", name), ("session", name)):
            if name or field == "tags":
                error = await wire.refused("store", {"content": "c", field: value})
                assert (error["code"], error["details"]["field"]) == ("bad_request", field), (field, name)
        error = await wire.refused("recall", {"query": "q", "tags": [name]})
        assert error["code"] == "bad_request"
    assert (await wire.result("stats"))["memories"] == 0
    await goes_on(world)


async def test_half_characters_are_refused(world: World, wire: Wire) -> None:
    """JSON can spell a lone surrogate, and WTF-8 can carry one; neither store can hold it."""
    for half in (rb"\ud800", rb"\udfff", rb"x\ud83d", b"\xed\xa0\x80", b"\xff", b"\xc3"):
        for template in (
            b'{"v":1,"id":"i","op":"store","scope":{"tenant":"t","project":"p"},"args":{"content":"HALF"}}',
            b'{"v":1,"id":"i","op":"store","scope":{"tenant":"t","project":"p"},"args":{"content":"c","metadata":{"HALF":1}}}',
            b'{"v":1,"id":"i","op":"stats","scope":{"tenant":"HALF","project":"p"}}',
            b'{"v":1,"id":"i","op":"recall","scope":{"tenant":"t","project":"p"},"args":{"query":"HALF"}}',
            b'{"v":1,"id":"HALF","op":"stats","scope":{"tenant":"t","project":"p"}}',
            b'{"v":1,"id":"i","op":"HALF","scope":{"tenant":"t","project":"p"}}',
        ):
            answer = await wire.raw(template.replace(b"HALF", half))
            assert answer["error"]["code"] in ("bad_request", "unknown_operation"), template
    await goes_on(world)


def each(op: str, field: str, *values: Any, **rest: Any) -> list[tuple[str, Any]]:
    """Arguments of `op` with each of the values in one field."""
    return [(op, {**rest, field: value}) for value in values]


NO_ARGS: list[Any] = [{}, [1], 5, "x", True]
MESSAGE: dict[str, Any] = {"role": "user", "content": "c"}
WRONG_MESSAGES: list[Any] = [
    {"role": ""}, {"role": 5}, {"role": "\n"}, {"role": "r" * 129}, {"content": "\0"}, {"content": 5}, {"content": ""},
    {"content": "x" * (MESSAGE_CONTENT_BYTES_MAX + 1)}, {"metadata": []}, {"metadata": {"a": 2**64}}, {"metadata": {"\0": 1}},
    {"tool_calls": {}}, {"tool_calls": ["x"]}, {"tool_calls": [{"a": "\0"}]}, {"tool_calls": [{"a": "x" * 140_000}]},
    {"name": "\0"}, {"tool_call_id": "x" * 129}, {"at": "tomorrow"}, {"at": "2026-01-01T00:00:00"}, {"number": 5}, {"entry": "1-1"},
]  # fmt: skip
WRONG_MESSAGES = [MESSAGE | wrong for wrong in WRONG_MESSAGES]
BAD_PATHS: list[Any] = [
    None, "", 5, ["a"], "$", "$.a", "..", ".a", "a.", "a..b", "a.[0]", "[0]",
    "a[-1]", "a[0", "a[*]", "*", "a.*", "a[?(@.b)]", "a['b']",
    'a["b"]', 'a"]', "a b", "é", "a\0", "a\n", "a[1:2]", "a[9999999]", "a]", "x" * 65, ".".join("a" * 17), "a.\u202e", "@",
    "a)", "a;DEL", "\\", "a\\",
]  # fmt: skip
# What an operation is given, all of it wrong.
WRONG_ARGS: list[tuple[str, Any]] = [
    *each("store", "content", None, 5, True, [], {}, "", "   ", "\0", "a\0b", "x" * (CONTENT_BYTES_MAX + 1)),
    *each("store", "importance", "0.5", -0.1, 1.1, None, True, [], 1e308, content="c"),
    *each("store", "metadata", None, [], "x", 5, {"a": 2**64}, {"a": -(2**70)}, {"a": "\0"}, {"\0": 1}, content="c"),
    *each("store", "tags", None, "t", [1], [None], [["t"]], {"t": 1}, ["t"] * (TAGS_MAX + 1), content="c"),
    *each("store", "type", None, 5, "", "kumquat", "FACT", ["fact"], "semantic\0", content="c"),
    *each("store", "session", 5, [], {}, "\n", content="c"),
    *each("store", "dedup", "yes", 1, [], content="c"),
    *each("store", "related", "x", ["x"], [5], [ID.upper()], [ID] * 257, content="c"),
    *each("store", "derived_from", "x", ["mem_*"], content="c"),
    *each(
        "store", "valid_from", "tomorrow", 5, "2026-01-01", "2026-01-01T00:00:00", "0000-01-01T00:00:00Z", content="c"
    ),
    *each("store", "durability", "kumquat", None, 1, "HOT", content="c"),
    *each("store", "kumquat", 1, content="c"),
    *each("store", "id", ID, content="c"),
    *each("store", "tenant", "other", content="c"),
    *each("store", "version", 9, content="c"),
    *each("store", "scope", {}, {"tenant": "other", "project": "p"}, content="c"),
    *each("store_many", "memories", None, "x", {}, 5, [{"content": "c"}] * (STORE_MANY_MAX + 1)),
    *each("get", "id", None, 5, "", "*", "mem_", ID + "\n", ID.upper(), [ID], "mem_zz" + "0" * 30),
    *each("get", "tenant", "other", id=ID),
    *each("forget", "id", None, 5, "", "*", "mem_", ID + "\n", ID.upper(), [ID], "mem_zz" + "0" * 30),
    *each("forget", "scope", {"tenant": "other"}, id=ID),
    *each("recall", "query", None, 5, [], "", "  ", "\0", "a\0b", "x" * (QUERY_BYTES_MAX + 1)),
    *each("recall", "limit", 0, -1, 201, 10**30, "5", 1.5, None, True, query="q"),
    *each("recall", "types", "fact", ["kumquat"], [5], None, query="q"),
    *each("recall", "tags", "t", [5], None, ["t"] * (TAGS_MAX + 1), [""], ["\0"], query="q"),
    *each("recall", "session", 5, [], "\0", query="q"),
    *each("recall", "tenant", "other", query="q"),
    *each("recall", "agent", "*", query="q"),
    *each("recall", "filter", "*", "@tenant:{*}", query="q"),
    *each(
        "update",
        "changes",
        None,
        {},
        [],
        5,
        {"version": 2},
        {"tenant": "x"},
        {"type": "fact"},
        {"content": None},
        id=ID,
    ),
    *each("update", "changes", {"content": ""}, {"importance": None}, {"metadata": None}, {"session_id": "s"}, id=ID),
    *each("update", "if_version", 0, -1, "1", 1.5, True, id=ID, changes={"content": "c"}),
    *each("update", "id", "*", None, "", changes={"content": "c"}),
    *each("stats", "tenant", "other"),
    *each("working.append", "messages", None, "x", {}, [], [None], ["x"], [{}], [{"role": "user"}], session="s"),
    *each("working.append", "messages", *([wrong] for wrong in WRONG_MESSAGES), session="s"),
    *each("working.append", "messages", [MESSAGE] * (APPEND_MESSAGES_MAX + 1), session="s"),
    *each("working.append", "session", None, "", "\0", 5, ["s"], "x" * 129, messages=[MESSAGE]),
    *each("working.append", "agent", "other", "", "*", "\n", 5, session="s", messages=[MESSAGE]),
    *each("working.append", "durability", "HOT", None, session="s", messages=[MESSAGE]),
    *each("working.set", "path", *BAD_PATHS, session="s", value=1),
    *each("working.remove", "path", *BAD_PATHS, session="s"),
    *each("working.get", "path", *BAD_PATHS[2:], session="s"),
    *each("working.set", "of", "head", "", "messages", "variables]", None, ["tools"], session="s", path="a", value=1),
    *each("working.set", "value", {"a": 2**64}, {"a": "\0"}, {"\0": 1}, "x" * STATE_BYTES_MAX, session="s", path="a"),
    *each("working.set", "if_state_version", -1, "1", 1.5, session="s", path="a", value=1),
    *each("working.open", "ttl_seconds", 0, -1, 59, 10**9, "60", 60.5, session="s"),
    *each("working.window", "limit", 0, -1, 10**6, "5", session="s"),
    *each("working.window", "budget_tokens", 0, -1, 10**9, "5", session="s"),
    *each("working.context", "query", None, 5, "", "  ", "\0", "x" * (QUERY_BYTES_MAX + 1), session=""),
    *each("working.list", "agent", "other", "*", 5),
    *each("working.list", "limit", 0, 201, "5"),
    *each("checkpoint.save", "label", None, 5, "\0", "a\nb", "x" * 129, session="s"),
    *each("checkpoint.rollback", "number", None, 0, -1, "1", 1.5, 2**60, session="s"),
    *[(op, wrong) for op in FORMS if op != "stats" for wrong in (*NO_ARGS[1:], {"kumquat": 1})],
    *[(op, {}) for op in ("store", "store_many", "get", "recall", "update", "forget")],
]


async def test_wrong_arguments_are_refused_and_change_nothing(world: World, wire: Wire) -> None:
    """Wrong types, values outside their limits, fields that do not exist: each is the caller's error and says where."""
    for op, args in WRONG_ARGS:
        error = await wire.refused(op, args)
        assert error["code"] == "bad_request", (op, str(args)[:80], error)
        assert error["message"]
        assert len(error["message"]) < 300
    assert (await wire.result("stats"))["memories"] == 0
    assert (await wire.result("working.list"))["sessions"] == []
    await goes_on(world)


async def test_odd_names_and_values_of_sessions_are_kept_as_they_are(world: World, wire: Wire) -> None:
    """Names of sessions and agents, keys that are paths or operators, labels: text like any other, in both stores."""
    odd: dict[str, Any] = {
        "": 0, "$": {"a.b": ["$where"]}, "$ref": 1, "$id": 2, '"]': {"'": "\\"}, "head": 1, "\u202e": "👩\u200d👧",
    }  # fmt: skip
    for name in ODD_NAMES:
        scope = dict.fromkeys(("tenant", "project", "agent", "session"), name)
        message = {"role": name, "content": name, "name": name, "tool_call_id": name, "metadata": odd, "tool_calls": [odd]}
        await wire.result("working.append", {"messages": [message]}, scope=scope)
        await wire.result("working.set", {"path": "head", "value": odd}, scope=scope)
        await wire.result("checkpoint.save", {"label": name}, scope=scope)
    await wire.result("working.append", {"messages": [MESSAGE], "durability": "archived", "session": "last"})
    async for key in world.redis.scan_iter(match="aether:memory:working:*"):
        await world.redis.delete(key)
    for name in ODD_NAMES:
        scope = dict.fromkeys(("tenant", "project", "agent", "session"), name)
        [one] = (await wire.result("working.window", scope=scope))["messages"]
        assert [one[field] for field in ("role", "content", "name", "tool_call_id")] == [name] * 4
        assert (one["metadata"], one["tool_calls"]) == (odd, [odd])
        assert (await wire.result("working.get", {"path": "head"}, scope=scope))["value"] == odd
        assert [one["label"] for one in await wire.result("checkpoint.list", scope=scope)] == [name]
        assert [one["session"] for one in (await wire.result("working.list", scope=scope))["sessions"]] == [name]
    await goes_on(world)


async def test_an_item_that_is_wrong_leaves_the_others_alone(world: World, wire: Wire) -> None:
    """store_many answers for each, in order."""
    items: list[Any] = [
        {"content": "one"},
        None,
        "two",
        {"content": ""},
        {"content": "three", "x": 1},
        [],
        {"content": "four"},
    ]

    results = await wire.result("store_many", {"memories": items})

    assert [one.get("stored", one.get("error", {})).get("code", "stored") for one in results] == [
        "stored", "bad_request", "bad_request", "bad_request", "bad_request", "bad_request", "stored"
    ]  # fmt: skip
    assert (await wire.result("stats"))["memories"] == 2
    await goes_on(world)


SCOPED = '"scope":{"tenant":"t","project":"p"}'
STORE = f'"v":1,"id":"i","op":"store",{SCOPED}'
NOT_ENVELOPES: list[bytes] = [
    b"", b" ", b"\0", b"null", b"true", b"5", b'"x"', b"[]", b"{}", b"{", b"}", b'{"v":1', b"{'v':1}", b"\xff\xfe",
    b"\x80\x04K\x01.",
    *(f"{{{inside}}}".encode() for inside in (
        '"v":1,"id":"i","op":"stats"', '"v":1,"id":"i","op":"stats","scope":null', '"v":1,"id":"i","op":"stats","scope":[]',
        '"v":1,"id":"i","op":"stats","scope":{}', '"v":1,"id":"i","op":"stats","scope":{"tenant":"t"}',
        '"v":1,"id":"i","op":"stats","scope":{"tenant":"t","project":5}',
        '"v":1,"id":"i","op":"stats","scope":{"tenant":["*"],"project":"p"}',
        '"v":1,"id":"i","op":"stats","scope":{"tenant":"t","project":"p","role":"admin"}',
        f'"v":0,"id":"i","op":"stats",{SCOPED}', f'"v":2,"id":"i","op":"stats",{SCOPED}', f'"v":-1,"id":"i","op":"stats",{SCOPED}',
        f'"v":"1","id":"i","op":"stats",{SCOPED}', f'"v":1e99,"id":"i","op":"stats",{SCOPED}',
        f'"v":null,"id":"i","op":"stats",{SCOPED}',
        f'"v":1,"id":"","op":"stats",{SCOPED}', f'"v":1,"id":5,"op":"stats",{SCOPED}', f'"v":1,"id":null,"op":"stats",{SCOPED}',
        f'"v":1,"op":"stats",{SCOPED}', f'"v":1,"id":"i",{SCOPED}', f'"id":"i","op":"stats",{SCOPED}',
        f'"v":1,"id":"i","op":5,{SCOPED}', f'"v":1,"id":"i","op":"stats",{SCOPED},"reply_to":5',
        f'"v":1,"id":"i","op":"stats",{SCOPED},"traceparent":{{}}', f'"v":1,"id":"{"r" * 129}","op":"stats",{SCOPED}',
        f'{STORE},"args":{{"content":"c","importance":NaN}}', f'{STORE},"args":{{"content":"c","importance":1e999}}',
        f'{STORE},"args":{{"content":"c","metadata":{{"a":Infinity}}}}',
        f'{STORE},"args":{{"content":"c","metadata":{{"a":1e999}}}}',
        f'"v":1,"id":"i","op":"stats",{SCOPED}}}trailing{{',
    )),
]  # fmt: skip


async def test_what_is_no_request_is_answered_with_an_error(world: World, wire: Wire) -> None:
    """The entry's own `id` and `reply_to` say to whom, when the envelope cannot be read."""
    for raw in NOT_ENVELOPES:
        answer = await wire.raw(raw)
        assert not answer["ok"], raw
        assert answer["error"]["code"] == "bad_request", (raw, answer)
    await goes_on(world)


async def test_operations_that_do_not_exist_are_named_so(world: World, wire: Wire) -> None:
    """Neither a method of the server nor an operation of Redis can be called by its name."""
    for op in (
        "",
        "STORE",
        "store ",
        "__init__",
        "carry_out",
        "_store",
        "run",
        "FLUSHALL",
        "store\0",
        "x" * 100_000,
        "🧠",
    ):
        error = await wire.refused(op)
        assert error["code"] == "unknown_operation"
        assert len(error["message"]) < 300
    await goes_on(world)


async def test_deep_json_is_refused(world: World, wire: Wire) -> None:
    """A parser that recurses must not take the daemon with it: not at ten thousand levels, not at the edge either."""
    for levels in (17, 100, 900, 950, 1000, 10_000, 500_000):
        for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
            deep = opened * levels + b"1" + closed * levels
            for template in (
                b'{"v":1,"id":"i","op":"store","scope":{"tenant":"t","project":"p"},"args":{"content":"c","metadata":{"a":DEEP}}}',
                b'{"v":1,"id":"i","op":"store_many","scope":{"tenant":"t","project":"p"},"args":{"memories":[DEEP]}}',
                b'{"v":1,"id":"i","op":"stats","scope":{"tenant":"t","project":"p"},"args":DEEP}',
                b'{"v":1,"id":"i","op":"stats","scope":DEEP}',
                b'{"v":1,"id":"i","op":"stats","scope":{"tenant":"t","project":"p"},"unknown":DEEP}',
            ):
                answer = await wire.raw(template.replace(b"DEEP", deep))
                if answer["ok"]:
                    # An unknown part of an envelope is ignored, and an item that is wrong is answered as an item.
                    assert b"unknown" in template or answer["result"][0]["error"]["code"] == "bad_request"
                else:
                    assert answer["error"]["code"] in ("bad_request", "too_large"), (levels, template, answer)
    await goes_on(world)


async def test_a_key_that_stands_twice_counts_once(world: World, wire: Wire) -> None:
    """The last one, for everybody: the scope that was checked is the scope that is used."""
    raw = (
        b'{"v":1,"id":"i","op":"store","scope":{"tenant":"victim","project":"p"},'
        b'"scope":{"tenant":"a","tenant":"mine","project":"p"},"args":{"content":"x"},"args":{"content":"first","content":"last"}}'
    )
    answer = await wire.raw(raw)
    memory_id = answer["result"]["id"]

    assert (await wire.result("get", {"id": memory_id}, scope={"tenant": "mine", "project": "p"}))["content"] == "last"
    for tenant in ("victim", "a"):
        assert (await wire.refused("get", {"id": memory_id}, scope={"tenant": tenant, "project": "p"}))[
            "code"
        ] == "not_found"
    await goes_on(world)


async def test_ten_megabytes_are_refused_and_fill_nothing(world: World, wire: Wire) -> None:
    """Whether they are one content, one name, many memories, or no JSON at all; raw, or published."""
    ten = b"x" * 10_000_000
    for raw in (
        ten,
        b"[" * len(ten),
        msgspec.json.encode(wire.envelope("store", {"content": ten.decode()})),
        msgspec.json.encode(wire.envelope("stats", scope={**SCOPE, "tenant": ten.decode()})),
        msgspec.json.encode(wire.envelope("store_many", {"memories": [{"content": "y" * 50_000}] * 200})),
    ):
        assert (await wire.raw(raw))["error"]["code"] == "too_large"
        await world.redis.publish(keys.REQUESTS, raw)

    await goes_on(world)
    assert await world.redis.xlen(keys.REQUESTS) == 0
    assert (await wire.result("stats"))["memories"] == 0


async def test_the_client_refuses_what_the_daemon_would(world: World, memory: MemoryClient) -> None:
    """At once and as the same classes, also for what JSON would change on its way: NaN becomes null there."""
    refused: list[tuple[type[MemorydError], Callable[[], Awaitable[Any]]]] = [
        (TooLarge, lambda: memory.store("x" * (ENVELOPE_BYTES_MAX + 1))),
        (TooLarge, lambda: memory.store_many([{"content": "y" * 50_000}] * 200)),
        (BadRequest, lambda: memory.store("c", importance=math.nan)),
        (BadRequest, lambda: memory.store("c", importance=math.inf)),
        (BadRequest, lambda: memory.store("c", metadata={"a": math.nan})),
        (BadRequest, lambda: memory.store("c", metadata={"a": [math.inf]})),
        (BadRequest, lambda: memory.store("c", metadata={1: "a"})),
        (BadRequest, lambda: memory.store("c", metadata={"a": object()})),
        (BadRequest, lambda: memory.store("c", metadata={"a": 2**64})),
        (BadRequest, lambda: memory.store("lone \ud800")),
        (BadRequest, lambda: memory.store("c", tags=["\udfff"])),
        (BadRequest, lambda: memory.store("c", kumquat=1)),
        (BadRequest, lambda: memory.store("c", type=object())),
        (BadRequest, lambda: memory.store("c", request_id="r" * 129)),
        (BadRequest, lambda: memory.store("c", request_id="lone \ud800")),
        (BadRequest, lambda: memory.store(None)),  # type: ignore[arg-type]
        (BadRequest, lambda: memory.store(b"bytes \xff")),  # type: ignore[arg-type]
        (BadRequest, lambda: memory.store_many([{"content": "c", "metadata": {"a": math.nan}}])),
        (BadRequest, lambda: memory.store_many("text")),  # type: ignore[arg-type]
        (BadRequest, lambda: memory.recall("\ud800")),
        (BadRequest, lambda: memory.recall("q", types=[object()])),
        (BadRequest, lambda: memory.get(None)),  # type: ignore[arg-type]
        (BadRequest, lambda: memory.get("\ud800")),
        (BadRequest, lambda: memory.update(ID)),
        (BadRequest, lambda: memory.update(ID, content=None)),
        (BadRequest, lambda: memory.update(ID, importance=math.nan)),
        (NotFound, lambda: memory.update(ID, content="c")),
        (NotFound, lambda: memory.forget(ID)),
    ]
    for number, (kind, ask) in enumerate(refused):
        try:
            await asyncio.wait_for(ask(), PATIENCE_SECONDS)
        except kind:
            continue
        except Exception as error:
            raise AssertionError(f"case {number} was refused as {type(error).__name__}") from error
        pytest.fail(f"case {number} was not refused")
    assert (await memory.stats()).memories == 0
    await goes_on(world)


async def test_odd_metadata_is_the_same_in_both_stores(world: World, memory: MemoryClient) -> None:
    """Keys that are operators, paths or references to MongoDB are data; the archive takes them and gives them back."""
    metadata: dict[str, Any] = {
        "": 0, "$a": {"$set": {"$where": "1"}}, "a.b": {".": [{"$": None}]}, "$ref": "memories", "$id": 1, "$db": "x",
        "reference": {"$ref": "a", "$id": {"$oid": "b"}}, "most": 2**63 - 1, "least": -(2**63), "float": 1.0, "tiny": 5e-324,
        "$numberLong": "5", "__proto__": {"constructor": []}, "_id": 7, "\u202e": "👩\u200d👧", "embedding": "x", "entries": "1-1",
    }  # fmt: skip
    kept = await memory.store("It says odd things about itself.", metadata=metadata, durability="archived")
    document = await world.memories.find_one({"_id": kept.id})
    await memory.update(kept.id, importance=0.9, durability="archived")
    await world.drained(memory)

    one = await memory.get(kept.id)
    assert document is not None
    assert one.metadata == metadata
    assert (one.version, one.importance) == (2, 0.9)
    assert type(one.metadata["float"]) is float
    archived = await world.archive.get_memory(one.scope, kept.id)
    assert archived is not None
    assert msgspec.structs.replace(archived.memory, embedding_model="") == msgspec.structs.replace(
        one, embedding_model=""
    )
    await goes_on(world)


async def test_the_largest_memory_that_is_allowed_is_kept(world: World, memory: MemoryClient) -> None:
    """One word of 64 KiB, 64 KiB of brackets, and all other fields at their limits together."""
    for unit in ("x", "(", "é", "a ", "語 "):
        content = unit * (CONTENT_BYTES_MAX // len(unit.encode()))
        kept = await memory.store(
            content, tags=[f"{number:0128d}" for number in range(TAGS_MAX)], related=[ID] * 256, derived_from=[ID] * 256,
            metadata={"a": "x" * 16_000}, source_tool="%" * 128,
        )  # fmt: skip
        assert (await memory.get(kept.id)).content == content
        found = await memory.recall(content[:QUERY_BYTES_MAX].strip()[: QUERY_BYTES_MAX // 2], tags=[f"{1:0128d}"])
        assert kept.id in {hit.memory.id for hit in found} or not found.degraded
    stats = await world.drained(memory)
    assert (stats.memories, stats.archive.memories) == (5, 5)
    await goes_on(world)


async def test_rubbish_beside_an_envelope_is_ignored(world: World, wire: Wire) -> None:
    """Other fields of the entry, and a trace header that is none, do not matter."""
    for traceparent in ("zz", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 100_000, "00-" * 1000, "\0", "é"):
        assert (await wire.ask("stats", traceparent=traceparent))["ok"]
    after = len(wire.answers)
    await wire.send(msgspec.json.encode(wire.envelope("stats", id="fields")), id="\x00", reply_to="*", other="x" * 1000)
    assert (await wire.answer_to("fields", after=after))["ok"]
    await goes_on(world)


async def test_an_entry_that_is_no_request_is_taken_away(world: World, wire: Wire) -> None:
    """Without the field, without an address, with an address that could be another channel: nobody can be told."""
    await world.redis.xadd(keys.REQUESTS, {"other": "x"})
    await world.redis.xadd(keys.REQUESTS, {"envelope": b"\xff", "id": b"\xff" * 1000, "reply_to": b"\xff"})
    await world.redis.xadd(keys.REQUESTS, {b"\xff": b"\xff"})
    for name in ("*", "a b", "a:b", "a\n", "é", "x" * 129, "../x", "[a-z]"):
        await wire.send(b"rubbish", id="i", reply_to=name)
        await wire.send(msgspec.json.encode(wire.envelope("stats", reply_to=name)), id="i", reply_to=name)

    async def empty() -> bool:
        return await world.redis.xlen(keys.REQUESTS) == 0

    await eventually(empty, what="the request stream is empty")
    assert not wire.answers
    await goes_on(world)
