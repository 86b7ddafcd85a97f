"""A model with int8 weights: made of its original, as good on real text, and never taken for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memoryd.config import EmbedderKind, Settings, load_settings
from memoryd.embed import int8
from memoryd.embed.command import CommandFailed
from memoryd.embed.int8 import Likeness, likeness_of, real_texts
from memoryd.embed.late import IN_CONTEXT
from memoryd.embed.open import open_embedder
from memoryd.embed.prepare import find_prepared, prepare
from memoryd.embed.protocol import ModelUnavailable, Vectors
from memoryd.embed.throw_away import ThrowAway


def settings_for(cache: Path, model: Path | str, embedder: EmbedderKind = EmbedderKind.ONNX) -> Settings:
    return load_settings(cache_dir=cache, model=f"{model}@int8", embedder=embedder)


def some_vectors(*, noise: float = 0.0) -> Vectors:
    chance = np.random.default_rng(1)
    vectors = chance.normal(size=(200, 64)) + noise * np.random.default_rng(2).normal(size=(200, 64))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


async def test_an_int8_model_is_made_of_its_original_and_is_another_model(model_dir: Path, tmp_path: Path) -> None:
    """A quarter of the bytes, held against the original on real text; its name keeps the two's vectors apart."""
    settings, said = settings_for(tmp_path, model_dir), list[str]()
    prepared = prepare(settings, say=said.append)

    assert prepared.model == "sentence-transformers/all-MiniLM-L6-v2@int8"
    assert prepared.bytes < bytes_of(model_dir) / 3
    assert "of the ten nearest" in prepared.origin
    assert prepared.origin in said[-1]
    assert find_prepared(settings) == prepared
    embedder = await open_embedder(settings)
    assert embedder is not None
    assert embedder.model == prepared.model + IN_CONTEXT
    assert (await embedder.embed(["one"])).shape == (1, 384)
    await embedder.close()


def test_one_that_loses_too_much_is_refused_with_what_it_loses(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left behind, and the way out is the original."""

    def copied(self: ThrowAway, script: Path, source: str, target: str, **_: Any) -> None:
        Path(target).write_bytes(Path(source).read_bytes())

    monkeypatch.setattr(ThrowAway, "make_quantiser", lambda self: None)
    monkeypatch.setattr(ThrowAway, "run", copied)
    monkeypatch.setattr(int8, "compare", lambda source, made: Likeness(0.954, 0.866, 0.786))
    with pytest.raises(ModelUnavailable, match=r"lose too much \(cosine 0.9540, at least 0.8660; 78.6%") as caught:
        prepare(settings_for(tmp_path, model_dir), say=lambda _: None)
    assert "without @int8" in (caught.value.hint or "")
    assert not [path for path in (tmp_path / "models").iterdir() if path.is_dir()]


def test_without_a_package_registry_the_error_says_so(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: ThrowAway) -> None:
        raise CommandFailed("no network")

    monkeypatch.setattr(ThrowAway, "make_quantiser", refuse)
    with pytest.raises(ModelUnavailable, match="int8: the weights could not be made int8: no network"):
        prepare(settings_for(tmp_path, model_dir), say=lambda _: None)


async def test_int8_weights_are_not_for_torch(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="do not run in torch") as caught:
        await open_embedder(settings_for(tmp_path, model_dir, EmbedderKind.TRANSFORMERS))
    assert "MEMORYD_EMBEDDER=onnx" in (caught.value.hint or "")


def test_likeness_falls_with_every_error() -> None:
    same, near, far = (likeness_of(some_vectors(), some_vectors(noise=noise)) for noise in (0.0, 0.05, 1.0))
    assert same.cosine_min == pytest.approx(1.0)
    assert same.kept == 1.0
    assert same.suffices
    assert same.kept > near.kept > far.kept
    assert not far.suffices


def test_each_bound_refuses_alone() -> None:
    assert Likeness(0.99, 0.97, 0.9).suffices
    for lacking in (Likeness(0.97, 0.97, 0.9), Likeness(0.99, 0.92, 0.9), Likeness(0.99, 0.97, 0.84)):
        assert not lacking.suffices


def test_the_texts_are_what_people_said() -> None:
    texts = real_texts()
    assert len(texts) > 200
    assert all(texts)
