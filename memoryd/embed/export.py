"""Exports a BERT-like model from torch to ONNX. A script of its own, run once by a Python that has torch.

    python -I export.py SOURCE_FOLDER TARGET_FOLDER

Writes `model.onnx`, and `reference.json`: a few sentences with the vectors that torch gives them, so that whoever runs
the ONNX file can prove that it is the same model. Imports nothing of memoryd: the environment that it runs in has none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SENTENCES = [
    "Ada prefers tea to coffee.",
    "The deployment failed because the certificate had expired the night before, and nobody was told.",
    "Zürich, 25 °C: 日本語, emoji 🙂 and {punctuation}!",
    "word " * 200,
]
OPSET = 18  # what torch's exporter writes without converting; ONNX Runtime reads it since 1.14


def main(source: Path, target: Path) -> None:
    """Export, and leave the proof beside it."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModel.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()
    batch = dict(tokenizer(SENTENCES[:2], padding=True, return_tensors="pt"))
    export(torch, model, batch, target / "model.onnx")
    reference = {"texts": SENTENCES, "vectors": [vector(torch, model, tokenizer, text) for text in SENTENCES]}
    (target / "reference.json").write_text(json.dumps(reference))


def export(torch: Any, model: Any, batch: dict[str, Any], path: Path) -> None:
    """The graph from token ids to token vectors; pooling stays with the caller, as in the ONNX files of the hub."""

    texts, tokens = torch.export.Dim("texts"), torch.export.Dim("tokens")
    program = torch.onnx.export(
        model,
        kwargs=batch,
        dynamo=True,
        dynamic_shapes={name: {0: texts, 1: tokens} for name in batch},
        output_names=["last_hidden_state"],
        opset_version=OPSET,
        verbose=False,
    )
    program.save(str(path), external_data=False)


def vector(torch: Any, model: Any, tokenizer: Any, text: str) -> list[float]:
    """The mean of the token vectors, of unit length."""
    batch = tokenizer([text], truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        mean = model(**batch).last_hidden_state[0].mean(dim=0)
    numbers: list[float] = (mean / mean.norm()).tolist()
    return numbers


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
