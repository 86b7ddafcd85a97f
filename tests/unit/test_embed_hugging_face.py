"""The transformers backend, where torch is installed: the same model gives the same vectors as in ONNX Runtime."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from memoryd.config import EmbedderKind, load_settings
from memoryd.embed.open import load_onnx, open_embedder
from memoryd.embed.protocol import ModelUnavailable
from memoryd.embed.sources import installed_package

HAS_TORCH = all(importlib.util.find_spec(package) for package in ("torch", "transformers"))


@pytest.mark.skipif(HAS_TORCH, reason="torch and transformers are installed")
async def test_without_torch_the_error_names_what_to_install() -> None:
    with pytest.raises(ModelUnavailable) as caught:
        await open_embedder(load_settings(embedder=EmbedderKind.TRANSFORMERS))
    assert "memoryd[transformers]" in (caught.value.hint or "")


@pytest.mark.skipif(not HAS_TORCH, reason="torch and transformers are not installed")
async def test_a_folder_that_holds_no_model_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="cannot load"):
        await open_embedder(load_settings(embedder=EmbedderKind.TRANSFORMERS, model=str(tmp_path)))


@pytest.mark.skipif(not HAS_TORCH or not installed_package(), reason="torch or the model's package is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
async def test_both_backends_agree(model_dir: Path) -> None:
    embedder = await open_embedder(load_settings(embedder=EmbedderKind.TRANSFORMERS, model=str(installed_package())))
    assert embedder is not None
    texts = ["Ada prefers tea to coffee.", "word " * 40, "", "日本語 🙂", "lone \ud800 surrogate"]
    torch_vectors = await embedder.embed(texts)
    onnx_vectors = load_onnx(model_dir, threads=1).vectors(texts)
    assert embedder.dims == 384
    assert np.sum(torch_vectors * onnx_vectors, axis=1).min() > 0.9999
    assert (await embedder.embed([])).shape == (0, 384)
    await embedder.close()
