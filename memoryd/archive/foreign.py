"""What people write to the archive: told apart by the seal, and given the version that it should have had."""

from __future__ import annotations

from datetime import datetime

from memoryd.archive.codec import Document, completed, to_record, with_terms
from memoryd.model.ids import check_id
from memoryd.model.memory import Memory, check_content, check_metadata
from memoryd.model.record import seal


def adopted(document: Document, now: datetime) -> Document:
    """Someone else's document, completed, with the next version and a seal.

    Raises BadRequest, KeyError, ValueError or TypeError when no caller could have stored it.
    """
    whole = completed(document, now)
    whole["version"] = int(whole["version"]) + 1
    whole["seal"] = seal(_checked(to_record(whole).memory))
    return with_terms(whole)


def is_edited(document: Document) -> bool:
    """Whether somebody else has changed a document that memoryd wrote. Raises like `adopted`."""
    return bool(document["seal"] != seal(to_record(document).memory))


def _checked(memory: Memory) -> Memory:
    check_id("_id", memory.id)
    memory.scope.check()
    check_content(memory.content)
    check_metadata(memory.metadata)
    return memory
