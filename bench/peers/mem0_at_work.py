"""mem0 with its Redis store and `infer=False`, so that no language model takes part: its own `add` and `search`."""

from __future__ import annotations

import os
import sys
from typing import Any

from bench.peers.at_work import LIMIT, Texts, Verbs, main, vector_of
from bench.peers.vectors import DIMS


def opened(redis_url: str, texts: Texts, configuration: str) -> Verbs:
    """A message for each text, of its user. It has no call for many at once, and its Redis store nothing to configure."""
    home = os.environ["HOME"]
    os.environ |= {"MEM0_TELEMETRY": "False", "MEM0_DIR": home, "OPENAI_API_KEY": "unused"}
    from mem0 import Memory

    memory = Memory.from_config({
        "vector_store": {
            "provider": "redis",
            "config": {"collection_name": "peer_mem0", "embedding_model_dims": DIMS, "redis_url": redis_url},
        },
        "history_db_path": f"{home}/history.db",
    })  # fmt: skip

    class Known:
        """The vectors that all peers have."""

        config = memory.embedding_model.config

        def embed(self, text: str, memory_action: Any = None) -> list[float]:
            vector: list[float] = vector_of(text).tolist()
            return vector

        def embed_batch(self, some: list[str], memory_action: Any = None) -> list[list[float]]:
            return [self.embed(one) for one in some]

    memory.embedding_model = Known()

    def add(number: int) -> None:
        memory.add([{"role": "user", "content": texts[number]}], user_id=texts.user(number), infer=False)

    def search(number: int) -> list[str]:
        of = {"user_id": texts.asker(number)}
        found = memory.search(texts.asked(number), filters=of, top_k=LIMIT, threshold=0.0)
        return [one["memory"] for one in found["results"]]

    verbs: Verbs = {"store": add, "recall": search}
    add(-1)
    try:
        search(-1)
    except Exception as error:  # it fetches stop words from nltk's site for each question
        print(f"mem0's Redis store cannot search here: {type(error).__name__}", file=sys.stderr)
        del verbs["recall"]
    return verbs


if __name__ == "__main__":
    main(opened)
