"""A model with int8 weights: a quarter of the bytes and less time a text, made of the original and held against it.

It is another model, with a name of its own (`NAME@int8`): its vectors are never compared with the original's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from memoryd import limits
from memoryd.embed.manifest import read_manifest
from memoryd.embed.onnx import OnnxModel
from memoryd.embed.protocol import Vectors
from memoryd.embed.sources import NotHere, Request, copy_description, workshop
from memoryd.embed.throw_away import ThrowAway

NEAREST = 10  # as many as a recall gives when it is not told otherwise
# Below these an int8 model does not stand in for its original. all-MiniLM-L6-v2's has 0.990, 0.970 and 90 %; with one scale for a
# whole matrix, which costs answers, 0.954, 0.866 and 79 %.
COSINE_MEAN_MIN, COSINE_MIN, KEPT_MIN = 0.98, 0.93, 0.85


@dataclass(frozen=True)
class Likeness:
    """How like the original a model is, over texts that people have said.

    `kept` is the share of a text's ten nearest texts by the original that are among its ten nearest here (recall@10, as
    nearest-neighbour searches are measured: Aumüller, Bernhardsson and Faithfull, ANN-Benchmarks, 2018).
    """

    cosine_mean: float
    cosine_min: float
    kept: float

    def __str__(self) -> str:
        return f"cosine {self.cosine_mean:.4f}, at least {self.cosine_min:.4f}; {self.kept:.1%} of the ten nearest"

    @property
    def suffices(self) -> bool:
        """Whether it stands in for the original."""
        return self.cosine_mean >= COSINE_MEAN_MIN and self.cosine_min >= COSINE_MIN and self.kept >= KEPT_MIN


def from_original(original: Callable[[], Path]) -> Callable[[Request], str]:
    """The source of an int8 model: the prepared folder of its `original`, which is made ready first."""

    def quantised(request: Request) -> str:
        source = original()
        if any(source.glob("model.onnx?data")):
            raise NotHere("a model beyond 2 GB is not quantised")
        request.say("making the weights int8")
        with workshop(request, ThrowAway.make_quantiser, "made int8") as (_, environment):
            script, target = Path(__file__).with_name("quantise.py"), request.folder / "model.onnx"
            environment.run(script, str(source / "model.onnx"), str(target), seconds_max=limits.MODEL_EXPORT_SECONDS_MAX)
        copy_description(source, request.folder)
        likeness = compare(source, request.folder)
        if not likeness.suffices:
            raise NotHere(f"its int8 weights lose too much ({likeness})")
        return f"int8, made of the original: {likeness}"

    return quantised


def compare(source: Path, made: Path) -> Likeness:
    """Holds the model in `made` against the whole one in `source`, over the conversation that memoryd brings along."""
    texts = real_texts()
    manifest = read_manifest(source)
    assert manifest is not None, "a prepared folder"

    def vectors(folder: Path) -> Vectors:
        model = OnnxModel(folder, max_length=manifest.max_length, pad_id=manifest.pad_id, threads=1)
        return model.vectors(texts)

    return likeness_of(vectors(source), vectors(made))


def likeness_of(ours: Vectors, theirs: Vectors) -> Likeness:
    """How alike two models' vectors of the same texts are; [texts, dims] each, of unit length."""
    cosines = np.sum(ours * theirs, axis=1)
    pairs = zip(_nearest(ours), _nearest(theirs), strict=True)
    kept = [len(set(one) & set(other)) / len(one) for one, other in pairs]
    return Likeness(float(cosines.mean()), float(cosines.min()), float(np.mean(kept)))


def real_texts() -> Sequence[str]:
    """What two people say in the demo's conversation."""
    conversation = json.loads((files("memoryd") / "demo_data" / "conversation.json").read_bytes())["conversation"]
    return [turn["text"] for turns in conversation.values() if isinstance(turns, list) for turn in turns]


def _nearest(vectors: Vectors) -> Sequence[Sequence[int]]:
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -np.inf)
    nearest: list[list[int]] = np.argsort(-likeness, axis=1, kind="stable")[:, :NEAREST].tolist()
    return nearest
