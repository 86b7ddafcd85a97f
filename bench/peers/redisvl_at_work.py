"""redisvl used directly, one index: its own `load` and its vector and hybrid queries."""

from __future__ import annotations

from typing import Any

from redisvl.index import SearchIndex
from redisvl.query import AggregateHybridQuery, VectorQuery
from redisvl.query.filter import Tag

from bench.peers.at_work import BATCH, BEST, LIMIT, Texts, Verbs, main, vector_of
from bench.peers.vectors import DIMS


def opened(redis_url: str, texts: Texts, configuration: str) -> Verbs:
    """A row for each text, the user as its tag. An exact index, as redisvl's own extensions have it; at its best a graph that is
    searched as widely as the daemon's."""
    name, best = f"peer_redisvl_{configuration}", configuration == BEST
    attributes = {"dims": DIMS, "algorithm": "hnsw" if best else "flat", "distance_metric": "cosine", "datatype": "float32"}
    fields: list[dict[str, Any]] = [
        {"name": "user", "type": "tag"}, {"name": "content", "type": "text"},
        {"name": "vector", "type": "vector", "attrs": attributes},
    ]  # fmt: skip
    schema = {"index": {"name": name, "prefix": name, "storage_type": "hash"}, "fields": fields}
    index = SearchIndex.from_dict(schema, redis_url=redis_url)
    index.create(overwrite=True, drop=True)
    wide = {"ef_runtime": texts.ef_runtime} if best else {}

    def row(number: int) -> dict[str, Any]:
        return {"user": texts.user(number), "content": texts[number], "vector": vector_of(texts[number]).tobytes()}

    def store(number: int) -> None:
        index.load([row(number)])

    def store_many(number: int) -> None:
        index.load([row(one) for one in range(number * BATCH, (number + 1) * BATCH)])

    def wanted(number: int) -> dict[str, Any]:
        inside = Tag("user") == texts.asker(number)
        return {"filter_expression": inside, "return_fields": ["content"], "num_results": LIMIT}

    def found(query: Any) -> list[str]:
        return [one["content"] for one in index.query(query)]

    def recall(number: int) -> list[str]:
        return found(VectorQuery(vector_of(texts.asked(number)).tobytes(), "vector", **wide, **wanted(number)))

    def hybrid(number: int) -> list[str]:
        text = texts.asked(number)
        return found(AggregateHybridQuery(text, "content", vector_of(text).tobytes(), "vector", **wanted(number)))

    return {"store": store, "store_many": store_many, "recall": recall, "recall_hybrid": hybrid}


if __name__ == "__main__":
    main(opened)
