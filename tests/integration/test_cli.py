"""The command `memoryd` does what its help says: tables for people, JSON for pipes, an exit code for each end."""

from __future__ import annotations

import asyncio
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from memoryd import MemoryClient
from memoryd.cli import app
from memoryd.cli.output import exit_code
from memoryd.errors import BY_CODE, Conflict
from memoryd.local.ports import free_port
from memoryd.model.memory import Memory
from tests.integration.commands import COMMAND, Commands, clean_environment, run
from tests.waiting import eventually
from tests.world import World

MARKUP = "[bold red]Ada[/bold red] [/] :tea: [link=http://memory.example]prefers[/link] tea."
NOBODY = "mem_" + "0a" * 16


@pytest.fixture
def memoryd(world: World) -> Commands:
    """The command, against this test's memoryd."""
    return Commands(world.settings)


# --- the verbs ------------------------------------------------------------------------------------------------------


async def test_every_verb_prints_a_table_for_people(memoryd: Commands) -> None:
    """Names and values, or columns; what a memory is called in one is what the next one takes."""
    kept = (await memoryd("store", "Ada prefers tea.", "--type", "fact", "--tag", "drink", "--tag", "ada")).fields
    shown = (await memoryd("get", kept["id"])).fields
    changed = (await memoryd("update", kept["id"], "--content", "Ada prefers coffee.", "--if-version", "1")).fields
    found = (await memoryd("recall", "What does Ada prefer?", "--type", "fact", "--tag", "drink")).out
    stats = (await memoryd("stats")).fields
    receipt = (await memoryd("forget", kept["id"], "--yes")).fields

    assert (kept["version"], kept["outcome"]) == ("1", "stored")
    assert (shown["content"], shown["tags"], shown["agent_id"]) == ("Ada prefers tea.", "drink, ada", "scout")
    assert (changed["version"], changed["outcome"]) == ("2", "updated")
    assert "Ada prefers coffee." in found
    assert kept["id"] in found
    assert (stats["memories"], stats["by_type"]) == ("1", "fact: 1")
    assert (receipt["outcome"], receipt["durability"]) == ("forgotten", "archived")
    await memoryd("get", kept["id"], exits=3)


async def test_every_verb_prints_json_for_a_pipe(memoryd: Commands) -> None:
    """One JSON document on stdout and nothing else, with the fields of the protocol."""
    kept = (await memoryd(
        "store", "-", "--type", "fact", "--importance", "0.8", "--metadata", '{"source": "chat"}',
        "--source-tool", "chat", "--valid-from", "2026-05-08T13:56:00Z", "--session", "s1", "--wait", "searchable", "--json",
        stdin="Ada prefers tea.",
    )).json  # fmt: skip
    shown = (await memoryd("get", kept["id"], "--json")).json
    changed = (await memoryd("update", kept["id"], "--importance", "0.9", "--metadata", "{}", "--json")).json
    found = await memoryd("recall", "tea", "--limit", "1", "--session", "s1", "--json")
    stats = (await memoryd("stats", "--json")).json
    receipt = (await memoryd("forget", kept["id"], "-y", "--json")).json

    assert shown["content"] == "Ada prefers tea."
    assert shown["embedding_model"]  # it has waited for that
    assert (shown["metadata"], shown["valid_from"]) == ({"source": "chat"}, "2026-05-08T13:56:00Z")
    assert (shown["session_id"], shown["importance"], shown["source_tool"]) == ("s1", 0.8, "chat")
    assert (changed["version"], changed["outcome"]) == (2, "updated")
    [hit] = found.json["hits"]
    assert (hit["memory"]["metadata"], hit["memory"]["importance"]) == ({}, 0.9)
    assert hit["score"] == pytest.approx(sum(part["contribution"] for part in hit["why"].values()))
    assert (stats["memories"], stats["dead_letters"]) == (1, 0)
    assert receipt["version"] == 3
    assert (await memoryd("recall", "tea", "--json")).json["hits"] == []


async def test_a_memory_is_shared_and_taken_back(world: World, memoryd: Commands, memory: MemoryClient) -> None:
    """With another agent, who then finds it on the command line too."""
    kept = await memory.store("Ada prefers tea.", type="fact")
    assert (await memoryd("share", kept.id, "--with", "ada")).fields["outcome"] == "updated"
    async with world.connect(agent="ada") as ada:
        found = await memoryd("recall", "tea", environment={"MEMORYD_AGENT": "ada"})
        assert f"shared: {kept.id} is a memory of scout" in found.err
        assert (await memoryd("unshare", kept.id, "--json")).json["outcome"] == "updated"
        assert len(await ada.recall("tea")) == 0


async def test_agents_together_are_seen_and_joined(memoryd: Commands, memory: MemoryClient) -> None:
    """Who is there, who has a task, a command that runs under its lease, and what is said in a channel."""
    await memory.agent.set(task="deploy", status="working")
    assert "working" in (await memoryd("agent", "peers")).out
    script = "import os; print(os.environ['MEMORYD_LEASE_TOKEN']); raise SystemExit(7)"
    ran = await run(("lease", "run", "deploy", "--", sys.executable, "-c", script), memoryd.environment)
    assert (ran.code, int(ran.out) > 0) == (7, True)
    taken = (await memoryd("lease", "take", "deploy", "--seconds", "600")).fields
    assert int(taken["token"]) > int(ran.out)
    held = await memoryd("lease", "run", "deploy", "--", sys.executable, "-c", "print('never')", exits=1)
    assert "another one has the lease" in held.err
    shown = (await memoryd("lease", "show", "deploy", "--json")).json
    assert (shown["agent"], shown["token"]) == ("scout", int(taken["token"]))
    assert (await memoryd("lease", "renew", "deploy", "--token", taken["token"])).fields["task"] == "deploy"
    assert (await memoryd("lease", "release", "deploy", "--token", taken["token"], "--json")).json == {"released": True}

    first = (await memoryd("channel", "publish", "deployments", '{"of": "shop"}', "--json")).json
    await memory.channels.publish("deployments", "done")
    table = (await memoryd("channel", "read", "deployments")).out
    assert all(word in table for word in ("shop", "done", first["position"], "scout"))
    followed = (await memoryd("channel", "follow", "deployments", "--after", first["position"], "--count", "1")).json
    assert (followed["data"], followed["number"]) == ("done", 2)
    await memoryd("channel", "publish", "deployments", "no JSON", exits=2)


async def test_a_command_ends_with_its_lease(world: World, memoryd: Commands, memory: MemoryClient) -> None:
    """Whose lease is lost is told to stop, and does not go on beside the next one."""
    script = "import time; print('begun', flush=True); time.sleep(600)"
    words = ("lease", "run", "deploy", "--seconds", "12", "--", sys.executable, "-c", script)
    running = asyncio.create_task(memoryd(*words, exits=1, prints=True))
    await eventually(lambda: memory.leases.get("deploy"), what="the lease is taken")
    await world.redis.delete(world.keys.lease(memory.scope, "deploy"))
    assert "was lost" in (await running).err


async def test_sessions_are_shown_and_rolled_back(memoryd: Commands, memory: MemoryClient) -> None:
    """What people look for when an agent went astray: what was said, and the way back."""
    session = memory.working("s1")
    await session.append({"role": "user", "content": "Deploy on Thursday."})
    await session.set("plan", {"step": 1})
    await session.checkpoint("before")
    await session.append({"role": "assistant", "content": "I deployed on Wednesday."})

    assert "s1" in (await memoryd("session", "list")).out
    shown = (await memoryd("session", "show", "s1")).out
    assert "Deploy on Thursday." in shown
    assert "step: 1" in shown
    [taken] = (await memoryd("session", "checkpoints", "s1", "--json")).json
    assert (taken["label"], taken["messages"]) == ("before", 1)
    done = (await memoryd("session", "rollback", "s1", str(taken["number"]))).fields
    assert (done["messages"], done["undo"]) == ("1", "2")
    [one] = (await memoryd("session", "show", "s1", "--json")).json["window"]["messages"]
    assert one["content"] == "Deploy on Thursday."
    assert (await memoryd("session", "list", "--json")).json["sessions"][0]["messages"] == 1
    await memoryd("session", "show", "other", exits=3)


async def test_what_was_seen_is_told(memoryd: Commands, memory: MemoryClient) -> None:
    """By the filter, and exactly."""
    kept = await memory.store("Graz has a tea fair.", type="fact")
    await memory.recall("When is the tea fair?")
    assert (await memoryd("seen", "Graz has a tea fair.")).fields["seen"] == "True"
    assert (await memoryd("seen", "Graz has a tea fair.", "--exact", "--json")).json["ids"] == [kept.id]
    assert (await memoryd("seen", "When is the tea fair?", "--question", "--json")).json["seen"] is True


async def test_facts_are_said_found_and_ended(memoryd: Commands) -> None:
    """What holds, what held, and since when."""
    await memoryd("facts", "put", "Ada", "lives_in", "Graz", "--valid-from", "2026-01-01T00:00:00Z", "--confidence", "0.9")
    done = (await memoryd("facts", "put", "Ada", "lives_in", "Wien", "--valid-from", "2026-02-01T00:00:00Z", "--json")).json
    assert (done["outcome"], len(done["ended"])) == ("stored", 1)
    table = (await memoryd("facts", "find", "Ada", "--ever")).out
    assert all(word in table for word in ("Graz", "Wien", "0.900", "2026-02-01 00:00:00"))
    [then] = (await memoryd("facts", "find", "--object", "graz", "--at", "2026-01-15T00:00:00Z", "--json")).json["facts"]
    assert (then["subject"], then["id"]) == ("Ada", done["ended"][0])
    assert (await memoryd("facts", "end", "Ada", "lives_in", "--json")).json == {"ended": [done["id"]]}
    assert (await memoryd("facts", "find", "Ada", "--json")).json["facts"] == []


async def test_the_options_are_the_scope(memoryd: Commands, world: World) -> None:
    """From the environment or from the command line; the command line wins."""
    kept = (await memoryd("store", "Ada prefers tea.", "--project", "desk", "--agent", "ada", "--json")).json

    async with world.connect(project="desk", agent="ada") as memory:
        assert (await memory.get(kept["id"])).content == "Ada prefers tea."
    await memoryd("get", kept["id"], exits=3)
    await memoryd("get", kept["id"], "--project", "desk", exits=3)  # the environment's agent is another one
    await memoryd("get", kept["id"], "--project", "desk", "--agent", "")


async def test_a_forget_asks_and_takes_no_for_an_answer(memoryd: Commands, memory: MemoryClient) -> None:
    """It says what it will touch, on stderr, so that a pipe sees the receipt only."""
    kept = await memory.store("Ada prefers tea.", type="fact")

    asked = await memoryd("forget", kept.id, "--json", stdin="n\n", exits=1)
    assert kept.id in asked.err
    assert (await memory.get(kept.id)).version == 1

    done = await memoryd("forget", kept.id, "--json", stdin="y\n")
    assert done.json["outcome"] == "forgotten"


# --- what can go wrong ----------------------------------------------------------------------------------------------


async def test_each_end_has_its_exit_code(memoryd: Commands, memory: MemoryClient, tmp_path: Path) -> None:
    """The documented ones: scripts decide by them. What went wrong is on stderr, stdout stays empty."""
    kept = await memory.store("Ada prefers tea.", type="fact")
    await memory.update(kept.id, importance=0.9)

    failed = await memoryd("config", exits=1, environment={"MEMORYD_BUCKETS": "3"})
    assert "MEMORYD_BUCKETS" in failed.err
    for words in (
        ["store"], ["store", "x", "--nonsense"], ["store", "x", "--importance", "7"], ["store", "  "],
        ["store", "x", "--importance", "nan"], ["store", "x", "--type", "dream"], ["store", "x", "--metadata", "[]"],
        ["store", "x", "--valid-from", "yesterday"], ["store", "x", "--durability", "forever"],
        ["store", "x", "--wait", "forever"],
        ["store", "x", "--tenant", ""], ["get", "7"], ["update", kept.id], ["recall", "x", "--limit", "0"],
        ["recall", "x", "--type", "dream"], ["import", str(tmp_path / "missing")],
    ):  # fmt: skip
        await memoryd(*words, exits=2)
    await memoryd("get", NOBODY, exits=3)
    await memoryd("update", NOBODY, "--content", "x", exits=3)
    await memoryd("forget", NOBODY, "--yes", exits=3)
    conflict = await memoryd("update", kept.id, "--content", "x", "--if-version", "1", exits=4)
    assert "has version 2, not 1" in conflict.err
    assert "hint: " in conflict.err
    away = await memoryd("stats", "--url", f"redis://127.0.0.1:{free_port()}", exits=5)
    assert "hint: " in away.err
    assert (await memory.get(kept.id)).version == 2


def test_every_error_has_a_documented_exit_code() -> None:
    """The help's last line names them all."""
    kinds = [kind(current_version=1) if kind is Conflict else kind() for kind in BY_CODE.values()]
    documented = str(app.info.epilog)

    assert {exit_code(error) for error in kinds} == {1, 2, 3, 4, 5}
    assert all(f"{code} " in documented for code in range(7))


async def test_a_memorys_text_cannot_write_the_screen(memoryd: Commands) -> None:
    """Neither Rich's markup nor a terminal's own control sequences are obeyed: they are shown."""
    hostile = MARKUP + "\x1b]0;owned\x07\x1b[2J\r\b\x9b31m"
    kept = (await memoryd("store", hostile, "--tag", "[red]t", "--metadata", '{"a": "\\u001b[1m"}', "--json")).json

    for words in (["get", kept["id"]], ["recall", "Ada prefers tea"]):
        out = (await memoryd(*words, environment={"FORCE_COLOR": "1", "COLUMNS": "300"})).out
        assert MARKUP in out
        assert "\\x1b]0;owned\\x07\\x1b[2J\\x0d\\x08\\x9b31m" in out
        assert [sequence for sequence in ("\x1b]0;", "\x1b[2J", "\x07", "\r", "\b", "\x9b") if sequence in out] == []
    assert (await memoryd("get", kept["id"], "--json")).json["content"] == hostile


# --- help -----------------------------------------------------------------------------------------------------------


def all_commands() -> Iterator[tuple[list[str], Any]]:
    """Every command and group, with the words that call it."""

    def below(words: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
        yield words, command
        for name, one in getattr(command, "commands", {}).items():
            yield from below([*words, name], one)

    return below([], typer.main.get_command(app))


def help_of(words: list[str]) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr. In this process, which is quick, but for `sync`, which would take its place."""
    environment = {"COLUMNS": "200", "TERM": "dumb"}
    if words == ["sync"]:
        done = subprocess.run(
            [*COMMAND, *words, "--help"], env=clean_environment() | environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr
    shown = CliRunner().invoke(app, [*words, "--help"], env=environment)
    return shown.exit_code, shown.stdout, shown.stderr


@pytest.mark.parametrize(
    ("words", "command"), [pytest.param(*one, id=" ".join(["memoryd", *one[0]])) for one in all_commands()]
)
def test_every_command_explains_itself(words: list[str], command: Any) -> None:
    """What it does, and every option of it."""
    code, out, err = help_of(words)

    assert (code, err) == (0, "")
    assert command.help
    assert command.help.split()[0] in out
    assert "--help" in out
    assert [one.name for one in command.params if not getattr(one, "help", None)] == []


def test_help_is_quick() -> None:
    """It needs nothing of the daemon, and not even Redis's client: a shell completes by it."""
    heavy = (
        "pydantic",
        "redisvl",
        "pymongo",
        "numpy",
        "redis",
        "mcp",
        "structlog",
        "onnxruntime",
        "transformers",
        "torch",
        "asyncio",
        "memoryd.exchange",
    )
    look = (
        "import sys; from typer.testing import CliRunner; from memoryd.cli import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout == "[]\n"


async def test_the_version_names_what_a_report_of_an_error_needs(memoryd: Commands) -> None:
    """memoryd's own, Python's and its libraries', whatever else stands on the line."""
    told = dict(line.split(" ", 1) for line in (await memoryd("--version", "stats")).out.splitlines())
    assert (told["memoryd"], told["Python"]) == (version("memoryd"), platform.python_version())
    assert (told["redis"], told["pymongo"]) == (version("redis"), version("pymongo"))


async def test_a_base_install_says_which_extra_a_command_needs(memoryd: Commands) -> None:
    """`config`, `serve` and `export` are the daemon's; the client's install has no pydantic and no pymongo."""
    without = (
        "import sys; sys.modules.update(dict.fromkeys(['pydantic', 'pymongo'])); from memoryd.cli import main; main()"
    )
    for words in (["config"], ["serve"], ["export"]):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", without, *words, env=memoryd.environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await child.communicate()
        assert (child.returncode, out) == (1, b"")
        assert b"pip install 'memoryd[daemon]'" in err
        assert b"Traceback" not in err


# --- config and model -----------------------------------------------------------------------------------------------


async def test_config_hides_every_password(memoryd: Commands) -> None:
    """In a table and in JSON, wherever in a URL it stands, and also when it holds what URLs are made of."""
    secrets = {
        "MEMORYD_REDIS_URL": "redis://user:hunter2@cache.example:6379",
        "MEMORYD_MONGO_URL": "mongodb://root:hunter2@a.example,b.example/?replicaSet=rs0",
        "MEMORYD_EMBED_URL": "https://key:hunt@hunter2@models.example/v1",
        "MEMORYD_EMBED_KEY": "sk-hunter2",
    }
    for extra in ({}, {"MEMORYD_REDIS_URL": "redis://cache.example:6379?username=me&password=hunter2&db=0"}):
        table = await memoryd("config", environment={**secrets, **extra})
        shown = (await memoryd("config", "--json", environment={**secrets, **extra})).json
        for text in (table.out, table.err, json.dumps(shown)):
            assert "hunter2" not in text
        assert "cache.example:6379" in shown["MEMORYD_REDIS_URL"]
    assert shown["MEMORYD_EMBED_KEY"] == "set"
    assert "a.example,b.example/?replicaSet=rs0" in table.out
    assert "MEMORYD_BUCKETS" in table.out


async def test_there_is_nothing_to_prepare_without_a_local_model(memoryd: Commands) -> None:
    """It says so and succeeds: a set-up script need not know which model is configured."""
    said = await memoryd("model", "prepare", "--json")
    assert (said.out, "MEMORYD_EMBEDDER=none" in said.err) == ("", True)


# --- import and export ----------------------------------------------------------------------------------------------


def written(folder: Path, name: str, value: Any) -> str:
    """The path of a new file with this text or JSON."""
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return str(path)


def names_in(folder: Path) -> list[str]:
    """The names of its files."""
    return [path.name for path in folder.iterdir()]


async def contents(world: World, **scope: Any) -> list[tuple[str, str]]:
    """Session and content of what the archive holds of the scope, oldest first."""
    async with world.connect(**{"project": "support", "agent": "", **scope}) as memory:
        await world.drained(memory)
        return [(one.session_id, one.content) async for one in world.archive.export(memory.scope)]


async def test_the_three_formats_are_imported(memoryd: Commands, world: World, tmp_path: Path) -> None:
    """A line, a message, a turn: each becomes a memory where the file or the command says."""
    lines = '{"content": "Ada prefers tea.", "type": "fact", "session": "s1"}\n{"content": "Ada paints.", "project": "other"}\n'
    chat = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good day"}]
    talk = {
        "session_1": [
            {"speaker": "Ann", "dia_id": "D1:1", "text": "Hey Bo!"},
            {"speaker": "Bo", "dia_id": "D1:2", "text": "Hey!"},
        ],
        "session_1_date_time": "1:56 pm on 8 May, 2023",
    }
    nowhere = {"MEMORYD_PROJECT": "", "MEMORYD_AGENT": ""}
    jsonl = (await memoryd("import", written(tmp_path, "a.jsonl", lines), "--json", environment=nowhere)).json
    messages = (await memoryd("import", written(tmp_path, "chat.json", chat), "--json")).json
    locomo = written(tmp_path, "talk.json", [{"sample_id": "conv-1", "conversation": talk}])
    turns = (await memoryd("import", locomo, "--json", environment=nowhere)).json

    assert (jsonl["stored"], messages["stored"], turns["stored"]) == (2, 2, 2)
    assert not jsonl["failed"] + messages["failed"] + turns["failed"]
    assert await contents(world, project="default") == [("s1", "Ada prefers tea.")]
    assert await contents(world, project="other") == [("", "Ada paints.")]
    assert await contents(world) == [("chat", "hello"), ("chat", "good day")]
    assert await contents(world, project="conv-1") == [("session_1", "Ann: Hey Bo!"), ("session_1", "Bo: Hey!")]
    async with world.connect(project="conv-1", agent="") as memory:
        [hit] = await memory.recall("Ann: Hey Bo!", limit=1)
    assert hit.memory.valid_from.isoformat() == "2023-05-08T13:56:00+00:00"


async def test_bad_lines_are_named_and_cost_only_themselves(memoryd: Commands, world: World, tmp_path: Path) -> None:
    """Exit code 6: done in part. The file's text is not quoted."""
    lines = ['{"content": "first"}', '{"content": "sesame', '{"content": "x", "type": "sesame"}', '{"content": "last"}']
    path = written(tmp_path, "some.jsonl", "\n".join(lines))

    said = await memoryd("import", path, "--json", exits=6)
    people = await memoryd("import", path, "--again", exits=6)

    assert said.json["stored"] == 2
    assert [line.split(":")[0] for line in said.json["failed"]] == ["line 2", "line 3"]
    assert [line.split(":")[0] for line in said.err.splitlines()] == ["line 2", "line 3"]
    assert people.fields["failed"] == "2"
    assert "sesame" not in said.out + said.err + people.out + people.err
    assert {content for _, content in await contents(world)} == {"first", "last"}


async def test_an_import_that_is_repeated_stores_nothing_twice(memoryd: Commands, world: World, tmp_path: Path) -> None:
    """Equal events are two events, but the same line of the same file is one, unless `--again` says otherwise."""
    path = written(tmp_path, "chat.json", [{"role": "user", "content": f"message {n}"} for n in range(70)])

    first = (await memoryd("import", path, "--json")).json
    second = (await memoryd("import", path, "--json")).json
    assert len(await contents(world)) == 70
    third = (await memoryd("import", path, "--again", "--json")).json

    assert (first["stored"], first["already"]) == (70, 0)
    assert (second["stored"], second["already"]) == (0, 70)
    assert (third["stored"], third["already"]) == (70, 0)
    assert len(await contents(world)) == 140


async def test_one_file_can_be_imported_to_several_places(memoryd: Commands, world: World, tmp_path: Path) -> None:
    """What makes a repeat harmless must not take another project, or another session, for a repeat."""
    path = written(tmp_path, "chat.json", [{"role": "user", "content": "hello"}])

    for options in (
        ["--project", "a"],
        ["--project", "b"],
        ["--agent", "ada"],
        ["--conversation", "c1"],
        ["--conversation", "c2"],
    ):
        assert (await memoryd("import", path, *options, "--json")).json["stored"] == 1

    assert await contents(world, project="a") == await contents(world, project="b") == [("chat", "hello")]
    assert sorted(await contents(world)) == [("c1", "hello"), ("c2", "hello"), ("chat", "hello")]


def kept_by_an_export(memory: Memory) -> tuple[Any, ...]:
    """What a memory must still be after an export and an import."""
    return (
        memory.content, memory.memory_type, memory.agent_id, memory.session_id, memory.metadata, memory.tags,
        memory.importance, memory.source_tool, memory.valid_from, memory.valid_until, memory.related, memory.derived_from,
    )  # fmt: skip


async def test_what_is_exported_is_imported_as_the_same_memories(
    memoryd: Commands, world: World, memory: MemoryClient, tmp_path: Path
) -> None:
    """Into another project: the same but for id, version and the times of storing."""
    kept = await memory.store(
        'Ada "prefers"\n tea \u2028 ☕ <|im_end|>.', type="fact", session="s1", importance=0.123456789, tags=["a b", "ü|*"],
        metadata={"n": [1, 2.5, None, {"x": "ß"}], "big": 2**62}, source_tool="chat",
        valid_from="2020-01-01T00:00:00.123456Z", valid_until="2030-01-01T00:00:00Z",
    )  # fmt: skip
    await memory.store("It happened.", type="episodic", related=[kept.id], derived_from=[kept.id])
    await memory.store("It happened.", type="episodic", importance=0)
    changed = await memory.store("How to make coffee.", type="procedural")
    await memory.update(changed.id, content="How to make tea.", metadata={})
    gone = await memory.store("Not to be exported.")
    await memory.forget(gone.id)

    file = tmp_path / "all.jsonl"
    said = await memoryd("export", str(file))
    piped = await memoryd("export", "--agent", "")
    back = (await memoryd("import", str(file), "--project", "copy", "--json", environment={"MEMORYD_AGENT": ""})).json

    assert (said.out, "4 memories" in said.err) == ("", True)
    assert piped.out == file.read_text("utf-8")
    assert names_in(tmp_path) == [file.name]
    assert (back["stored"], back["failed"]) == (4, [])
    async with world.connect(project="copy", agent="") as copy:
        await world.drained(copy)
        copied = [kept_by_an_export(one) async for one in world.archive.export(copy.scope)]
    assert sorted(copied, key=repr) == sorted(
        [kept_by_an_export(one) async for one in world.archive.export(memory.scope)], key=repr
    )
    assert len(copied) == 4


async def test_an_export_that_fails_leaves_no_file(memoryd: Commands, tmp_path: Path) -> None:
    """A half file under the name would be taken for a whole one."""
    absent = {"MEMORYD_MONGO_URL": f"mongodb://127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=200"}

    await memoryd("export", str(tmp_path / "all.jsonl"), exits=5, environment=absent)
    assert names_in(tmp_path) == []
    await memoryd("export", str(tmp_path / "no" / "folder.jsonl"), exits=2)


# --- the environment ------------------------------------------------------------------------------------------------


def test_what_is_installed_fits_together() -> None:
    """Our pins and everybody else's: a conflict would show at a user's first install."""
    check = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout
