"""A model remembers through MCP tools, inside the scope that the server was started with, and nowhere else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError
from mcp.types import TextResourceContents

from memoryd import MemoryClient
from memoryd.local.ports import free_port
from memoryd.mcp_server.server import mcp_server
from tests.waiting import PATIENCE_SECONDS, eventually
from tests.world import World

COMMAND = [sys.executable, "-m", "memoryd", "mcp"]


@pytest.fixture
async def model(memory: MemoryClient) -> AsyncIterator[Client]:
    """What a model's host holds: an MCP client of the scope acme / support / scout."""
    client, opened, done = Client(mcp_server(memory)), asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with client:
            opened.set()
            await done.wait()

    # The SDK wants to be left in the task that it was entered in, and a fixture ends in another one.
    holding = asyncio.create_task(hold())
    await asyncio.wait_for(opened.wait(), PATIENCE_SECONDS)
    yield client
    done.set()
    await holding


async def use(model: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What the tool answers."""
    answer = await model.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    assert isinstance(answer.structured_content, dict)
    return answer.structured_content


async def refusal(model: Client, tool: str, **arguments: Any) -> str:
    """What a model reads when the tool refuses."""
    answer = await model.call_tool(tool, arguments)
    assert answer.is_error
    [text] = answer.content
    assert text.type == "text"
    return text.text


async def test_a_model_is_told_what_each_tool_does_and_what_it_may_break(model: Client) -> None:
    """Hosts ask people before a destructive tool runs, and never before one that only reads."""
    tools = {tool.name: tool for tool in (await model.list_tools()).tools}
    hints = {name: tool.annotations for name, tool in tools.items() if tool.annotations}

    assert {name for name, hint in hints.items() if hint.destructive_hint} == {"forget_memory"}
    assert {name for name, hint in hints.items() if hint.read_only_hint} == {
        "search_memory",
        "get_memory",
        "summarize_memory",
        "introspect",
        "memory_stats",
    }
    assert tools.keys() - {name for name, hint in hints.items() if hint.read_only_hint} == {
        "store_memory",
        "update_memory",
        "forget_memory",
    }
    for tool in tools.values():
        assert tool.description
        assert tool.output_schema
        assert not {"tenant", "project", "agent", "session", "url"} & tool.input_schema["properties"].keys()
        unexplained = [
            name for name, one in tool.input_schema["properties"].items() if "description" not in json.dumps(one)
        ]
        assert unexplained in ([], ["limit"])
    assert model.instructions


async def test_a_model_stores_finds_corrects_and_forgets(world: World, model: Client) -> None:
    """The whole life of a memory in six tools; `valid_until` and tags come back as they were given."""
    kept = await use(
        model, "store_memory", content="Ada prefers tea.", type="fact", tags=["drink"], metadata={"source": "chat"},
        importance=0.8, valid_from="2026-05-08T13:56:00+02:00",
    )  # fmt: skip
    [found] = (await use(model, "search_memory", query="What does Ada prefer?", types=["fact"], tags=["drink"]))[
        "memories"
    ]
    [alike] = (
        await use(
            model, "search_memory", query="Ada prefers tea.", metadata={"source": "chat"}, since="2026-05-08T00:00:00Z",
            before="2026-05-09T00:00:00Z", min_likeness=0.9,
        )
    )["memories"]  # fmt: skip
    for none in ({"metadata": {"source": "mail"}}, {"before": "2026-05-08T00:00:00Z"}):
        assert (await use(model, "search_memory", query="Ada prefers tea.", **none))["memories"] == []
    changes = {"content": "[1, 2] is what Ada writes.", "valid_until": "2027-01-01T00:00:00Z"}
    changed = await use(model, "update_memory", id=kept["id"], if_version=1, **changes)
    now = await use(model, "get_memory", id=kept["id"])
    counts = await use(model, "memory_stats")
    receipt = await use(model, "forget_memory", id=kept["id"])

    assert (kept["outcome"], found["content"], found["agent"]) == ("stored", "Ada prefers tea.", "scout")
    assert (found["metadata"], found["valid_from"]) == ({"source": "chat"}, "2026-05-08T11:56:00Z")
    assert isinstance(found["score"], float)
    assert alike["id"] == kept["id"]
    assert (changed["outcome"], changed["version"]) == ("updated", 2)
    assert (now["content"], now["valid_until"]) == ("[1, 2] is what Ada writes.", "2027-01-01T00:00:00Z")
    assert (now["tags"], now["importance"]) == (["drink"], 0.8)
    assert (counts["memories"], counts["by_type"], counts["archive_available"]) == (1, {"fact": 1}, True)
    assert receipt["outcome"] == "forgotten"
    assert (await use(model, "search_memory", query="What does Ada prefer?"))["memories"] == []
    assert await world.memories.count_documents({"tombstone": {"$ne": True}}) == 0


@pytest.mark.parametrize("text", ['{"looks": "like JSON"}', "[1, 2]", "null", '"quoted"', "7"])
async def test_text_that_looks_like_json_is_text(model: Client, text: str) -> None:
    """Some hosts write objects as strings, and the SDK reads strings as objects where a tool takes one."""
    kept = await use(model, "store_memory", content=text)
    await use(model, "update_memory", id=kept["id"], content=text + text)

    assert (await use(model, "get_memory", id=kept["id"]))["content"] == text + text


async def test_a_refusal_says_what_to_do_next(model: Client) -> None:
    """Our code, our sentence and our hint, as an error of the tool and not of the protocol: a model can act on it."""
    kept = await use(model, "store_memory", content="Ada prefers tea.", type="fact")
    await use(model, "update_memory", id=kept["id"], content="Ada prefers coffee.")

    conflict = await refusal(model, "update_memory", id=kept["id"], content="Ada prefers water.", if_version=1)
    missing = await refusal(model, "get_memory", id="mem_" + "0a" * 16)
    nameless = await refusal(model, "store_memory", content="Ada left.", valid_from="2026-05-08T13:56:00")

    assert f"conflict: {kept['id']}: has version 2, not 1" in conflict
    assert "hint: get the memory again" in conflict
    assert "not_found: " in missing
    assert "bad_request: valid_from: has no time zone" in nameless
    assert "nothing to change" in await refusal(model, "update_memory", id=kept["id"])
    assert "limit" in await refusal(model, "search_memory", query="tea", limit=51)
    assert "bad_request: content: is empty" in await refusal(model, "store_memory", content="  ")


async def test_a_model_reads_in_few_words_what_it_knows(model: Client) -> None:
    """About something, by label, or all of it; nothing is stored of that, and nothing known is an error that says so."""
    assert "not_found" in await refusal(model, "summarize_memory")
    for number in range(6):
        await use(model, "store_memory", content=f"Ada bought tea number {number} in Graz.", type="fact", tags=["tea"])
    await use(model, "store_memory", content="The lift is out of order.", type="episodic")

    about = await use(model, "summarize_memory", query="What did Ada buy?", tags=["tea"], limit=3)
    labelled = await use(model, "summarize_memory", tags=["tea"])
    whole = await use(model, "summarize_memory", chars=200)

    assert (about["memories"], labelled["memories"], whole["memories"]) == (3, 6, 7)
    assert "Ada" in labelled["summary"]
    assert labelled["made_by"]
    assert (await use(model, "memory_stats"))["memories"] == 7
    assert "chars" in await refusal(model, "summarize_memory", chars=1)


async def test_a_model_looks_at_itself(world: World, memory: MemoryClient, model: Client) -> None:
    """What it knows and how its tools went, as a tool; what agents say of themselves, as resources."""
    await use(model, "store_memory", content="Ada bought tea in Graz.", type="fact")
    await memory.episodes.record("tool_call", {}, tool="search", latency_seconds=0.2)
    await memory.episodes.record("tool_call", {}, tool="search", outcome="error", error_kind="timeout", latency_seconds=1)
    await world.drained(memory)
    found = await use(model, "introspect", days=7)

    assert (found["memories"], found["by_type"]["fact"], found["calls"], found["success_rate"]) == (3, 1, 2, 0.5)
    assert [(one["tool"], one["error_kinds"], one["p95_ms"]) for one in found["tools"]] == [("search", {"timeout": 1}, 1000)]
    assert "not_found" in str((await asyncio.gather(resource(model, "memoryd://agent"), return_exceptions=True))[0])
    await memory.agent.set(task="tea", status="working")
    assert json.loads(await resource(model, "memoryd://agent"))["task"] == "tea"
    assert [one["agent"] for one in json.loads(await resource(model, "memoryd://agents"))["peers"]] == ["scout"]


async def test_a_host_attaches_sessions_of_the_scope_and_no_others(world: World, memory: MemoryClient, model: Client) -> None:
    """As resources: the list, and each by its name, whatever it is called. Another agent's are not there."""
    odd = "../Tuesday: tea/ü"
    for name in ("s1", odd):
        await memory.working(name).append({"role": "user", "content": f"Hello from {name}"})
    await memory.working("s1").set("plan", {"done": 1})
    async with world.connect(agent="other") as other:
        await other.working("s9").append({"role": "user", "content": "Not yours."})

    listed = json.loads(await resource(model, "memoryd://sessions"))
    read = json.loads(await resource(model, "memoryd://sessions/s1"))
    strange = json.loads(await resource(model, f"memoryd://sessions/{quote(odd, safe='')}"))

    assert {one["session"] for one in listed["sessions"]} == {"s1", odd}
    assert (read["messages"][0]["content"], read["variables"], read["total"]) == ("Hello from s1", {"plan": {"done": 1}}, 1)
    assert strange["messages"][0]["content"] == f"Hello from {odd}"
    with pytest.raises(MCPError, match="not_found"):
        await resource(model, "memoryd://sessions/s9")
    templates = [one.uri_template for one in (await model.list_resource_templates()).resource_templates]
    assert templates == ["memoryd://sessions/{session}"]


async def resource(model: Client, uri: str) -> str:
    """The text of a resource."""
    [content] = (await model.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    assert content.mime_type == "application/json"
    return content.text


async def test_a_model_cannot_choose_a_scope(world: World, memory: MemoryClient, model: Client) -> None:
    """A scope among the arguments is refused, not ignored: the model would believe that it had chosen one."""
    async with world.connect(project="secret") as other:
        hidden = await other.store("Ada's locker code is 4711.", type="fact")

    for name in ("tenant", "project", "agent", "session", "scope"):
        said = await refusal(model, "store_memory", content="Ada prefers tea.", **{name: "secret"})
        assert name in said
        assert name in await refusal(model, "search_memory", query="locker code", **{name: "secret"})

    assert "not_found" in await refusal(model, "get_memory", id=hidden.id)
    assert "not_found" in await refusal(model, "forget_memory", id=hidden.id)
    assert (await use(model, "search_memory", query="What is Ada's locker code?"))["memories"] == []
    assert (await memory.stats()).memories == 0


async def test_over_stdio_the_commands_options_are_the_scope(world: World) -> None:
    """As a host starts it: a child process that speaks on its pipes and ends when they close."""
    options = [
        "--url",
        world.settings.redis_url,
        "--tenant",
        "acme",
        "--project",
        "desk",
        "--agent",
        "ada",
        "--session",
        "s9",
    ]
    host = StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], *options], env=dict(os.environ))

    async with Client(host) as model:
        kept = await use(model, "store_memory", content="Ada prefers tea.", type="fact")
        assert "not_found" in await refusal(model, "get_memory", id="mem_" + "0a" * 16)
        assert json.loads(await resource(model, "memoryd://sessions"))["sessions"] == []

    async with world.connect(project="desk", agent="ada", session="s9") as memory:
        one = await memory.get(kept["id"])
    assert (one.project, one.agent_id, one.session_id) == ("desk", "ada", "s9")


async def test_over_http_it_serves_this_machine_only(world: World) -> None:
    """Streamable HTTP on loopback; a web page that points its own name at 127.0.0.1 is sent away."""
    port = free_port()
    async with serving(world, port) as server:
        async with Client(f"http://127.0.0.1:{port}/mcp") as model:
            kept = await use(model, "store_memory", content="Ada prefers tea.", type="fact")
            assert (await use(model, "get_memory", id=kept["id"]))["content"] == "Ada prefers tea."
            assert (await use(model, "summarize_memory", query="tea"))["memories"] == 1
            async with world.connect() as scout:
                await scout.working("s1").append({"role": "user", "content": "Hello"})
            read = json.loads(await resource(model, "memoryd://agents/scout/sessions/s1"))  # it serves the whole project
            assert read["messages"][0]["content"] == "Hello"
        for header in ("Host: memory.example", f"Host: 127.0.0.1:{port}\r\nOrigin: http://memory.example"):
            assert await status_of(port, header) in (403, 421)
        server.send_signal(signal.SIGINT)
        await asyncio.wait_for(server.wait(), PATIENCE_SECONDS)


@asynccontextmanager
async def serving(world: World, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """`memoryd mcp --http` for acme / support."""
    options = ["--http", str(port), "--url", world.settings.redis_url, "--tenant", "acme", "--project", "support"]
    server = await asyncio.create_subprocess_exec(*COMMAND, *options)
    try:
        await eventually(lambda: listens(port) or server.returncode is not None, what="it listens")
        yield server
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def status_of(port: int, headers: str) -> int:
    """The HTTP status of a request with these headers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
    start = f"POST /mcp HTTP/1.1\r\n{headers}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
    writer.write(f"{start}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    line = await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS)
    writer.close()
    await writer.wait_closed()
    return int(line.split()[1])


async def test_without_the_extra_the_command_says_how_to_get_it() -> None:
    """The SDK is not part of the base install, and no traceback explains that."""
    without = (
        "import sys; sys.modules['mcp'] = None; from memoryd.cli import main; sys.argv = ['memoryd', 'mcp']; main()"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", without, stderr=asyncio.subprocess.PIPE)
    _, said = await child.communicate()

    assert child.returncode == 1
    assert b"pip install 'memoryd[mcp]'" in said
    assert b"Traceback" not in said


async def test_without_redis_the_command_ends_with_our_error() -> None:
    """A host shows its stderr and exit code; a server that waits in silence would look like a broken editor."""
    child = await asyncio.create_subprocess_exec(
        *COMMAND,
        "--url",
        f"redis://127.0.0.1:{free_port()}",
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(child.communicate(), PATIENCE_SECONDS)

    assert child.returncode == 5
    assert b"memoryd: " in said
    assert b"hint: " in said
    assert b"Traceback" not in said
