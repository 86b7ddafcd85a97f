"""Every bench runs from end to end, at sizes at which nothing is measured; no number is judged here. `make bench-smoke`."""

from __future__ import annotations

import importlib
import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from bench import evidence, harness, load, page, peers_recall
from bench.catalogue import BENCHES, LOCOMO, LONGMEMEVAL, Bench
from bench.harness import HASHED, Running
from memoryd.archive.client import open_mongo
from memoryd.cli import app
from memoryd.config import load_settings
from memoryd.hot.client import open_redis
from memoryd.local.servers import Servers
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).parents[2]
PARTS = {"__main__", "catalogue", "evidence", "hashed_daemon", "harness", "load", "page", "strangers"}
ALONE = [one for one in BENCHES if one.name in ("hnsw", "rebuild", "recall_latency", "tracing")]
TOGETHER = [one for one in BENCHES if one not in ALONE]
SESSIONS, TURNS = 6, 3  # of a conversation, and of a session


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reports of this run are kept."""
    return tmp_path_factory.mktemp("results")


def named(patch: pytest.MonkeyPatch, servers: Servers) -> str:
    """Gives a bench the servers of the tests instead of its own, and a database; the name of that."""
    database = f"bench_{secrets.token_hex(6)}"
    patch.setenv("MEMORYD_REDIS_URL", servers.redis_url)
    patch.setenv("MEMORYD_MONGO_URL", servers.mongo_url)
    patch.setenv("MEMORYD_MONGO_DATABASE", database)
    return database


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Path]:
    """What stands for the data sets: conversations that are small enough."""
    whole = json.loads(harness.CONVERSATION.read_text())
    few = {name: whole["conversation"][name] for name in ("speaker_a", "speaker_b")}
    for session in (f"session_{number}" for number in range(1, SESSIONS + 1)):
        few[f"{session}_date_time"] = whole["conversation"][f"{session}_date_time"]
        few[session] = whole["conversation"][session][:TURNS]
    conversations = [{"sample_id": name, "conversation": few, "qa": whole["qa"][:2]} for name in ("one", "two")]
    history = {
        "question_id": "q", "question_type": "single-session-user", "question": "What is my cat called?", "answer": "Miso",
        "question_date": "2023/05/30 (Tue) 10:00", "haystack_session_ids": ["answer_1"],
        "haystack_dates": ["2023/05/20 (Sat) 02:21"],
        "haystack_sessions": [[{"role": "user", "content": "My cat is called Miso.", "has_answer": True}]],
    }  # fmt: skip
    files = {LOCOMO: tmp_path / "locomo.json", LONGMEMEVAL: tmp_path / "longmemeval.json"}
    files[LOCOMO].write_text(json.dumps(conversations))
    files[LONGMEMEVAL].write_text(json.dumps([history]))
    return files


async def ran(bench: Bench, results: Path, data: dict[str, Path]) -> None:
    """Runs it, and sees what it reports on the page."""
    module: Any = importlib.import_module(f"bench.{bench.name}")
    file = results / f"{bench.name}.json"
    arguments = module.options().parse_args([*bench.arguments("smoke", data.get(bench.data)), "--json", str(file)])
    report = await harness.measured(arguments, module.run)
    assert report is not None
    assert page.reports(results)[bench.name] == json.loads(json.dumps(report))
    assert (f"`python -m bench.{bench.name} --" in page.written(page.reports(results))) == (bench.name in page.SECTIONS)


async def emptied(servers: Servers) -> None:
    """Redis as a bench would find its own."""
    async with open_redis(servers.redis_url) as redis:
        await redis.flushall()


async def dropped(servers: Servers, database: str) -> None:
    """MongoDB without what a bench has left there."""
    async with open_mongo(servers.mongo_url) as mongo:
        await mongo.drop_database(database)


@asynccontextmanager
async def inside(name: str, *_: Any, **__: Any) -> AsyncIterator[Any]:
    """The daemon or sync in this process, where it starts in no time."""
    async with World(load_settings(embedder="none")) as world:
        await world.start(name)
        yield SimpleNamespace(pid=os.getpid())


# --- those that start what they need, or need nothing; before the others, whose daemon would prepare an emptied Redis -------------
@pytest.mark.parametrize("bench", ALONE, ids=lambda bench: bench.name)
async def test_a_bench_runs_alone(
    bench: Bench, servers: Servers, data: dict[str, Path], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the servers of the tests instead of its own, with a daemon and a sync of its own."""
    database, module = named(monkeypatch, servers), importlib.import_module(f"bench.{bench.name}")
    await emptied(servers)
    if hasattr(module, "service"):
        monkeypatch.setattr(module, "service", inside)
    await ran(bench, results, data)
    await dropped(servers, database)


# --- those that take a whole memoryd ------------------------------------------------------------------------------------
@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(servers: Servers) -> AsyncIterator[tuple[Running, load.Generator]]:
    """One memoryd and one load generator for all of them: to start those takes longer than what they have to do."""
    with pytest.MonkeyPatch.context() as patch:
        database = named(patch, servers)
        await emptied(servers)
        memoryd = harness.running(embedder=HASHED, MEMORYD_RECALL_WEIGHTS=peers_recall.WEIGHTS)
        async with memoryd as parts, load.generator() as generate:
            yield parts, generate
        await dropped(servers, database)


@pytest.mark.parametrize("bench", TOGETHER, ids=lambda bench: bench.name)
async def test_a_bench_runs(
    bench: Bench, shared: tuple[Running, load.Generator], data: dict[str, Path], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the memoryd that they share. Each has a tenant or projects of its own there."""
    module: Any = importlib.import_module(f"bench.{bench.name}")
    for place in (module, evidence):
        if hasattr(place, "running"):
            monkeypatch.setattr(place, "running", lambda **_: nullcontext(shared[0]))
    monkeypatch.setattr(load, "generator", lambda: nullcontext(shared[1]))
    monkeypatch.setattr(evidence, "memoryd", command)
    await ran(bench, results, data)


def command(url: str, *words: str) -> None:
    """A command in this process: what it is for is proven elsewhere."""
    result = CliRunner().invoke(app, [*words, "--url", url])
    assert result.exit_code == 0, result.output


async def test_every_bench_is_run_by_make_bench() -> None:
    """A module that is neither in the catalogue nor a part of others would never run."""
    modules = {file.stem for file in (ROOT / "bench").glob("*.py")}
    assert modules == {one.name for one in BENCHES} | PARTS
    assert {one.name for one in BENCHES if not one.data} == set(page.SECTIONS)
