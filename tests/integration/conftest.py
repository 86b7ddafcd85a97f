"""What the integration tests share: a memoryd that notices a stop at once, so that no test waits a second for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from opentelemetry.instrumentation.pymongo import PymongoInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.trace import ReadableSpan

import memoryd.embed.follower
import memoryd.protocol.server
import memoryd_sync.archiver
import memoryd_sync.follower
from memoryd import MemoryClient
from memoryd.config import Settings
from memoryd_schemas.mongo_apply import apply_mongo
from memoryd_telemetry.stores import trace_stores
from tests.integration.tools import redeliver_after
from tests.world import World


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of a second become waits of a tenth of one; nothing else depends on them."""
    monkeypatch.setattr(memoryd_sync.follower, "SETTLE_SECONDS", 0.1)
    redeliver_after(1.0, monkeypatch)
    monkeypatch.setattr(memoryd_sync.archiver, "REFUSED_SECONDS_MAX", 0.5)
    for module in (memoryd.protocol.server, memoryd.embed.follower, memoryd_sync.archiver):
        monkeypatch.setattr(module, "BLOCK_SECONDS", 0.1)


# How long is waited for what always comes, where no test is about its not coming.
PATIENT = (
    "memoryd.durability.ARCHIVED_TIMEOUT_SECONDS", "memoryd.agent.documents.ARCHIVED_TIMEOUT_SECONDS",
    "memoryd.engine.SEARCHABLE_TIMEOUT_SECONDS", "memoryd.lifecycle.compressing.SEARCHABLE_TIMEOUT_SECONDS",
    "memoryd.lifecycle.moving.MOVE_WAIT_SECONDS", "memoryd.lifecycle.forgetting.CHAINED_SECONDS_MAX",
    "memoryd.agent.introspection.CAUGHT_UP_SECONDS", "memoryd.hot.scripts.FSYNC_TIMEOUT_SECONDS",
    "memoryd.hot.clauses.SEARCH_TIMEOUT_SECONDS", "memoryd.archive.words.SEARCH_TIMEOUT_SECONDS",
    "memoryd.archive.deep.DEEP_SECONDS_MAX", "memoryd.jobs.asking.JOB_ASK_SECONDS",
)  # fmt: skip
PATIENT_SECONDS = 60.0
SERVERS_ANSWER = ("memoryd.hot.client.REDIS_ANSWER_SECONDS", "memoryd.archive.store.ARCHIVE_ANSWER_SECONDS")
SERVERS_ANSWER_SECONDS = 90.0  # which covers a wait in the server


@pytest.fixture(autouse=True)
def patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for seconds makes no answer another one. Where a test stops servers of its own, a server that
    does not answer is away as soon as ever."""
    for limit in PATIENT:
        monkeypatch.setattr(limit, PATIENT_SECONDS)
    for module in ("episodes", "selves", "facts"):
        monkeypatch.setattr(f"memoryd.archive.{module}.SECONDS_MAX_MS", int(PATIENT_SECONDS * 1000))
    monkeypatch.setattr("memoryd.embed.follower.EMBED_TRIES_MAX", 10_000)  # a model that a test sends away comes back in the end
    monkeypatch.setattr("memoryd.hot.query_cache.QUERY_CACHE_SECONDS", 600)
    monkeypatch.setattr("memoryd.protocol.server.CLAIM_TTL_SECONDS", 600)
    if not {"own_servers", "own_redis"} & set(request.fixturenames):
        for limit in SERVERS_ANSWER:
            monkeypatch.setattr(limit, SERVERS_ANSWER_SECONDS)


@pytest.fixture
async def unsynced(settings: Settings) -> AsyncIterator[World]:
    """A memoryd whose daemon runs and whose sync the test does by hand; MongoDB has its collections."""
    async with World(settings) as world:
        await apply_mongo(world.archive.database)
        await world.start("daemon")
        yield world


@pytest.fixture
async def talk(world: World) -> AsyncIterator[MemoryClient]:
    """A client in the session `lake`."""
    async with world.connect(session="lake") as client:
        yield client


@pytest.fixture
def traced_stores(spans: list[ReadableSpan]) -> Iterator[list[ReadableSpan]]:
    """The spans of the test, with each command to Redis and MongoDB among them. To be named before what opens the clients."""
    trace_stores()
    yield spans
    RedisInstrumentor().uninstrument()
    PymongoInstrumentor().uninstrument()
