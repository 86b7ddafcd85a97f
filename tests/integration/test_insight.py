"""The saved queries for Redis Insight: each runs against the real indexes and returns what its description says."""

from __future__ import annotations

import codecs
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from memoryd import MemoryClient
from memoryd.cli import app
from memoryd.errors import BadRequest, ServersUnavailable
from memoryd.insight.library import Filling, SavedQuery, filled, saved_queries
from memoryd.insight.seed import Library
from memoryd.insight.vector import vector_of
from memoryd.keys import DEAD_LETTERS
from memoryd.model.scope import Scope
from tests.loopback import Answer, Call, in_json, serving
from tests.world import World

SCOPE = Scope("acme", "support", "scout", "s-1")


# --- a prepared data set, and strangers' that must not be seen --------------------------------------------------------
@pytest.fixture
async def lived(world: World, memory: MemoryClient) -> dict[str, str]:
    """A little of everything, by the names that the tests use."""
    ids = {}
    tea = await memory.store("Ada prefers tea, not coffee.", type="fact", importance=0.9, tags=["drinks-hot"], source_tool="mail")
    ids["tea"] = tea.id
    await memory.store("Ada prefers tea, not coffee.", type="fact")  # again: reinforced
    begun, ended = datetime(2019, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)
    old = await memory.store("Ada lives in Porto.", type="fact", importance=0.2, valid_from=begun, valid_until=ended)
    ids["old"] = old.id
    made = await memory.store("About Ada.", type="semantic", derived_from=[tea.id], related=[old.id])
    ids["made"] = made.id
    await memory.update(made.id, content="All about Ada.")
    await memory.facts.put("Ada", "works at", "the harbour", confidence=0.5)
    async with world.connect(agent="other") as other:
        await other.store("Ada prefers tea, not coffee.", type="fact")
    async with world.connect(project="elsewhere") as stranger:
        await stranger.store("Ada prefers tea, not coffee.", type="fact", importance=1.0)
    for seconds in (0.2, 5.0):
        await memory.episodes.record("tool_call", {"q": "tea"}, tool="web", latency_seconds=seconds, session="s-1")
    failed = await memory.episodes.record(
        "tool_call", {"q": "tea"}, tool="mail", outcome="error", error_kind="timeout", latency_seconds=1.0, session="s-1"
    )
    ids["failed"] = failed.id
    await world.drained(memory)
    session = memory.working("s-1")
    await session.append({"role": "user", "content": "Where is Ada?"})
    await session.set("plan", "find her")
    await session.checkpoint("found")
    await memory.agent.set(status="error", task="find Ada", error="no map", tools=["web"])
    world.embedder.away = True
    ids["pending"] = (await memory.store("Nobody has a vector for this.", type="fact", importance=0.1)).id
    await memory.episodes.record("message", {"said": "late"}, outcome="none", session="s-2")
    return ids


def arguments(text: str) -> list[Any]:
    """A command's words as redis-cli splits them: only the vector needs more than a shell's rules."""
    head, quote, rest = text.partition('"\\x')
    if not quote:
        return shlex.split(text)
    vector, _, tail = rest.partition('"')
    return [*shlex.split(head), codecs.escape_decode(("\\x" + vector).encode())[0], *shlex.split(tail)]


async def rows(world: World, query: SavedQuery) -> list[dict[str, Any]]:
    """What a query returns, its fields decoded."""
    answer: Any = await world.redis.execute_command(*arguments(query.text))  # type: ignore[no-untyped-call]
    if not query.text.startswith("FT."):
        return list(answer)
    return [{_text(name): _text(value) for name, value in row[b"extra_attributes"].items()} for row in answer[b"results"]]


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


# --- what each returns --------------------------------------------------------------------------------------------------
Rows = list[dict[str, Any]]
TEA, OLD, ABOUT = "Ada prefers tea, not coffee.", "Ada lives in Porto.", "All about Ada."
WORK, LATE = "Ada works at the harbour", "Nobody has a vector for this."


def contents(found: Rows) -> list[str]:
    return [row["content"] for row in found]


EXPECTED: dict[str, Callable[[Rows, dict[str, str]], bool]] = {
    "Recent memories by agent": lambda found, ids: contents(found) == [LATE, WORK, ABOUT, OLD, TEA]
    and found[0]["at"].startswith("20"),
    "High-importance facts": lambda found, ids: contents(found) == [TEA],
    "Memories with these words": lambda found, ids: set(contents(found)) == {TEA, OLD},
    "Memories like this one": lambda found, ids: contents(found)[0] == TEA and len(found) == 4,
    "Light memories like this one": lambda found, ids: found == [],
    "One memory": lambda found, ids: [(row["content"], row["access_count"]) for row in found] == [(TEA, "1")],
    "Memories with a tag": lambda found, ids: contents(found) == [TEA],
    "What was made of a memory": lambda found, ids: contents(found) == [ABOUT],
    "What is related to a memory": lambda found, ids: contents(found) == [],
    "Facts by predicate": lambda found, ids: [(row["facts"], float(row["confidence"])) for row in found] == [("1", 0.5)],
    "Superseded facts": lambda found, ids: contents(found) == [OLD] and found[0]["until"].startswith("2020-01-01"),
    "Pending embeddings": lambda found, ids: contents(found) == [LATE],
    "Coldest of the hot": lambda found, ids: contents(found) == [TEA, OLD, ABOUT, WORK, LATE],
    "Most reinforced memories": lambda found, ids: contents(found)[0] == TEA,
    "Most changed memories": lambda found, ids: contents(found) == [ABOUT] and found[0]["version"] == "2",
    "Duplicates": lambda found, ids: found == [],
    "Memories by tool": lambda found, ids: [(row["source_tool"], row["memories"]) for row in found] == [("mail", "1")],
    "Memories by agent": lambda found, ids: [(row["agent_id"], row["memories"]) for row in found] == [("scout", "5")],
    "Tier mix": lambda found, ids: sorted((row["tier"], row["memory_type"], row["memories"]) for row in found)
    == [("short", "fact", "4"), ("short", "semantic", "1")],
    "Embedding models in use": lambda found, ids: {row["memories"] for row in found} == {"4", "1"},
    "Journal tail": lambda found, ids: isinstance(found, list),
    "How far the followers are": lambda found, ids: {group[b"name"] for group in found} >= {b"embed", b"archive"},  # type: ignore[index]
    "Dead letters": lambda found, ids: [fields[b"reason"] for _, fields in map(_entry, found)] == [b"a reason"],
    "Newest events": lambda found, ids: [row["event_type"] for row in found] == ["message", "tool_call", "tool_call", "tool_call"],
    "Tool calls of the last hour": lambda found, ids: [row["source_tool"] for row in found] == ["mail", "web", "web"],
    "Slow tool calls": lambda found, ids: [row["milliseconds"] for row in found] == ["5000", "1000", "200"],
    "Failed episodes": lambda found, ids: [(row["source_tool"], row["error_kind"]) for row in found] == [("mail", "timeout")],
    "Errors by kind": lambda found, ids: [(row["error_kind"], row["errors"]) for row in found] == [("timeout", "1")],
    "Tools: calls and latency": lambda found, ids: [(row["source_tool"], row["calls"], row["average_us"]) for row in found]
    == [("web", "2", "2600000"), ("mail", "1", "1000000")],
    "Events by hour": lambda found, ids: sum(int(row["events"]) for row in found) == 4 and found[0]["hour"].startswith("20"),
    "Events by kind and outcome": lambda found, ids: sorted((row["event_type"], row["outcome"], row["events"]) for row in found)
    == [("message", "none", "1"), ("tool_call", "error", "1"), ("tool_call", "ok", "2")],
    "Events of a session, in order": lambda found, ids: len(found) == 3 and found[-1]["id"] == ids["failed"],
    "Events with these words": lambda found, ids: len(found) == 3,
    "Pending embeddings of events": lambda found, ids: len(found) == 1 and "late" in found[0]["content"],
    "Working memory of a session": lambda found, ids: "Where is Ada?" in found[0]["said"] and "find her" in found[0]["variables"],
    "Checkpoints of a session": lambda found, ids: json.loads(found[0]["labels"]) == ["found"],
    "Sessions, last used first": lambda found, ids: [row["session_id"] for row in found] == ["s-1"],
    "Open sessions by agent": lambda found, ids: [(row["sessions"], row["messages"]) for row in found] == [("1", "1")],
    "Agents and what they are at": lambda found, ids: [(row["task"], row["$.tools"]) for row in found] == [("find Ada", '["web"]')],
    "Agents in trouble": lambda found, ids: [(row["agent_id"], row["$.error"]) for row in found] == [("scout", "no map")],
    "Agents by status": lambda found, ids: [(row["status"], row["agents"]) for row in found] == [("error", "1")],
    "Longest sessions": lambda found, ids: [row["message_count"] for row in found] == ["1"],
}  # fmt: skip


def _entry(raw: Any) -> tuple[bytes, dict[bytes, bytes]]:
    place, fields = raw
    return place, fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))


async def test_every_query_returns_what_its_description_says(world: World, lived: dict[str, str]) -> None:
    """Inside the scope only: another agent's and another project's memories are in none."""
    await world.redis.xadd(DEAD_LETTERS, {"reason": "a reason"})
    vector = await vector_of(world.redis, SCOPE, lived["tea"])
    filling = Filling(SCOPE, "drinks-hot", "tea Porto", lived["tea"], vector)
    queries = [query for one in saved_queries() if (query := filled(one, filling))]

    assert len(queries) >= 25
    assert {one.name for one in queries} == EXPECTED.keys()
    for query in queries:
        found = await rows(world, query)
        assert EXPECTED[query.name](found, lived), (query.name, found)


async def test_a_project_sees_the_duplicates_of_its_agents(world: World, lived: dict[str, str]) -> None:
    """Without an agent the scope is the project; related memories are found by the id that they name."""
    filling = Filling(Scope("acme", "support"), memory_id=lived["old"])
    queries = {one.name: filled(one, filling) for one in saved_queries()}
    duplicates, related = queries["Duplicates"], queries["What is related to a memory"]
    assert duplicates
    assert related
    assert [row["copies"] for row in await rows(world, duplicates)] == ["2"]
    assert contents(await rows(world, related)) == [ABOUT]
    assert queries["Memories like this one"] is None


def test_what_people_give_is_no_syntax() -> None:
    """Names are tags with everything else escaped, words are words."""
    filling = Filling(Scope("a} @x:{b", "p|q", "é"), tag="-(", words="tea) | @tenant:{other}")
    for one in saved_queries():
        query = filled(one, filling)
        assert query is None or query.text.count(r"@tenant:{a\%7D\%20\%40x\%3A\%7Bb}") == query.text.count("@tenant"), query
    words = next(query for one in saved_queries() if "<words>" in one.text and (query := filled(one, filling)))
    assert "@content:(tea|tenant|other)" in words.text


# --- Redis Insight's side -----------------------------------------------------------------------------------------------
class QueryLibrary:
    """The Query Library as Redis Insight keeps it: samples once for the first item's index, saved queries, changes."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.calls: list[str] = []

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        url = urlsplit(path)
        head, _, tail = url.path.partition("/query-library")
        self.calls.append(f"{method} {tail}")
        if head != "/api/databases/0":
            return 404, {"message": "Invalid database instance id."}
        if method == "GET":
            return 200, [one for one in self.items if one["indexName"] in parse_qs(url.query)["indexName"]]
        if tail == "/seed":
            if not any(one["indexName"] == body["items"][0]["indexName"] and one["type"] == "SAMPLE" for one in self.items):
                self._add(body["items"], "SAMPLE")
            return 201, []
        if method == "POST":
            self._add([body], "SAVED")
            return 201, self.items[-1]
        changed = self.items[int(tail.removeprefix("/"))]
        changed |= body
        return 200, changed

    def _add(self, items: list[dict[str, str]], kind: str) -> None:
        self.items += [{**one, "id": str(len(self.items) + n), "type": kind} for n, one in enumerate(items)]


@contextmanager
def insight(library: QueryLibrary) -> Iterator[str]:
    def answer(call: Call) -> Answer:
        status, said = library.answer(call.method, call.path, call.body)
        return in_json(said, status)

    with serving(answer) as url:
        yield url


def test_seeding_again_adds_nothing_and_replaces_what_has_changed() -> None:
    """One request an index the first time; people's own queries are left alone."""
    library = QueryLibrary()
    queries = [query for one in saved_queries() if (query := filled(one, Filling(Scope("acme", "support"))))]
    with insight(library) as url:
        first = Library(url, "0").seed(queries)
        assert (first.added, first.replaced, first.unchanged) == (len(queries), 0, 0)
        assert library.calls.count("POST /seed") == len({one.index for one in queries})
        library.items.append({**library.items[0], "name": "my own", "id": str(len(library.items)), "type": "SAVED"})

        again = Library(url, "0").seed(queries)
        assert (again.added, again.replaced, again.unchanged) == (0, 0, len(queries))
        removed = library.items.pop(0)
        for number, one in enumerate(library.items):
            one["id"] = str(number)
        other = [query for one in saved_queries() if (query := filled(one, Filling(Scope("acme", "sales"))))]
        changed = Library(url, "0").seed(other)
        assert changed.added == 1
        assert changed.added + changed.replaced + changed.unchanged == len(queries)
        assert removed["name"] in {one["name"] for one in library.items}
        assert all("sales" in one["query"] for one in library.items if "@project" in one["query"] and one["name"] != "my own")

        with pytest.raises(ServersUnavailable, match="no such database"):
            Library(url, "7").seed(queries)
    with pytest.raises(ServersUnavailable, match="does not answer"):
        Library(url, "0").seed(queries)
    with pytest.raises(BadRequest):
        Library("ftp://insight", "0")


def test_the_command_lists_and_seeds() -> None:
    """Ready to paste, and into the library."""
    listed = CliRunner().invoke(app, ["insight", "list", "--tenant", "acme", "--session", "s1", "--hours", "1", "--json"])
    queries = json.loads(listed.output)
    assert any("@session_id:{s1}" in one["text"] for one in queries)
    assert not any("<" in one["text"] for one in queries)
    shown = CliRunner().invoke(app, ["insight", "list", "--tenant", "acme"]).output
    assert "# Slow tool calls" in shown
    with insight(QueryLibrary()) as url:
        seeded = CliRunner().invoke(app, ["insight", "seed", "--insight-url", url])
        assert seeded.output == f"{len(queries)} added, 0 replaced, 0 unchanged\n", seeded.output
