"""The protocol's messages. Their JSON Schemas are in `memoryd_schemas/protocol` and a test keeps both equal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from memoryd.errors import BY_CODE, BadRequest, MemorydError, TooLarge
from memoryd.limits import ENVELOPE_BYTES_MAX, REPLY_BYTES_MAX, REQUEST_ID_BYTES_MAX
from memoryd.model.scope import Scope

T = TypeVar("T")

VERSION = 1
CLIENT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One request. The same JSON goes into the stream's field `envelope` or, published, to the channel."""

    v: int
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=REQUEST_ID_BYTES_MAX)]
    op: str
    scope: Scope
    args: msgspec.Raw = msgspec.Raw(b"{}")
    reply_to: str = ""
    traceparent: str = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A typed error on the wire."""

    code: str
    message: str
    hint: str | None = None
    details: dict[str, Any] = {}


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to the request of the same id: a result, or an error."""

    v: int
    id: str
    ok: bool
    result: Any = None
    error: Problem | None = None


def read_envelope(raw: bytes) -> Envelope:
    """The request in `raw`. Raises TooLarge or BadRequest, which name the field and never quote a value."""
    if len(raw) > ENVELOPE_BYTES_MAX:
        raise TooLarge(f"envelope: has {len(raw)} bytes, the limit is {ENVELOPE_BYTES_MAX}")
    envelope = parse(raw, Envelope, "envelope")
    if envelope.v != VERSION:
        raise BadRequest(f"v: is protocol version {envelope.v}, this daemon speaks {VERSION}", field="v")
    if envelope.reply_to and not CLIENT_NAME.fullmatch(envelope.reply_to):
        raise BadRequest("reply_to: expected 1 to 128 of A-Z a-z 0-9 _ . -", field="reply_to")
    return envelope


def parse(raw: bytes | msgspec.Raw, kind: type[T], what: str) -> T:
    """`raw` JSON as a `kind`. Raises BadRequest that says where and what was expected."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{what}: {_without_values(str(error))}", field=what) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(f"{what}: is not valid JSON in UTF-8", field=what) from None
    except RecursionError:
        raise BadRequest(f"{what}: is nested too deeply", field=what) from None


def _without_values(message: str) -> str:
    """msgspec quotes an invalid enum's value (which is the caller's text); its place and expectation stay."""
    return re.sub(r"^Invalid enum value .*? - at", "is not one of the allowed values - at", message, flags=re.DOTALL)


def encode_reply(request_id: str, result: Any) -> bytes:
    """A successful answer as JSON; an error instead when it would be too large to publish."""
    raw = msgspec.json.encode(Reply(v=VERSION, id=request_id, ok=True, result=result))
    if len(raw) > REPLY_BYTES_MAX:
        too_large = TooLarge("the answer is too large to send", hint="ask for fewer memories at a time")
        return encode_error(request_id, too_large)
    return raw


def encode_error(request_id: str, error: MemorydError) -> bytes:
    """A failed answer as JSON."""
    return msgspec.json.encode(Reply(v=VERSION, id=request_id, ok=False, error=to_problem(error)))


def to_problem(error: MemorydError) -> Problem:
    """An error as it goes over the wire."""
    return Problem(code=error.code, message=error.message, hint=error.hint, details=error.details)


def to_error(problem: Problem | Mapping[str, Any]) -> MemorydError:
    """The error behind a problem, of the class of its code (MemorydError for a code this client does not know)."""
    if not isinstance(problem, Problem):
        problem = msgspec.convert(problem, Problem)
    return BY_CODE.get(problem.code, MemorydError)(problem.message, hint=problem.hint, **problem.details)


def shown(kind: type[msgspec.Struct], field: str, *given: Any) -> Any:
    """`kind` with the field that the daemon reads later (a Raw) as what it holds."""
    about = {"__doc__": kind.__doc__}
    return msgspec.defstruct(
        kind.__name__, [(field, *given)], bases=(kind,), namespace=about, frozen=True, kw_only=True,
        forbid_unknown_fields=kind.__struct_config__.forbid_unknown_fields,
    )  # fmt: skip
