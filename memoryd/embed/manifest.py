"""memoryd.json: what a prepared model's folder says of itself. A folder without it is not a prepared model."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

FILE = "memoryd.json"
TOKENS_MAX = 512  # the positions of a BERT-like model


class Manifest(msgspec.Struct, frozen=True):
    """A prepared model."""

    model: str
    dims: int
    max_length: int
    pad_id: int
    origin: str
    sha256: str  # of model.onnx
    onnx_bytes: int


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of `folder`, or None when the folder is not a whole prepared model."""
    try:
        manifest = msgspec.json.decode((folder / FILE).read_bytes(), type=Manifest)
        whole = (folder / "model.onnx").stat().st_size == manifest.onnx_bytes and (folder / "tokenizer.json").is_file()
    except (OSError, msgspec.MsgspecError):
        return None
    return manifest if whole else None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, readable by people too."""
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def tokens_max(folder: Path) -> int:
    """How many tokens the model reads: what its authors trained it for, else what its positions allow."""
    asked = _number(folder / "sentence_bert_config.json", "max_seq_length")
    able = _number(folder / "config.json", "max_position_embeddings")
    return min(asked or TOKENS_MAX, able or TOKENS_MAX, TOKENS_MAX)


def pad_id(folder: Path) -> int:
    """The token that fills a run."""
    return _number(folder / "config.json", "pad_token_id") or 0


def _number(path: Path, field: str) -> int | None:
    try:
        value = json.loads(path.read_bytes()).get(field)
    except (OSError, ValueError, AttributeError):
        return None
    return value if isinstance(value, int) and value > 0 else None
