"""LangGraph's RedisStore, searched by meaning."""

from __future__ import annotations

from bench.peers.work import Turns, Work, main


def run(work: Work) -> dict[str, Turns]:
    """A namespace for each conversation, a value for each turn."""
    from langgraph.store.redis import RedisStore

    known = work.vectors

    def embed(texts: list[str]) -> list[list[float]]:
        return [known[text] for text in texts]

    found = []
    index = {"dims": work.dims, "embed": embed, "fields": ["content"], "distance_type": "cosine"}
    with RedisStore.from_conn_string(work.redis_url, index=index) as store:
        store.setup()
        for one in work.items:
            store.put((one.project,), one.turn.replace(":", "_"), {"content": one.content, "turn": one.turn})
        for asked in work.questions:
            rows = store.search((asked.project,), query=asked.text, limit=work.limit)
            found.append([row.value["turn"] for row in rows])
    return {"LangGraph's RedisStore": found}


if __name__ == "__main__":
    main(run)
