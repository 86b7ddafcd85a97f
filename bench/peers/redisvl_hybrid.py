"""redisvl: its vector query, and its hybrid query of words and vector, over one index."""

from __future__ import annotations

from typing import Any

import numpy as np
from redisvl.index import SearchIndex
from redisvl.query import AggregateHybridQuery, VectorQuery
from redisvl.query.filter import Tag

from bench.peers.work import Turns, Work, main

FIELDS: list[dict[str, Any]] = [
    {"name": "turn", "type": "tag"},
    {"name": "project", "type": "tag"},
    {"name": "content", "type": "text"},
]


def run(work: Work) -> dict[str, Turns]:
    """Both queries with redisvl's own defaults (alpha .7, English stop words), filtered by the conversation."""
    vector = {"dims": work.dims, "algorithm": "flat", "distance_metric": "cosine", "datatype": "float32"}
    fields = [*FIELDS, {"name": "vector", "type": "vector", "attrs": vector}]
    schema = {"index": {"name": "peer", "prefix": "peer", "storage_type": "hash"}, "fields": fields}
    index = SearchIndex.from_dict(schema, redis_url=work.redis_url)
    index.create(overwrite=True, drop=True)
    rows = [
        {"turn": one.turn, "project": one.project, "content": one.content, "vector": _bytes(one.vector)} for one in work.items
    ]
    index.load(rows)
    answers: dict[str, Turns] = {"redisvl, vector": [], "redisvl, hybrid": []}
    for asked in work.questions:
        inside, wanted = Tag("project") == asked.project, {"return_fields": ["turn"], "num_results": work.limit}
        query = VectorQuery(_bytes(asked.vector), "vector", filter_expression=inside, **wanted)
        answers["redisvl, vector"].append([row["turn"] for row in index.query(query)])
        hybrid = AggregateHybridQuery(asked.text, "content", _bytes(asked.vector), "vector", filter_expression=inside, **wanted)
        answers["redisvl, hybrid"].append([row["turn"] for row in index.query(hybrid)])
    return answers


def _bytes(vector: Any) -> bytes:
    return bytes(np.asarray(vector, dtype=np.float32).tobytes())


if __name__ == "__main__":
    main(run)
