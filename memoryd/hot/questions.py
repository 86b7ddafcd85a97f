"""Questions whose answers are kept: found by the vector of a question like it, inside one agent's answers of one tool.

Why not redisvl's own SemanticCache: it names an entry by its text alone, whoever asks; it opens a second, blocking connection;
a hit makes an entry live longer; nothing bounds it; and a store has one index of one model. The index is redisvl's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from memoryd import keys as names
from memoryd.hot.clauses import Clause
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded, to_hot_vector
from memoryd.hot.search import QueryVector
from memoryd.model.scope import Scope, to_tag

INDEX = names.index("question")
NEAR_MAX = 4  # questions that are looked at: the nearest may have gone a moment ago, or have failed
NO_AGENT = "*"  # no tag of a name is this


@dataclass(frozen=True)
class Asked:
    """A question in words: of whom, of which tool, and its vector. `session` is empty unless its answer is that session's alone."""

    scope: Scope
    session: str
    tool: str
    vector: QueryVector

    @property
    def place(self) -> str:
        """Among which questions it has its place."""
        parts = (self.scope.tenant, self.scope.project, self.scope.agent, self.session, self.tool)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


class KeptQuestions:
    """Those of one Redis. `datatype` is how its indexes keep vectors."""

    def __init__(self, redis: Redis, datatype: str) -> None:
        self._redis = redis
        self._datatype = datatype

    def fields(self, asked: Asked) -> dict[str, Encoded]:
        """What its hash holds: where it belongs and its vector, no text."""
        scope, vector = asked.scope, asked.vector
        return {
            "tenant": to_tag(scope.tenant), "project": to_tag(scope.project), "agent_id": to_tag(scope.agent) or NO_AGENT,
            "place": asked.place, "embedding_model": vector.model,
            "embedding": to_hot_vector(vector.vector, self._datatype),
        }  # fmt: skip

    async def near(self, asked: Asked, distance: float) -> list[tuple[str, float]]:
        """The entries that answer questions at most so far away, the nearest first, each with its distance."""
        clause = Clause()
        clause.tag("tenant", [asked.scope.tenant])
        clause.tag("project", [asked.scope.project])
        clause.exact("agent_id", [to_tag(asked.scope.agent) or NO_AGENT])
        clause.exact("place", [asked.place])
        clause.exact("embedding_model", [asked.vector.model])
        clause.params |= {"k": NEAR_MAX, "vector": to_hot_vector(asked.vector.vector, self._datatype)}
        query = f"({clause})=>[KNN $k @embedding $vector HYBRID_POLICY ADHOC_BF AS distance]"
        command = ["FT.SEARCH", INDEX, query, *clause.arguments(), "RETURN", 1, "distance", "SORTBY", "distance",
                   "LIMIT", 0, NEAR_MAX, "DIALECT", 2]  # fmt: skip
        with hot_errors("look for a question"):
            try:
                answer: Any = await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
            except ResponseError as error:
                if "does not match index's expected size" in str(error):  # the model is being changed: nothing is like it yet
                    return []
                raise
        found = [(one[b"id"], one.get(b"extra_attributes", {}).get(b"distance")) for one in answer[b"results"]]
        near = [(key.rpartition(b":")[2].decode(), max(0.0, float(far))) for key, far in found if far is not None]
        return [(entry, far) for entry, far in near if far <= distance]
