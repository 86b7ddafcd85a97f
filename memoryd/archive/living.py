"""The documents of `memories` that are memories and not forgotten: how queries ask for them, and what they say."""

from __future__ import annotations

from collections.abc import Sequence

from memoryd.archive.codec import Document, completed, to_record
from memoryd.clock import EPOCH
from memoryd.model.memory import Memory
from memoryd.model.scope import Scope

LIVING: Document = {"tombstone": {"$ne": True}, "seal": {"$exists": True}}


def living_in(scope: Scope) -> Document:
    """Matches the scope's memories that are not forgotten. One that a person has just inserted is none before sync took it."""
    query: Document = {"tenant": scope.tenant, "project": scope.project, **LIVING}
    if scope.agent:
        query["agent_id"] = scope.agent
    if scope.session:
        query["session_id"] = scope.session
    return query


def naming(field: str, memory_ids: Sequence[str]) -> Document:
    # The second condition is that of the partial indexes.
    return {field: {"$in": list(memory_ids)}, f"{field}.0": {"$exists": True}}


def whole(document: Document) -> Memory:
    """The memory of a living document, of which text may be left out; what a person has unset is as for a new one."""
    try:
        return to_record({"content": "", "metadata": {}, **document}).memory
    except KeyError:
        return to_record(completed({"content": "", "metadata": {}, "version": 1, **document}, EPOCH)).memory
