"""A cross-encoder reads the best candidates where a recall asks for it; without one, or when it fails, the order stays."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from memoryd.config import RerankerKind, load_settings
from memoryd.errors import ConfigError
from memoryd.rerank import open_reranker
from memoryd.rerank.local import LocalReranker
from memoryd.rerank.protocol import Failed
from tests.loopback import Answer, Call, in_json, serving
from tests.world import World


@dataclass
class Endpoint:
    """A /rerank that finds what has most of the letter z, and answers as it is told."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    answer: Any = None
    status: int = 200
    seconds: float = 0.0


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """It runs on loopback."""
    state = Endpoint()

    def answer(call: Call) -> Answer:
        state.asked.append({"path": call.path, **call.body})
        state.keys.append(call.headers.get("Authorization", ""))
        scored = sorted(
            ({"index": at, "relevance_score": text.count("z") / 10} for at, text in enumerate(call.body["documents"])),
            key=lambda one: -one["relevance_score"],
        )
        said = in_json({"results": scored} if state.answer is None else state.answer, state.status)
        said.delay = state.seconds
        return said

    with serving(answer) as url:
        state.url = f"{url}/v1"
        yield state


async def test_a_recall_that_asks_for_it_is_reranked_and_says_so(
    world: World, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are not; and an endpoint that is late, wrong or away costs nothing but its opinion."""
    monkeypatch.setattr("memoryd.hot.query_cache.QUERY_CACHE_SECONDS", 0)  # the same question is to be reranked each time
    await world.stop("daemon")
    world.settings = world.settings.model_copy(
        update={"reranker": RerankerKind.HTTP, "rerank_model": "tiny", "rerank_url": endpoint.url, "rerank_timeout_seconds": 5.0}
    )
    await world.start("daemon")
    texts = [f"harbour {'z' * number}" for number in range(1, 9)]
    async with world.connect() as memory:
        await memory.store_many([{"content": one, "type": "fact"} for one in texts], wait="searchable")
        plain = await memory.recall("harbour", limit=8)
        assert endpoint.asked == []

        found = await memory.recall("harbour", limit=3, rerank=True)
        [asked] = endpoint.asked
        assert (asked["path"], asked["model"], asked["query"], asked["top_n"]) == ("/v1/rerank", "tiny", "harbour", 8)
        assert sorted(asked["documents"]) == sorted(texts)
        assert endpoint.keys == [""]
        assert found.degraded == ""
        assert found.hits[0].why["relevance"].value >= 0.5
        for hit in found:
            assert hit.score == pytest.approx(sum(part.contribution for part in hit.why.values()), abs=1e-5)
        whole = await memory.recall("harbour", limit=8, rerank=True)
        assert [one.memory.id for one in whole][:3] == [one.memory.id for one in found]

        wrong: list[dict[str, Any]] = [
            {"status": 500}, {"answer": {"error": "no"}}, {"answer": {"results": [{"index": 0, "relevance_score": 1}]}},
            {"answer": {"results": [{"index": 0, "relevance_score": 1}] * 8}}, {"answer": []},
        ]  # fmt: skip
        for answer in wrong:
            endpoint.answer, endpoint.status = answer.get("answer"), answer.get("status", 200)
            failed = await memory.recall("harbour", limit=8, rerank=True)
            assert "the order is that of the other signals" in failed.degraded, answer
            assert [(hit.memory.id, hit.score) for hit in failed] == [(hit.memory.id, hit.score) for hit in plain]

    await world.stop("daemon")
    endpoint.answer, endpoint.status, endpoint.seconds = None, 200, 0.5
    world.settings = world.settings.model_copy(update={"rerank_timeout_seconds": 0.05})
    await world.start("daemon")
    async with world.connect() as memory:
        late = await memory.recall("harbour", limit=8, rerank=True)
        assert "the order is that of the other signals" in late.degraded
        assert [hit.memory.id for hit in late] == [hit.memory.id for hit in plain]


async def test_a_daemon_without_a_reranker_says_that_it_has_none(world: World) -> None:
    """Asking for it is no error: another daemon may have one."""
    async with world.connect() as memory:
        await memory.store("harbour", type="fact")
        found = await memory.recall("harbour", rerank=True)
    assert (len(found), "no reranker is configured" in found.degraded) == (1, True)


async def test_the_local_model_is_loaded_lazily_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers and torch are imported when one is configured, not before; a failing model has no opinion."""
    settings = load_settings(reranker="transformers", rerank_model="no/such-model")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError) as missing:
        await open_reranker(settings)
    assert "memoryd[transformers]" in str(missing.value.hint)
    with pytest.raises(ConfigError, match="MEMORYD_RERANK_MODEL"):
        await open_reranker(load_settings(reranker="http"))

    local = await LocalReranker.open(settings, load=lambda _: lambda question, texts: [float(len(one)) for one in texts])
    assert await local.relevance("?", ["a", "bcd"]) == [1.0, 3.0]
    await local.close()

    def broken(question: str, texts: Any) -> list[float]:
        raise RuntimeError("out of memory, near 'a secret'")

    local = await LocalReranker.open(settings, load=lambda _: broken)
    with pytest.raises(Failed) as failed:
        await local.relevance("?", ["a"])
    assert "secret" not in str(failed.value)
    await local.close()
