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


@pytest.fixture
async def unsynced(settings: Settings) -> AsyncIterator[World]:
    """A memoryd whose daemon runs and whose sync the test does by hand; MongoDB has its collections."""
    async with World(settings) as world:
        await apply_mongo(world.archive.database)
        await world.start("daemon")
        yield world


@pytest.fixture
def traced_stores(spans: list[ReadableSpan]) -> Iterator[list[ReadableSpan]]:
    """The spans of the test, with each command to Redis and MongoDB among them. To be named before what opens the clients."""
    trace_stores()
    yield spans
    RedisInstrumentor().uninstrument()
    PymongoInstrumentor().uninstrument()
