"""The Redis index definitions: `redis/<kind>.yaml`, completed with the configured vector settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import yaml
from redisvl.schema import IndexSchema

KINDS = ("semantic", "episodic", "working", "agent_state", "question")
WITH_VECTORS = ("semantic", "episodic")
"""Those whose vectors are filled anew beside the old ones when the model is changed."""
PASSING = ("question",)
"""Those whose vectors pass by themselves: with another model the index is made anew."""
SLOTS = ("", "2")
"""What follows the names of the fields that hold a memory's vector and its model: while a model is changed, a record has
both. Its index calls those of its slot by their plain names."""
BLOCK_BYTES_MAX = 256 * 1024
"""Of one block of a field that has blocks of its own size: below what memoryd's servers allow (VSS_MAX_RESIZE)."""
NUMBER_BYTES = {"float32": 4, "float16": 2}
OTHER_MODEL = "other_model"  # what an index calls the model of the vector in the slot that is not its own


def alias_of(kind: str) -> str:
    """By what name a kind's index is searched."""
    return f"aether:index:{kind}"


def other_slot(slot: str) -> str:
    """The slot beside this one."""
    return SLOTS[1 - SLOTS.index(slot)]


@dataclass(frozen=True)
class VectorSettings:
    """How vectors are kept: `algorithm` is hnsw or flat, `datatype` float32 or float16; flat ignores the last three."""

    dims: int
    algorithm: str
    datatype: str
    m: int
    ef_construction: int
    ef_runtime: int


def redis_indexes(vector: VectorSettings) -> dict[str, IndexSchema]:
    """Each kind's index as a redisvl schema."""
    return {kind: IndexSchema.from_dict(definition(kind, vector)) for kind in KINDS}


def definition(kind: str, vector: VectorSettings | None) -> dict[str, Any]:
    """One kind's index in redisvl's format; without `vector` it has no vector field."""
    index: dict[str, Any] = yaml.safe_load((files(__package__) / "redis" / f"{kind}.yaml").read_text("utf-8"))
    index["fields"] = [_with_vector(f, vector) for f in index["fields"] if vector or f["type"] != "vector"]
    return index


def _with_vector(field: dict[str, Any], vector: VectorSettings | None) -> dict[str, Any]:
    if vector is None or field["type"] != "vector":
        return field
    own = replace(vector, **{name: field["attrs"][name] for name in ("algorithm", "datatype") if name in field["attrs"]})
    attrs = {**field["attrs"], **_vector_attributes(own)}
    if "block_size" in attrs:
        attrs["block_size"] = min(attrs["block_size"], max(1, BLOCK_BYTES_MAX // (own.dims * NUMBER_BYTES[own.datatype])))
    return {**field, "attrs": attrs}


def _vector_attributes(vector: VectorSettings) -> dict[str, Any]:
    form = {"dims": vector.dims, "algorithm": vector.algorithm, "datatype": vector.datatype}
    if vector.algorithm == "flat":  # an exact search has no graph to tune
        return form
    graph = {"m": vector.m, "ef_construction": vector.ef_construction, "ef_runtime": vector.ef_runtime}
    return {**form, **graph}
