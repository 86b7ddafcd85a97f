"""The configured embedder, opened."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from pathlib import Path

from memoryd.config import EmbedderKind, Settings
from memoryd.embed.command import Say
from memoryd.embed.http import HttpEmbedder
from memoryd.embed.hugging_face import open_transformers
from memoryd.embed.late import name_in_context
from memoryd.embed.manifest import read_manifest
from memoryd.embed.onnx import OnnxModel
from memoryd.embed.prepare import PreparedModel, prepare
from memoryd.embed.protocol import Embedder, ModelUnavailable
from memoryd.embed.thread import ThreadEmbedder
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.embed")


def _log(sentence: str) -> None:
    log.info("embed.prepare", detail=sentence)


async def open_embedder(settings: Settings, *, say: Say = _log) -> Embedder | None:
    """The model that `settings` name, ready to run; None for embedder=none. Raises ModelUnavailable, ModelFailed.

    A model that is not prepared is prepared now, which can take a minute and a download; `say` is told of it, from
    another thread.
    """
    match settings.embedder:
        case EmbedderKind.NONE:
            return None
        case EmbedderKind.HTTP:
            return await HttpEmbedder.open(settings)
        case EmbedderKind.TRANSFORMERS:
            return await open_transformers(settings)
        case EmbedderKind.ONNX:
            return await _open_onnx(settings, say)
        case EmbedderKind.AUTO:
            return await _open_lightest(settings, say)


async def _open_lightest(settings: Settings, say: Say) -> Embedder:
    """ONNX Runtime; where the model has no ONNX file and none can be made, torch if it is here already."""
    try:
        return await _open_onnx(settings, say)
    except ModelUnavailable as unavailable:
        if not all(importlib.util.find_spec(package) for package in ("torch", "transformers")):
            raise
        try:
            embedder = await open_transformers(settings)
        except ModelUnavailable:
            raise unavailable from None
        say(f"embedding with transformers and torch: {embedder.model}, {embedder.dims} dimensions")
        return embedder


async def _open_onnx(settings: Settings, say: Say) -> ThreadEmbedder:
    if importlib.util.find_spec("onnxruntime") is None or importlib.util.find_spec("tokenizers") is None:
        raise ModelUnavailable(
            "embedder=onnx needs onnxruntime and tokenizers",
            hint="pip install 'memoryd[daemon]', or MEMORYD_EMBEDDER=none",
        )
    prepared = await _prepare_in_thread(settings, say)
    name = name_in_context(prepared.model, settings.embed_turns_after)
    return await ThreadEmbedder.load(name, lambda: load_onnx(prepared.path, threads=settings.embed_threads))


async def _prepare_in_thread(settings: Settings, say: Say) -> PreparedModel:
    """`prepare` off the event loop. A cancelled caller ends it too: pip must not outlive a daemon that was stopped."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(prepare, settings, say=say, stop=stop)
    except asyncio.CancelledError:
        stop.set()
        raise


def load_onnx(folder: Path, *, threads: int) -> OnnxModel:
    """The prepared model in `folder`. Blocks while it loads."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise ModelUnavailable("the prepared model's folder is not whole", hint="run `memoryd model prepare`")
    return OnnxModel(folder, max_length=manifest.max_length, pad_id=manifest.pad_id, threads=threads)
