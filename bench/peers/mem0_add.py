"""mem0 with `infer=False`, so that no language model takes part: its default store (Qdrant, in this process), its own search."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from bench.peers.work import Turns, Work, main


def run(work: Work) -> dict[str, Turns]:
    """Each turn added as a message of the conversation's user; searched without a threshold."""
    os.environ |= {"MEM0_TELEMETRY": "False", "MEM0_DIR": tempfile.mkdtemp(), "OPENAI_API_KEY": "unused"}
    from mem0 import Memory

    place = {"path": f"{os.environ['MEM0_DIR']}/qdrant", "collection_name": "turns", "embedding_model_dims": work.dims}
    memory = Memory.from_config({
        "vector_store": {"provider": "qdrant", "config": place},
        "history_db_path": f"{os.environ['MEM0_DIR']}/history.db",
    })  # fmt: skip
    known = {text.strip(): vector for text, vector in work.vectors.items()}  # mem0 trims what it is asked

    class Known:
        """The same vectors that all peers have."""

        config = memory.embedding_model.config

        def embed(self, text: str, memory_action: Any = None) -> list[float]:
            return known[text.strip()]

        def embed_batch(self, texts: list[str], memory_action: Any = None) -> list[list[float]]:
            return [known[text.strip()] for text in texts]

    memory.embedding_model = Known()
    for one in work.items:
        message = [{"role": "user", "content": one.content}]
        memory.add(message, user_id=one.project, metadata={"turn": one.turn}, infer=False)
    found = []
    for asked in work.questions:
        answer = memory.search(asked.text, filters={"user_id": asked.project}, top_k=work.limit, threshold=0.0)
        found.append([row["metadata"]["turn"] for row in answer["results"]])
    return {"mem0, infer=False": found}


if __name__ == "__main__":
    main(run)
