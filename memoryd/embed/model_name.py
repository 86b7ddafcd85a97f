"""What a model is called: beside its vectors, and in the cache folder."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

INT8 = "@int8"


def original_of(model: str) -> str | None:
    """What `model` is made of when its name asks for int8 weights: `NAME@int8`; None for every other model."""
    return model.removesuffix(INT8) if model.endswith(INT8) else None


def local_folder(model: str) -> Path | None:
    """The folder that `model` names, or None when it is a hub id."""
    path = Path(model).expanduser()
    return path.resolve() if path.is_dir() else None


def known_name(model: str) -> str:
    """`model` itself for a hub id; for a folder the name it was prepared or downloaded under, else its last two parts.

    Two machines that keep the same model in different places must call its vectors the same. The base model that
    config.json names is no answer: every model that was tuned from it names the same one.
    """
    if original := original_of(model):
        return known_name(original) + INT8
    folder = local_folder(model)
    if folder is None:
        return model
    hub = re.search(r"/models--([^/]+)/snapshots/[^/]+$", folder.as_posix())
    downloaded = hub[1].replace("--", "/", 1) if hub else None
    return _field(folder / "memoryd.json", "model") or downloaded or f"{folder.parent.name}/{folder.name}"


def cache_name(model: str) -> str:
    """A folder name for the prepared `model`. A folder that changes gets another name, so no stale copy is used."""
    if original := original_of(model):
        return cache_name(original) + "--int8"
    folder = local_folder(model)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "--", model if folder is None else folder.name).strip(".-") or "model"
    if folder is None:
        return safe
    state = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.glob("**/*.onnx"))]
    return f"{safe}-{hashlib.sha256(repr((str(folder), state)).encode()).hexdigest()[:12]}"


def _field(path: Path, field: str) -> str | None:
    try:
        value = json.loads(path.read_bytes())[field]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, str) else None
