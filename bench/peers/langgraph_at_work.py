"""LangGraph's RedisStore: `put` and `search`, with its defaults."""

from __future__ import annotations

from bench.peers.at_work import BATCH, DIMS, LIMIT, Texts, Verbs, main, vector_of


def opened(redis_url: str, texts: Texts) -> Verbs:
    """One namespace; a value for each text."""
    from langgraph.store.base import PutOp
    from langgraph.store.redis import RedisStore

    def embed(some: list[str]) -> list[list[float]]:
        return [vector_of(one).tolist() for one in some]

    index = {"dims": DIMS, "embed": embed, "fields": ["content"], "distance_type": "cosine"}
    store = RedisStore.from_conn_string(redis_url, index=index).__enter__()
    store.setup()

    def put_many(number: int) -> None:
        numbers = range(number * BATCH, (number + 1) * BATCH)
        store.batch([PutOp(("p",), f"many{one}", {"content": texts[one]}) for one in numbers])

    return {
        "store": lambda number: store.put(("p",), str(number), {"content": texts[number]}),
        "store_many": put_many,
        "recall": lambda number: store.search(("p",), query=texts.asked(number), limit=LIMIT),
    }


if __name__ == "__main__":
    main(opened)
