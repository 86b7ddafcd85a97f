"""The HTTP backend against a real endpoint on this machine that misbehaves on demand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest

from memoryd import limits
from memoryd.config import EmbedderKind, Settings, load_settings
from memoryd.embed.http import HttpEmbedder, calls, retry_after
from memoryd.embed.http_call import Endpoint, Reply
from memoryd.embed.open import open_embedder
from memoryd.embed.protocol import ModelFailed
from memoryd.errors import ConfigError
from tests.loopback import Answer, Call, in_json, serving

KEY = "sk-very-secret"
SECRET_TEXT = "Ada's diagnosis"


@dataclass
class Desk:
    """The endpoint: what it was asked, and what it will say."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    script: list[Answer] = field(default_factory=list)
    otherwise: Callable[[list[str]], Answer] = field(default_factory=lambda: vectors_for)


def vectors_for(texts: Sequence[str]) -> Answer:
    """A good answer, its items in the wrong order on purpose: (length, 1) for each text."""
    data = [{"object": "embedding", "index": at, "embedding": [len(text), 1]} for at, text in enumerate(texts)]
    return in_json({"object": "list", "data": data[::-1], "usage": {}})


def rows(*embeddings: object) -> Answer:
    return in_json({"data": [{"index": at, "embedding": one} for at, one in enumerate(embeddings)]})


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()

    def answer(call: Call) -> Answer:
        desk.asked.append(call.body)
        desk.keys.append(call.headers.get("Authorization"))
        return desk.script.pop(0) if desk.script else desk.otherwise(call.body["input"])

    with serving(answer) as url:
        desk.url = f"{url}/v1"
        yield desk


def settings_for(desk: Desk, **changes: Any) -> Settings:
    base = {"embedder": EmbedderKind.HTTP, "model": "tiny", "embed_url": desk.url, "embed_key": KEY}
    return load_settings(**{**base, **changes})


def embedder_for(desk: Desk, naps: list[float] | None = None, **changes: Any) -> HttpEmbedder:
    async def nap(seconds: float) -> None:
        if naps is not None:
            naps.append(seconds)

    return HttpEmbedder(Endpoint.of(settings_for(desk, **changes)), "tiny", 2, sleep=nap)


async def fails(desk: Desk, *answers: Answer, texts: Sequence[str] = (SECRET_TEXT,), **changes: Any) -> ModelFailed:
    """The error that these answers lead to. Whatever it is, it says neither the key nor a text."""
    desk.script = list(answers)
    embedder = embedder_for(desk, **changes)
    with pytest.raises(ModelFailed) as caught:
        await embedder.embed(texts)
    await embedder.close()
    said = f"{caught.value!r} {caught.value.hint} {caught.value.details} {caught.value.__cause__!r}"
    assert KEY not in said
    assert SECRET_TEXT not in said
    return caught.value


async def test_opening_learns_the_dimension_and_sends_the_key(desk: Desk) -> None:
    embedder = await open_embedder(settings_for(desk))
    assert embedder is not None
    assert (embedder.model, embedder.dims) == ("tiny", 2)
    assert desk.keys == [f"Bearer {KEY}"]
    assert desk.asked[0]["model"] == "tiny"
    await embedder.close()


async def test_vectors_come_in_the_order_of_the_texts_and_of_unit_length(desk: Desk) -> None:
    embedder = embedder_for(desk)
    vectors = await embedder.embed(["a" * 3, "a" * 9])
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.allclose(vectors[:, 0] / vectors[:, 1], [3, 9])
    assert (await embedder.embed([])).shape == (0, 2)
    await embedder.close()


async def test_429_and_503_are_waited_out_as_long_as_the_endpoint_says(desk: Desk) -> None:
    desk.script = [Answer(429, headers={"Retry-After": "7"}), Answer(503, headers={"Retry-After": "2"})]
    naps: list[float] = []
    embedder = embedder_for(desk, naps)
    assert len(await embedder.embed(["one"])) == 1
    assert naps == [7, 2]
    await embedder.close()


async def test_patience_is_bounded_in_tries_and_in_time(desk: Desk) -> None:
    error = await fails(desk, *[Answer(429)] * 9)
    assert error.retryable
    assert len(desk.asked) == limits.EMBED_CALL_TRIES_MAX
    desk.asked.clear()
    error = await fails(desk, Answer(429, headers={"Retry-After": "3600"}))
    assert error.details["retry_after_seconds"] == 3600
    assert len(desk.asked) == 1


def test_retry_after_may_be_a_date() -> None:
    class Noon:
        def now(self) -> datetime:
            return datetime(2030, 1, 1, 12, tzinfo=UTC)

    later = format_datetime(Noon().now() + timedelta(seconds=9), usegmt=True)
    assert retry_after(Reply(503, later, b""), Noon(), 1) == 9
    for nonsense in ("", "soon", "-1", "1e9", "²", None):
        assert 0.5 <= retry_after(Reply(503, nonsense, b""), Noon(), 1) <= 1


@pytest.mark.parametrize(
    ("answer", "retryable"),
    [
        (Answer(500, SECRET_TEXT.encode()), True),
        (Answer(401, KEY.encode()), True),
        (Answer(400, SECRET_TEXT.encode()), False),
        (Answer(307, headers={"Location": "http://127.0.0.1:1/"}), True),
        (Answer(302, headers={"Location": "/elsewhere"}), True),
        (rows([1.0, 2.0], [1.0, 2.0]), False),
        (rows(), False),
        (rows([float("nan"), 1.0]), False),
        (rows([0.0, 0.0]), False),
        (rows([1e400, 1.0]), False),
        (rows([10**400, 1.0]), False),
        (rows([None, 1.0]), False),
        (rows(["1", "2"]), False),
        (rows("AACAPwAAAEA="), False),
        (rows([]), True),
        (rows([1.0, 2.0, 3.0]), True),
        (Answer(body=b'{"data": [{"index": 5, "embedding": [1, 2]}]}'), False),
        (Answer(body=b"<html>sign in</html>"), False),
        (Answer(body=b"[1, 2]"), False),
        (Answer(body=b"\xff\xfe"), False),
        (Answer(body=b'{"data": [', headers={"Content-Length": "500"}), True),
    ],
)
async def test_a_wrong_answer_is_a_typed_error_and_never_a_vector(desk: Desk, answer: Answer, retryable: bool) -> None:
    error = await fails(desk, answer)
    assert error.retryable is retryable
    assert len(desk.asked) == 1


async def test_rows_of_unequal_length_are_refused(desk: Desk) -> None:
    assert not (await fails(desk, rows([1.0, 2.0], [1.0]), texts=["one", "two"])).retryable


async def test_a_slow_endpoint_is_given_up_in_time(desk: Desk) -> None:
    started = time.monotonic()
    error = await fails(desk, Answer(delay=4.0), embed_timeout_seconds=0.2)
    assert error.retryable
    assert time.monotonic() - started < 4


async def test_nobody_listening_is_a_typed_error(desk: Desk) -> None:
    error = await fails(desk, embed_url="http://127.0.0.1:9/v1")
    assert error.retryable
    assert "cannot be reached" in error.message


async def test_an_answer_without_end_is_cut_off(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EMBED_REPLY_BYTES_MAX", 10_000)
    assert "too large" in (await fails(desk, Answer(body=b" " * 100_000))).message


async def test_a_text_that_the_model_finds_too_long_is_cut_until_it_fits(desk: Desk) -> None:
    desk.otherwise = lambda texts: Answer(413) if max(map(len, texts)) > 2000 else vectors_for(texts)
    embedder = embedder_for(desk)
    assert np.isfinite(await embedder.embed(["word " * 2000])).all()
    assert len(desk.asked) < 5
    desk.otherwise = lambda texts: Answer(400)
    with pytest.raises(ModelFailed):
        await embedder.embed(["word " * 2000])
    assert len(desk.asked) < 12, "it does not cut for ever"
    await embedder.close()


def test_calls_stay_below_the_limits_on_count_and_on_tokens() -> None:
    short = ["a word"] * 150
    assert [len(call) for call in calls(short)] == [64, 64, 22]
    long = ["x" * 3 * limits.EMBED_TEXT_TOKENS_MAX] * 10
    split = list(calls(long))
    assert [text for call in split for text in call] == long
    assert max(len(call) for call in split) <= limits.EMBED_CALL_TOKENS_MAX // limits.EMBED_TEXT_TOKENS_MAX


async def test_odd_texts_are_sent_as_json(desk: Desk) -> None:
    embedder = embedder_for(desk)
    texts = ["nul \0", "lone \ud800 surrogate", '"quotes"\n', "\u202eright to left", "🙂"]
    assert len(await embedder.embed(texts)) == 5
    assert desk.asked[0]["input"] == [texts[0], "lone ? surrogate", *texts[2:]]
    await embedder.close()


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1", "file:///etc/passwd", "http://", "http://me:secret@host/v1", "http://h/?k=1"]
)
def test_a_url_that_cannot_be_an_endpoint_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Endpoint.of(load_settings(embed_url=url))
    assert "secret" not in str(caught.value)


async def test_the_event_loop_goes_on_while_the_endpoint_thinks(desk: Desk) -> None:
    desk.script = [Answer(delay=2.0, body=vectors_for(["one"]).body)]
    embedder = embedder_for(desk)
    asking = asyncio.create_task(embedder.embed(["one"]))
    turns = 0
    while not asking.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert turns > 10
    await embedder.close()
