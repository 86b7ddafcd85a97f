"""The real model in ONNX Runtime: what its vectors mean, and that they cost the event loop nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from memoryd import limits
from memoryd.config import load_settings
from memoryd.embed.late import Tokeniser, Tokens, name_in_context, turns_after
from memoryd.embed.models import source_of, with_source
from memoryd.embed.onnx import OnnxModel
from memoryd.embed.open import load_onnx
from memoryd.embed.protocol import InContext, ModelFailed
from memoryd.embed.runs import done, reading, runs
from memoryd.embed.thread import ThreadEmbedder
from memoryd.embed.vectors import mean_pool, unit
from tests.waiting import settles

WORDS = [
    "the",
    "deployment",
    "of",
    "a",
    "service",
    "that",
    "remembers",
    "what",
    "agents",
    "were",
    "told",
    "last",
    "week",
]
TEXTS = [" ".join(WORDS[at % 7 :] * (1 + at % 20)) + f" {at}" for at in range(64)]


@pytest.fixture
async def embedder(model_dir: Path) -> AsyncIterator[ThreadEmbedder]:
    embedder = await ThreadEmbedder.load("minilm", lambda: load_onnx(model_dir, threads=1))
    yield embedder
    await embedder.close()


async def test_sentences_that_mean_the_same_are_closer_than_those_that_do_not(embedder: ThreadEmbedder) -> None:
    tea, likes_tea, drink, server, crash = await embedder.embed(
        [
            "Ada prefers tea to coffee.",
            "Ada likes tea better than coffee.",
            "What does Ada drink?",
            "The server ran out of disk space at night.",
            "A machine stopped because its storage was full.",
        ]
    )
    assert tea @ likes_tea > 0.9
    assert tea @ drink > 0.5 > tea @ server + 0.3
    assert server @ crash > 0.4 > server @ tea + 0.2


async def test_every_vector_is_finite_and_of_unit_length(embedder: ThreadEmbedder) -> None:
    made = await embedder.embed(TEXTS)
    assert made.shape == (64, 384)
    assert str(made.dtype) == "float32"
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    assert (await embedder.embed([])).shape == (0, 384)


async def test_a_text_has_the_same_vector_alone_and_in_a_batch(embedder: ThreadEmbedder) -> None:
    together = await embedder.embed(TEXTS)
    alone = np.concatenate([await embedder.embed([text]) for text in TEXTS])
    assert np.abs(together - alone).max() < 1e-4


async def test_odd_texts_have_vectors_too(embedder: ThreadEmbedder) -> None:
    odd = [
        "",
        "   \n",
        "\0",
        "lone \ud800 surrogate",
        "🙂",
        "x" * 60_000,
        "word " * 12_000,
        "* | } @ - ' \"",
        "\u202eשלום",
    ]
    made = await embedder.embed(odd)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)


async def test_what_is_beyond_the_models_window_is_in_the_vector(embedder: ThreadEmbedder) -> None:
    """Also when it is read after something, and together with short texts."""
    about_tea, about_servers = "The servers were full. " * 80 + "Ada drinks tea. " * 40, "The servers were full. " * 120
    question, _, tea, servers = await embedder.embed(["Who drinks tea?", "one", about_tea, about_servers])
    assert tea @ question > servers @ question + 0.1
    [alone] = await embedder.embed([about_tea])
    assert alone @ tea > 0.99999
    in_context = await embedder.embed_in_context([InContext("Ben:", about_tea), InContext("Ben:", about_servers)])
    assert in_context[0] @ question > in_context[1] @ question + 0.1


def test_a_long_text_has_the_mean_of_all_its_tokens() -> None:
    """Each token counts once, in a short last window too."""
    ids = list(range(1000, 1700))

    def encode(text: str, marks: bool) -> list[int]:
        own = ids if text == "long" else [5]
        return [101, *own, 102] if marks else own

    def run(windows: Sequence[Tokens]) -> NDArray[np.float32]:
        return np.array([[np.mean(one.ids[one.start : one.end]), 1000] for one in windows], dtype=np.float32)

    tokeniser = Tokeniser(encode, 256)
    long, short, in_context = (tokeniser.windows(text) for text in ("long", "short", InContext("before", "long")))
    assert [one.ids[1:-1] for one in long] == [ids[:254], ids[254:508], ids[508:]]
    marked = [*ids, *[101, 102] * len(long)]
    expected = unit(np.array([[np.mean(marked), 1000], [(101 + 5 + 102) / 3, 1000], [np.mean(ids), 1000]]))
    assert np.allclose(done(reading([long, short, in_context], run)), expected, atol=1e-6)


def test_as_much_is_read_around_a_text_as_fits() -> None:
    """What stands nearest; of what comes after it half of the room at most, where there is something before it."""

    def encode(text: str, marks: bool) -> list[int]:
        return [101, *map(ord, text), 102] if marks else list(map(ord, text))

    before, after = "abcdefghijklmnopqrst", "ABCDEFGHIJKLMNOPQRST"
    for text, expected in {
        InContext(before, "1234", after): "nopqrst1234ABCDEFG", InContext(before, "1234"): "ghijklmnopqrst1234",
        InContext("", "1234", after): "1234ABCDEFGHIJKLMN", InContext(before, "1234", "AB"): "ijklmnopqrst1234AB",
        InContext("ab", "1234", after): "ab1234ABCDEFG", InContext(before, "1" * 18, after): "1" * 18,
    }.items():  # fmt: skip
        [one] = Tokeniser(encode, 20).windows(text)
        assert (one.ids[0], "".join(map(chr, one.ids[1:-1])), one.ids[-1]) == (101, expected, 102)
        assert "".join(map(chr, one.ids[one.start : one.end])) == text.own


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_name_of_a_model_says_how_many_later_turns_it_reads(count: int) -> None:
    assert turns_after(name_in_context("org/name@int8", count)) == count
    assert turns_after("org/name+context+") == turns_after("org/name+1") == turns_after("") == 0


def test_how_a_model_is_opened_elsewhere_says_how_many_later_turns_it_reads() -> None:
    """An earlier memoryd has not written it, and has read none."""
    settings = load_settings(embed_turns_after=1)
    assert with_source(load_settings(), source_of(settings)).embed_turns_after == 1
    assert with_source(settings, '{"embedder":"onnx","model":"m","embed_url":""}').embed_turns_after == 0


def test_no_text_is_read_without_end() -> None:
    tokeniser = Tokeniser(lambda text, marks: [101, *[7] * len(text), 102] if marks else [7] * len(text), 256)
    for text in ("x" * 60_000, InContext("y" * 1000, "x" * 60_000)):
        assert sum(len(one.ids) - 2 for one in tokeniser.windows(text)) == limits.EMBED_TEXT_TOKENS_MAX


async def test_a_question_does_not_wait_for_all_of_many_long_texts(embedder: ThreadEmbedder) -> None:
    done: list[str] = []

    async def embedded(name: str, texts: list[str]) -> None:
        await embedder.embed(texts)
        done.append(name)

    long = asyncio.create_task(embedded("long", ["word " * 2000] * 8))
    await asyncio.sleep(0)
    await embedded("question", ["Who drinks tea?"])
    assert done == ["question"]
    await long


async def test_the_event_loop_goes_on_while_a_large_batch_runs(embedder: ThreadEmbedder) -> None:
    """Judged by how long the batch took, and once more: a busy machine gives everybody pauses."""

    async def goes_on() -> None:
        began = time.monotonic()
        running = asyncio.create_task(embedder.embed(TEXTS * 2))
        worst, turns = 0.0, 0
        while not running.done():
            before = time.monotonic()
            await asyncio.sleep(0.001)
            worst = max(worst, time.monotonic() - before)
            turns += 1
        assert turns > 50, "the batch was too small to prove anything"
        assert worst < (time.monotonic() - began) / 2, f"the event loop stood still for {worst * 1000:.0f} ms"

    await settles(goes_on)


async def test_a_text_in_context_has_the_vector_of_its_own_words_there(embedder: ThreadEmbedder) -> None:
    """Not the plain one, not the one of both together; and what stands before it is what makes the difference."""
    own, race, cake = "It was great!", "I ran the charity race on Sunday.", "I baked a chocolate cake."
    questions = await embedder.embed(["Who ran a race?", "Who baked a cake?"])
    plain, both = await embedder.embed([own, f"{race} {own}"])
    after_race, after_cake = await embedder.embed_in_context([InContext(race, own), InContext(cake, own)])

    assert after_race @ questions[0] > max(plain @ questions[0], after_cake @ questions[0])
    assert after_cake @ questions[1] > max(plain @ questions[1], after_race @ questions[1])
    assert after_race @ both < 0.999


async def test_a_text_in_context_is_the_same_alone_and_in_a_batch(embedder: ThreadEmbedder) -> None:
    texts = [InContext(before, own) for before, own in pairwise(TEXTS)]
    together = await embedder.embed_in_context(texts)
    assert np.abs(together - np.concatenate([await embedder.embed_in_context([text]) for text in texts])).max() < 1e-4


async def test_what_a_long_text_follows_takes_no_room_from_it(embedder: ThreadEmbedder) -> None:
    """Its own words come first; of its context the nearest part is read, as far as there is room."""
    long = "word " * 400
    own, cut = await embedder.embed_in_context([InContext("", long), InContext("tea " * 100, long)])
    assert own @ cut > 0.99999
    said = "It was great!"
    near, far = await embedder.embed_in_context([InContext("tea " * 400 + "race", said), InContext("race", said)])
    assert np.isfinite(near).all()
    assert near @ far < 0.99999


async def test_a_text_of_which_nothing_is_left_is_read_as_it_is(embedder: ThreadEmbedder) -> None:
    [plain] = await embedder.embed([" "])
    [in_context] = await embedder.embed_in_context([InContext("Ada:", " ")])
    assert plain @ in_context > 0.99999


async def test_a_closed_embedder_says_so(model_dir: Path) -> None:
    embedder = await ThreadEmbedder.load("minilm", lambda: load_onnx(model_dir, threads=1))
    await embedder.close()
    with pytest.raises(ModelFailed, match="closed"):
        await embedder.embed(["one"])


def test_a_text_without_tokens_is_refused_instead_of_invented(model_dir: Path) -> None:
    from tokenizers import Tokenizer, models

    model = OnnxModel(model_dir, max_length=256, pad_id=0, threads=1)
    tokenizer = Tokenizer(models.WordLevel({"known": 7}, unk_token="known"))
    assert model.vectors([]).shape == (0, 384)
    model._tokeniser = Tokeniser(lambda text, marks: tokenizer.encode(text, add_special_tokens=marks).ids, 256)
    assert model.vectors(["known"]).shape == (1, 384)
    with pytest.raises(ModelFailed, match="no tokens") as refused:
        model.vectors(["known", ""])
    assert not refused.value.retryable


def test_runs_hold_every_text_once_and_are_bounded() -> None:
    lengths = [1 + at * 7 % 512 for at in range(300)]
    split = list(runs(lengths))
    assert sorted(position for run in split for position in run) == list(range(300))
    assert max(map(len, split)) <= limits.EMBED_RUN_TEXTS_MAX
    assert max(len(run) * max(lengths[at] for at in run) for run in split) <= limits.EMBED_RUN_TOKENS_MAX


def test_pooling_leaves_padding_out() -> None:
    hidden = np.array([[[2, 0], [4, 2], [99, 99]]], dtype=np.float32)
    assert mean_pool(hidden, np.array([[1, 1, 0]])).tolist() == [[3, 1]]


@pytest.mark.parametrize("bad", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_a_vector_without_direction_is_refused(bad: list[float]) -> None:
    with pytest.raises(ModelFailed):
        unit(np.array([[1.0, 0.0], bad]))
