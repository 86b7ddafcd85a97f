"""Ids of memories, and the text normalisation that dedup rests on."""

from __future__ import annotations

import hashlib
import re
import unicodedata

import msgspec

from memoryd.errors import BadRequest
from memoryd.model.scope import Scope

ID_PATTERN = re.compile(r"mem_[0-9a-f]{32}")
RECEIPT_PATTERN = re.compile(r"rcp_[0-9a-f]{32}")
_INNER_SPACE = re.compile(r"(?<=\S)[ \t]+")


def check_id(field: str, memory_id: str) -> str:
    """`memory_id`, if it has the form of a memory's id. Raises BadRequest."""
    if not ID_PATTERN.fullmatch(memory_id):
        raise BadRequest(f"{field}: is not a memory's id, expected mem_ and 32 lower-case hex digits", field=field)
    return memory_id


def normalised(content: str) -> str:
    """`content` as dedup compares it: composed Unicode, one kind of line end, no doubled or outer spaces.

    Case, punctuation and indentation stay: `A=1` and `a=1` are two memories, and so are two ways to indent a program.
    """
    text = unicodedata.normalize("NFC", content).replace("\r\n", "\n").strip()
    lines = (_INNER_SPACE.sub(" ", line.rstrip()) for line in text.split("\n"))
    return "\n".join(lines)


def hash_content(content: str) -> str:
    """SHA-256 of the normalised content, in hex."""
    return hashlib.sha256(normalised(content).encode()).hexdigest()


def content_id(scope: Scope, memory_type: str, content_hash: str, salt: int = 0) -> str:
    """The id that the same content of the same type in the same scope always gets.

    `salt` counts up when the id is taken by a memory whose content was updated to something else since.
    """
    parts = (scope.tenant, scope.project, scope.agent, scope.session, memory_type, content_hash, salt)
    return "mem_" + hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def home(scope: Scope) -> str:
    """Two hex digits that an agent's name chooses: where everything of it lies that has to change together."""
    return hashlib.sha256(msgspec.json.encode((scope.tenant, scope.project, scope.agent))).hexdigest()[:2]


def episode_id(scope: Scope, request_id: str, content_hash: str) -> str:
    """The id of an event in its agent's log, beside which it lies: as `event_id`, in the agent's own bucket."""
    parts = ("episode", scope.tenant, scope.project, scope.agent, scope.session, request_id, content_hash)
    return f"mem_{home(scope)}{hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:30]}"


def event_id(scope: Scope, request_id: str, content_hash: str) -> str:
    """The id of a memory that does not dedup: another for each request, the same for the repeat of one.

    A session's events share a bucket, and so one atomic step sees those before. Without a session the request alone
    chooses it. Either way a request's id is found there when it comes again with something else.
    """
    place = (scope.agent, scope.session) if scope.session else (request_id,)
    bucket = hashlib.sha256(msgspec.json.encode((scope.tenant, scope.project, *place))).hexdigest()[:2]
    parts = ("event", scope.tenant, scope.project, scope.agent, scope.session, request_id, content_hash)
    return f"mem_{bucket}{hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:30]}"


def fact_id(key: str, request_id: str, content_hash: str) -> str:
    """The id of a fact of a subject, in the bucket of its key: another for each request, the same for the repeat of one."""
    return f"mem_{key[:2]}{hashlib.sha256(msgspec.json.encode(('fact', key, request_id, content_hash))).hexdigest()[:30]}"


def check_receipt_id(field: str, receipt_id: str) -> str:
    """`receipt_id`, if it has the form of a receipt's id. Raises BadRequest."""
    if not RECEIPT_PATTERN.fullmatch(receipt_id):
        raise BadRequest(f"{field}: is not a receipt's id, expected rcp_ and 32 lower-case hex digits", field=field)
    return receipt_id


def receipt_id(scope: Scope, request_id: str, fingerprint: str) -> str:
    """The id of the receipt of one request: the same for a repeat, whichever daemon carries it out."""
    parts = (scope.tenant, scope.project, scope.agent, scope.session, request_id, fingerprint)
    return "rcp_" + hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]
