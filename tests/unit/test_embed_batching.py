"""Joining callers: who shares a batch, and who shares its troubles."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from memoryd import limits
from memoryd.embed.batching import MicroBatcher
from memoryd.embed.protocol import ModelFailed, Vectors


class Recorder:
    """A model that gives text "n" the vector (n, 0) and remembers its batches."""

    model = "recorder"
    dims = 2

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.free = asyncio.Event()
        self.free.set()
        self.asked = asyncio.Event()
        self.closed = False

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(list(texts))
        self.asked.set()
        await self.free.wait()
        if "poison" in texts:
            raise ModelFailed("a text is refused", retryable=False)
        if "outage" in texts:
            raise ModelFailed("the model is away", retryable=True)
        return np.array([[float(text), 0.0] for text in texts], dtype=np.float32)

    async def close(self) -> None:
        self.closed = True


async def gather(batcher: MicroBatcher, *texts: str) -> list[Vectors | BaseException]:
    """What each of several concurrent callers gets."""
    return await asyncio.gather(*(batcher.embed([text]) for text in texts), return_exceptions=True)


def first(vectors: Vectors | BaseException) -> float:
    assert not isinstance(vectors, BaseException), vectors
    return float(vectors[0, 0])


async def test_concurrent_callers_share_one_batch_and_each_gets_its_own_rows() -> None:
    recorder = Recorder()
    batcher = MicroBatcher(recorder, wait_seconds=0.02)
    answers = await gather(batcher, *map(str, range(10)))
    assert [first(answer) for answer in answers] == list(range(10))
    assert len(recorder.batches) == 1
    await batcher.close()


async def test_a_batch_never_exceeds_its_maximum_and_rows_keep_their_order() -> None:
    recorder = Recorder()
    batcher = MicroBatcher(recorder, batch_max=4, wait_seconds=0)
    wanted = [str(number) for number in range(11)]
    vectors = await batcher.embed(wanted)
    assert vectors[:, 0].tolist() == list(range(11))
    assert max(len(batch) for batch in recorder.batches) == 4
    await batcher.close()


async def test_a_full_batch_does_not_wait() -> None:
    batcher = MicroBatcher(Recorder(), batch_max=3, wait_seconds=600)
    async with asyncio.timeout(60):
        await gather(batcher, "1", "2", "3")
    await batcher.close()


async def test_no_texts_ask_no_model() -> None:
    recorder = Recorder()
    batcher = MicroBatcher(recorder, wait_seconds=0)
    assert (await batcher.embed([])).shape == (0, 2)
    assert recorder.batches == []
    await batcher.close()


async def test_a_refused_text_fails_only_its_own_caller() -> None:
    batcher = MicroBatcher(Recorder(), wait_seconds=0.02)
    one, poison, two = await gather(batcher, "1", "poison", "2")
    assert (first(one), first(two)) == (1, 2)
    assert isinstance(poison, ModelFailed)
    assert not poison.retryable
    await batcher.close()


async def test_an_outage_fails_the_batch_it_meets_and_no_other() -> None:
    recorder = Recorder()
    batcher = MicroBatcher(recorder, batch_max=2, wait_seconds=0.02)
    answers = await gather(batcher, "1", "outage", "2", "3")
    assert [isinstance(answer, ModelFailed) for answer in answers] == [True, True, False, False]
    assert recorder.batches == [["1", "outage"], ["2", "3"]], "a retryable failure is not asked again caller by caller"
    await batcher.close()


async def test_a_caller_that_leaves_takes_nobody_with_it() -> None:
    recorder = Recorder()
    batcher = MicroBatcher(recorder, wait_seconds=0.02)
    leaver = asyncio.create_task(batcher.embed(["1"]))
    stayer = asyncio.create_task(batcher.embed(["2"]))
    await asyncio.sleep(0)
    leaver.cancel()
    assert first(await stayer) == 2
    assert recorder.batches == [["2"]], "nothing is computed for who has gone"
    await batcher.close()


async def test_a_caller_may_leave_while_its_batch_runs() -> None:
    recorder = Recorder()
    recorder.free.clear()
    batcher = MicroBatcher(recorder, wait_seconds=0)
    leaver = asyncio.create_task(batcher.embed(["1"]))
    await recorder.asked.wait()
    leaver.cancel()
    recorder.free.set()
    assert first((await gather(batcher, "2"))[0]) == 2
    await batcher.close()


async def test_close_answers_what_waits_and_takes_nothing_new() -> None:
    recorder = Recorder()
    batcher = MicroBatcher(recorder, wait_seconds=600)
    waiting = asyncio.create_task(batcher.embed(["1"]))
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await batcher.close()
    assert first(await waiting) == 1
    assert recorder.closed
    with pytest.raises(ModelFailed, match="closed"):
        await batcher.embed(["2"])


async def test_a_full_queue_refuses_and_recovers() -> None:
    recorder = Recorder()
    recorder.free.clear()
    batcher = MicroBatcher(recorder, wait_seconds=0)
    running = asyncio.create_task(batcher.embed(["0"]))
    await recorder.asked.wait()
    crowd = [asyncio.create_task(batcher.embed(["1"])) for _ in range(limits.EMBED_QUEUE_TEXTS_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(ModelFailed, match="too many") as refused:
        await batcher.embed(["2"])
    assert refused.value.retryable
    recorder.free.set()
    assert {first(answer) for answer in await asyncio.gather(*crowd)} == {1.0}
    assert first(await running) == 0
    assert first((await gather(batcher, "2"))[0]) == 2
    await batcher.close()


async def test_a_model_that_breaks_in_an_unknown_way_does_not_stop_the_batcher() -> None:
    batcher = MicroBatcher(Recorder(), wait_seconds=0)
    with pytest.raises(ValueError):
        await batcher.embed(["not a number"])
    assert first((await gather(batcher, "2"))[0]) == 2
    await batcher.close()
