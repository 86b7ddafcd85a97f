"""A document: state of an agent that is no memory (a session, a checkpoint, a fact …), with the promises of one.

What grows with a document, like a session's messages, are its **parts**: written once, numbered, never changed, and
gone with their owner.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from memoryd.model.scope import Scope

# What memoryd keeps beside a document's body, at the same level; a body has other names.
BOOKKEEPING = ("id", "tenant", "project", "agent_id", "session_id", "version", "entries")


@dataclass(frozen=True)
class Place:
    """Where a document belongs: its MongoDB collection, its id, and whose it is."""

    collection: str
    id: str
    scope: Scope


@dataclass(frozen=True)
class Document:
    """One document at one version."""

    place: Place
    version: int
    body: dict[str, Any]


def place_id(prefix: str, *names: str) -> str:
    """The id of the one document that these names mean: three letters for its kind, and hex digits of a digest.

    The digest's first two digits choose the bucket, as with a memory's id; the parts of a document share it.
    """
    return f"{prefix}_{hashlib.sha256(msgspec.json.encode(names)).hexdigest()[:32]}"


def part_id(owner: str, number: int) -> str:
    """The id of an owner's part."""
    return f"{owner}:{number}"
