"""Getting a model: the lightest way first, nothing half-made, never CUDA, and a way out in every error."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from memoryd.config import EmbedderKind, Settings, load_settings
from memoryd.embed import sources
from memoryd.embed.command import CommandFailed, GivenUp, run
from memoryd.embed.manifest import read_manifest
from memoryd.embed.model_name import cache_name, known_name
from memoryd.embed.onnx import OnnxModel
from memoryd.embed.open import open_embedder
from memoryd.embed.prepare import find_prepared, prepare
from memoryd.embed.protocol import ModelFailed, ModelUnavailable
from memoryd.embed.throw_away import ThrowAway, TooHeavy, refuse_heavy
from tests.waiting import eventually


def settings_for(cache: Path, model: Path | str) -> Settings:
    return load_settings(cache_dir=cache, model=str(model), embedder=EmbedderKind.ONNX)


@pytest.fixture
def bare_model(model_dir: Path, tmp_path: Path) -> Path:
    """The model as a user might have it: files in a folder, unknown to memoryd."""
    folder = tmp_path / "mine" / "minilm"
    (folder / "onnx").mkdir(parents=True)
    for name in ("tokenizer.json", "config.json", "sentence_bert_config.json"):
        shutil.copyfile(model_dir / name, folder / name)
    shutil.copyfile(model_dir / "model.onnx", folder / "onnx" / "model.onnx")
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a hub nor a package registry answers."""

    def refuse(*_: Any, **__: Any) -> None:
        raise CommandFailed("no network")

    monkeypatch.setattr(sources, "hub_answers", lambda: False)
    monkeypatch.setattr(ThrowAway, "_make", refuse)


def test_a_prepared_model_is_used_as_it_is(model_dir: Path, tmp_path: Path, no_network: None) -> None:
    said: list[str] = []
    prepared = prepare(settings_for(tmp_path, model_dir), say=said.append)
    assert prepared.path == model_dir
    assert (prepared.model, prepared.dims) == ("sentence-transformers/all-MiniLM-L6-v2", 384)
    assert "ONNX Runtime" in said[-1]
    assert f"{prepared.bytes / 1e6:.0f} MB" in said[-1]
    assert list(tmp_path.iterdir()) == [], "nothing is copied"


async def test_a_folder_with_an_onnx_file_is_prepared_once_and_runs(
    bare_model: Path, tmp_path: Path, no_network: None
) -> None:
    settings = settings_for(tmp_path / "cache", bare_model)
    prepared = prepare(settings, say=lambda _: None)
    manifest = read_manifest(prepared.path)
    assert manifest is not None
    assert (manifest.dims, manifest.max_length, manifest.model) == (384, 256, "mine/minilm")
    assert manifest.sha256 == sources.sha256(bare_model / "onnx" / "model.onnx")
    assert find_prepared(settings) == prepared
    assert not list(prepared.path.parent.glob("making-*"))
    embedder = await open_embedder(settings)
    assert embedder is not None
    assert (await embedder.embed(["one"])).shape == (1, 384)
    await embedder.close()


def test_a_damaged_copy_is_made_again(bare_model: Path, tmp_path: Path, no_network: None) -> None:
    settings = settings_for(tmp_path / "cache", bare_model)
    path = prepare(settings, say=lambda _: None).path
    (path / "model.onnx").write_bytes(b"half of it")
    assert find_prepared(settings) is None
    assert prepare(settings, say=lambda _: None).path == path
    assert find_prepared(settings) is not None


def test_a_folder_that_changes_is_not_served_from_a_stale_copy(bare_model: Path) -> None:
    before = cache_name(str(bare_model))
    (bare_model / "onnx" / "model.onnx").write_bytes(b"another model")
    assert cache_name(str(bare_model)) != before


def test_two_preparations_at_once_make_one_model(bare_model: Path, tmp_path: Path, no_network: None) -> None:
    settings = settings_for(tmp_path / "cache", bare_model)
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.append(prepare(settings, say=lambda _: None).origin)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 3
    assert len([path for path in (tmp_path / "cache" / "models").iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize("model", ["sentence-transformers/all-MiniLM-L6-v2", "nobody/nothing", "../../etc", ""])
def test_when_nothing_can_be_had_the_error_says_what_was_tried_and_what_to_do(
    tmp_path: Path, no_network: None, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ModelUnavailable) as caught:
        prepare(settings_for(tmp_path / "cache", model), say=lambda _: None)
    for way in ("MEMORYD_MODEL", "MEMORYD_EMBEDDER=http", "MEMORYD_EMBEDDER=none", "pytorch.org"):
        assert way in (caught.value.hint or "")
    assert "hub:" in caught.value.message
    assert not list((tmp_path / "cache" / "models").glob("making-*"))


def test_files_that_are_no_model_are_refused(bare_model: Path, tmp_path: Path, no_network: None) -> None:
    (bare_model / "onnx" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        prepare(settings_for(tmp_path / "cache", bare_model), say=lambda _: None)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelUnavailable, match="MEMORYD_CACHE_DIR"):
        prepare(settings_for(tmp_path / "file", "nobody/nothing"), say=lambda _: None)


def test_a_model_is_called_the_same_wherever_it_lies(tmp_path: Path, model_dir: Path) -> None:
    snapshot = tmp_path / "models--BAAI--bge-small-en" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    assert known_name(str(snapshot)) == "BAAI/bge-small-en"
    assert known_name(str(model_dir)) == "sentence-transformers/all-MiniLM-L6-v2"
    assert known_name("org/name") == "org/name"


@pytest.mark.parametrize("model", ["a/b", "../../etc/passwd", "...", "", "Ärger/ü", "a b\0c"])
def test_a_models_cache_folder_stays_in_the_cache(model: str) -> None:
    assert "/" not in cache_name(model)
    assert cache_name(model) not in {"", ".", ".."}


def report(*packages: tuple[str, str]) -> dict[str, Any]:
    return {"install": [{"metadata": {"name": name}, "download_info": {"url": url}} for name, url in packages]}


@pytest.mark.parametrize(
    "name", ["nvidia-cublas-cu12", "nvidia_cudnn", "cuda-bindings", "cuda-toolkit", "triton", "pytorch-triton"]
)
def test_a_cuda_build_is_refused_before_it_is_fetched(name: str) -> None:
    with pytest.raises(TooHeavy, match="CUDA"):
        refuse_heavy(report(("torch", "t"), (name, "n")), lambda _: 1)


def test_a_torch_too_large_or_of_unknown_size_is_refused() -> None:
    cpu = report(("torch", "torch"), ("sympy", "sympy"))
    refuse_heavy(cpu, lambda _: 191_000_000)
    refuse_heavy(cpu, lambda url: 191_000_000 if url == "torch" else None)
    with pytest.raises(TooHeavy, match="888 MB"):
        refuse_heavy(cpu, lambda url: 888_000_000 if url == "torch" else 1)
    with pytest.raises(TooHeavy, match="size"):
        refuse_heavy(cpu, lambda _: None)


def test_a_command_that_fails_is_quoted_by_its_last_words() -> None:
    with pytest.raises(CommandFailed, match="ERROR: no such package"):
        run(
            [sys.executable, "-c", "print('ERROR: no such package\\nnotice'); exit(1)"],
            seconds_max=30,
            stop=threading.Event(),
        )


def test_a_command_ends_when_its_time_is_over_or_nobody_waits() -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    started = time.monotonic()
    with pytest.raises(CommandFailed, match="too long"):
        run(sleep, seconds_max=0.3, stop=threading.Event())
    stop = threading.Event()
    stop.set()
    with pytest.raises(GivenUp):
        run(sleep, seconds_max=600, stop=stop)
    assert time.monotonic() - started < 120


async def test_a_cancelled_opening_ends_its_preparation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, ended = threading.Event(), threading.Event()

    def endless(request: sources.Request) -> str:
        began.set()
        request.stop.wait(600)
        ended.set()
        raise GivenUp

    monkeypatch.setattr("memoryd.embed.prepare.SOURCES", (("endless", endless),))
    opening = asyncio.create_task(open_embedder(settings_for(tmp_path, "some/model")))
    await eventually(began.is_set, what="it is being prepared")
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert await asyncio.to_thread(ended.wait, 60)


async def test_no_embedder_is_a_choice(tmp_path: Path) -> None:
    assert await open_embedder(load_settings(embedder=EmbedderKind.NONE)) is None


def test_an_exported_model_that_differs_from_torch_is_refused(model_dir: Path, tmp_path: Path) -> None:
    reference = tmp_path / "reference.json"
    vector = OnnxModel(model_dir, max_length=256, pad_id=0, threads=1).vectors(["one"])[0].tolist()
    reference.write_text(json.dumps({"texts": ["one"], "vectors": [vector]}))
    sources.check_same(model_dir, reference)
    reference.write_text(json.dumps({"texts": ["two"], "vectors": [vector]}))
    with pytest.raises(sources.NotHere, match="differs"):
        sources.check_same(model_dir, reference)


def test_model_failed_carries_whether_to_try_again() -> None:
    assert ModelFailed("away", retryable=True).details == {"retryable": True}
