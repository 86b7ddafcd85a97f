"""LangGraph's RedisStore: `put`, `batch` and `search`."""

from __future__ import annotations

from typing import Any

from bench.peers.at_work import BATCH, BEST, LIMIT, Texts, Verbs, main, vector_of
from bench.peers.vectors import DIMS


def opened(redis_url: str, texts: Texts, configuration: str) -> Verbs:
    """A value for each text, the user as its namespace. An exact index over JSON is its default; at its best it has its vectors in
    hashes, and a graph that is searched as widely as the daemon's."""
    from langgraph.store.base import PutOp
    from langgraph.store.redis import RedisStore

    def embed(some: list[str]) -> list[list[float]]:
        return [vector_of(one).tolist() for one in some]

    index: dict[str, Any] = {"dims": DIMS, "embed": embed, "fields": ["content"], "distance_type": "cosine"}
    if configuration == BEST:
        graph = {"algorithm": "hnsw", "ef_runtime": texts.ef_runtime}
        index |= {"vector_storage_type": "hash", "ann_index_config": graph}
    prefixes = {"store_prefix": f"store_{configuration}", "vector_prefix": f"vectors_{configuration}"}
    store = RedisStore.from_conn_string(redis_url, index=index, **prefixes).__enter__()
    store.setup()

    def put(number: int) -> None:
        store.put((texts.user(number),), str(number), {"content": texts[number]})

    def put_many(number: int) -> None:
        numbers = range(number * BATCH, (number + 1) * BATCH)
        store.batch([PutOp((texts.user(one),), f"many{one}", {"content": texts[one]}) for one in numbers])

    def search(number: int) -> list[str]:
        found = store.search((texts.asker(number),), query=texts.asked(number), limit=LIMIT)
        return [one.value["content"] for one in found]

    return {"store": put, "store_many": put_many, "recall": search}


if __name__ == "__main__":
    main(opened)
