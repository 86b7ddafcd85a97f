"""redisvl used directly, one index: its own `load` and its vector and hybrid queries, with defaults."""

from __future__ import annotations

from typing import Any

from redisvl.index import SearchIndex
from redisvl.query import AggregateHybridQuery, VectorQuery
from redisvl.query.filter import Tag

from bench.peers.at_work import BATCH, DIMS, LIMIT, Texts, Verbs, main, vector_of

PROJECT = "p"


def opened(redis_url: str, texts: Texts) -> Verbs:
    """HNSW, as the daemon has; a row for each text."""
    attributes = {"dims": DIMS, "algorithm": "hnsw", "distance_metric": "cosine", "datatype": "float32"}
    fields: list[dict[str, Any]] = [
        {"name": "project", "type": "tag"}, {"name": "content", "type": "text"},
        {"name": "vector", "type": "vector", "attrs": attributes},
    ]  # fmt: skip
    schema = {"index": {"name": "peer_redisvl", "prefix": "peer_redisvl", "storage_type": "hash"}, "fields": fields}
    index = SearchIndex.from_dict(schema, redis_url=redis_url)
    index.create(overwrite=True, drop=True)

    def row(number: int) -> dict[str, Any]:
        return {"project": PROJECT, "content": texts[number], "vector": vector_of(texts[number]).tobytes()}

    def asks(query: Any) -> Any:
        return index.query(query)

    inside, wanted = Tag("project") == PROJECT, {"return_fields": ["content"], "num_results": LIMIT}

    def recall(number: int) -> Any:
        return asks(VectorQuery(vector_of(texts.asked(number)).tobytes(), "vector", filter_expression=inside, **wanted))

    def hybrid(number: int) -> Any:
        text = texts.asked(number)
        return asks(AggregateHybridQuery(text, "content", vector_of(text).tobytes(), "vector", filter_expression=inside, **wanted))

    return {
        "store": lambda number: index.load([row(number)]),
        "store_many": lambda number: index.load([row(one) for one in range(number * BATCH, (number + 1) * BATCH)]),
        "recall": recall,
        "recall_hybrid": hybrid,
    }


if __name__ == "__main__":
    main(opened)
