"""`memoryd demo` as a newcomer runs it: a process of its own, real servers, the real model, our own conversation."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from memoryd.demo.conversation import QUESTIONS, first_conversation

CONVERSATION = Path(str(files("memoryd") / "demo_data" / "conversation.json"))
COMMAND = [sys.executable, "-m", "memoryd", "demo", "--conversation", str(CONVERSATION)]
SECONDS = 400  # what the demo may take on two cores that others use, too


@pytest.fixture
def environment(model_dir: Path, tmp_path: Path) -> dict[str, str]:
    """A developer's environment without the developer's servers, with a mark by which every child is known."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("MEMORYD_", "OTEL_"))}
    mark = {"MEMORYD_DEMO_TEST": secrets.token_hex(8)}
    return ours | mark | {"TMPDIR": str(tmp_path), "MEMORYD_CACHE_DIR": str(model_dir.parent.parent)}


def tell(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs it to its end. Where it is stuck is said."""
    unbuffered = environment | {"PYTHONUNBUFFERED": "1"}
    try:
        return subprocess.run(COMMAND, env=unbuffered, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"not done after {SECONDS} s, at the end of: {(error.stdout or b'').decode()[-3000:]}") from None


def test_the_demo_tells_its_story_and_counts_right(environment: dict[str, str], tmp_path: Path) -> None:
    """It ends well, every number it shows at the end is the one that our conversation gives, and nothing is left."""
    told = tell(environment)

    turns = len(first_conversation(CONVERSATION).turns)
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]
    assert turns >= 200
    assert counted(told.stdout) == {
        "turns of the conversation that were acknowledged": turns,
        "memories in Redis: the turns and 2 facts": turns + 2,
        "memories in MongoDB's `memories`": turns + 2,
        "versions in MongoDB's `versions`": turns + 2,
        "memories with the acknowledged content in all three": turns + 2,
        "memories with the same vector in all three": turns + 2,
        "memories that wait for a vector": 0,
        "tombstones, each in both stores": 1,
        "places where the forgotten memory was still found": 0,
        "entries left in the journals": 0,
        "requests left unanswered": 0,
        "dead letters": 0,
    }
    assert "all 12 checks passed" in told.stdout
    assert f"of {QUESTIONS} answers are among the first" in told.stdout
    assert "the answer is here" in told.stdout  # a narrow table breaks the line before it
    assert told.stderr == ""
    assert_nothing_left(environment, tmp_path)


def test_the_demo_shows_the_trace_through_all_three_processes(environment: dict[str, str], tmp_path: Path) -> None:
    """Client, daemon, and the linked work of the embedder and the archiver; without a model that of the archiver only."""
    told = tell(environment | {"MEMORYD_EMBEDDER": "none"})

    assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]
    tree = [line.strip() for line in told.stdout.splitlines() if "── " in line and " ms" in line]
    assert [re.sub(r", began.*", "", line) for line in tree] == [
        "└── upsert_memory  (memoryd-demo",
        "└── upsert_memory  (memoryd",
        "├── memoryd.write  (memoryd",
        "└── ⇢ memoryd.archive  (memoryd-sync",
    ]
    assert "found by their words only" in told.stdout
    assert counted(told.stdout)["memories with the same vector in all three"] == 0
    assert_nothing_left(environment, tmp_path)


def test_ctrl_c_ends_the_demo_and_everything_it_started(environment: dict[str, str], tmp_path: Path) -> None:
    """In the middle of the story: the exit code of an interrupt, no process, no folder."""
    with subprocess.Popen(COMMAND, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert any("turns acknowledged" in line for line in demo.stdout)
        assert len(processes_of(environment)) >= 5, "the demo, Redis, MongoDB, the daemon and sync"
        demo.send_signal(signal.SIGINT)
        told, _ = demo.communicate(timeout=SECONDS)

    assert demo.returncode == 130
    assert "checks passed" not in told
    assert_nothing_left(environment, tmp_path)


def test_a_folder_that_holds_something_is_not_taken(tmp_path: Path) -> None:
    """The demo counts all that is there, so it would count wrong; and it is not its to change."""
    (tmp_path / "mine").touch()

    told = subprocess.run([*COMMAND, "--keep", str(tmp_path)], capture_output=True, text=True, timeout=SECONDS, check=False)

    assert (told.returncode, told.stdout) == (2, "")
    assert "not empty" in told.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]


def counted(story: str) -> dict[str, int]:
    """The numbers of the last table: what was counted, and what was found. Every row must have been right."""
    table = story[story.index("The count") :]
    rows = re.findall(r"^ +(\S.*?) {2,}(\d+) +(\d+) +(ok|DIFFERS) *$", table, re.MULTILINE)
    assert all(expected == found and verdict == "ok" for _, expected, found, verdict in rows), rows
    return {what: int(found) for what, _, found, _ in rows}


def assert_nothing_left(environment: dict[str, str], folder: Path) -> None:
    """No process that the demo started, and no file, not even the one in which ONNX Runtime's telemetry keeps its session."""
    assert processes_of(environment) == []
    assert list(folder.iterdir()) == []


def processes_of(environment: dict[str, str]) -> list[int]:
    """The running processes of one demo, as Linux tells (elsewhere none is found).

    They are known by the mark in their environment, or, since Redis overwrites its own, by the folder they work in.
    """
    mark = f"MEMORYD_DEMO_TEST={environment['MEMORYD_DEMO_TEST']}".encode()
    folder = environment["TMPDIR"].encode()
    return [int(one.name) for one in Path("/proc").glob("[0-9]*") if mark in environ(one) or folder in place(one)]


def environ(process: Path) -> bytes:
    """What a process was started with; nothing for one that has just ended or is not ours."""
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


def place(process: Path) -> bytes:
    """The folder that a process works in; nothing for one that has just ended or is not ours."""
    try:
        return bytes((process / "cwd").readlink())
    except OSError:
        return b""
