"""A question as a caller asks it of `recall`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from memoryd.errors import BadRequest
from memoryd.limits import QUERY_BYTES_MAX, RECALL_LIMIT_MAX
from memoryd.model.memory import MemoryType, check_tags
from memoryd.model.scope import check_unicode


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to find, and among what. What is left out narrows nothing."""

    query: str
    limit: Annotated[int, msgspec.Meta(ge=1, le=RECALL_LIMIT_MAX)] = 10
    types: list[MemoryType] = []
    session: str | None = None
    tags: list[str] = []
    profile: str = ""
    rerank: bool = False

    def check(self) -> Question:
        """This, if it asks something and every value is within its limits. Raises BadRequest that names the field."""
        check_unicode("query", self.query)
        if not self.query.strip():
            raise BadRequest("query: is empty, expected text", field="query")
        if len(self.query.encode()) > QUERY_BYTES_MAX:
            raise BadRequest(f"query: is longer than {QUERY_BYTES_MAX} bytes", field="query")
        if not 1 <= self.limit <= RECALL_LIMIT_MAX:
            raise BadRequest(f"limit: is {self.limit}, expected 1 to {RECALL_LIMIT_MAX}", field="limit")
        check_tags(self.tags)
        return self
