"""What can go wrong, one class for each thing that a caller would do differently.

Every error crosses the wire as `code`, `message`, `hint` and `details`, and is raised again in the client as the
same class. Messages name fields, ids and limits; they never quote a memory's text.
"""

from __future__ import annotations

from typing import Any, ClassVar


class MemorydError(Exception):
    """memoryd could not do what was asked."""

    code: ClassVar[str] = "internal"
    hint: str | None = None

    def __init__(self, message: str | None = None, *, hint: str | None = None, **details: Any) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.details = details
        if hint is not None:
            self.hint = hint

    @property
    def message(self) -> str:
        """The sentence for people, without the hint."""
        return str(self.args[0])


class BadRequest(MemorydError):
    """The request is not of the protocol's form, or a value in it is outside its limits."""

    code = "bad_request"


class CursorExpired(BadRequest):
    """The order that this cursor goes on in is not kept any more."""

    code = "cursor_expired"
    hint = "ask the question anew, with an empty cursor"


class UnknownOperation(BadRequest):
    """There is no such operation."""

    code = "unknown_operation"


class TooLarge(BadRequest):
    """The request or its answer is larger than the protocol allows."""

    code = "too_large"


class NotFound(MemorydError):
    """The scope holds no such memory."""

    code = "not_found"


class Conflict(MemorydError):
    """The memory has another version than the one that the update was based on; nothing was changed."""

    code = "conflict"
    hint = "get the memory again, decide on its current content, and update with its current version"

    @property
    def current_version(self) -> int:
        """The version that the memory has now."""
        return int(self.details["current_version"])


class Forgotten(MemorydError):
    """What it was to be made of has been forgotten; nothing was stored."""

    code = "forgotten"
    hint = "make it again without the memories in details.ids, which are forgotten"


class RequestIdReused(BadRequest):
    """The request id was used before for another request; nothing was changed."""

    code = "request_id_reused"
    hint = "give each new request an id of its own, and repeat an id only to repeat the same request"


class ChainBroken(MemorydError):
    """The chain of an agent's snapshots does not hold: a link was changed or is missing; nothing was restored or added."""

    code = "chain_broken"
    hint = "details.number says where and details.what how; restore with verify=False takes a snapshot as it is"


class DurabilityNotReached(MemorydError):
    """The write is stored, but the durability that was asked for was not confirmed in time."""

    code = "durability_not_reached"
    hint = "the memory is kept at the level in details.reached; ask again with the same request id to wait longer"


class NotSearchable(MemorydError):
    """The write is stored and is found by its words, but its vector was not there in time to be found by its meaning."""

    code = "not_searchable"
    hint = "the memory is kept as details.reached says, and gets its vector; ask again with the same request id to wait longer"


class EventsLost(MemorydError):
    """Events behind this place are gone: they were trimmed, they have expired, or Redis has lost them."""

    code = "events_lost"
    hint = "go on from details.place, and read anew what you need to know: it may have changed before that"

    @property
    def place(self) -> str:
        """The place of now, to go on from."""
        return str(self.details["place"])


class Overloaded(MemorydError):
    """memoryd is at a limit and took nothing; what was acknowledged before is safe."""

    code = "overloaded"
    hint = "try again after details.retry_after_seconds"


class QuotaExceeded(MemorydError):
    """There is no room for it in the agent's space; nothing was changed."""

    code = "quota_exceeded"
    hint = "delete what is no longer needed, or keep it as a memory"


class HotUnavailable(MemorydError):
    """Redis does not answer."""

    code = "hot_unavailable"
    hint = "see that Redis runs at MEMORYD_REDIS_URL; `memoryd up` starts one"


class HotUnprepared(HotUnavailable):
    """Redis answers, but was emptied: the daemon prepares it again, and sync brings the memories back."""

    code = "hot_unprepared"
    hint = "try again in a moment"


class ArchiveUnavailable(MemorydError):
    """MongoDB does not answer, and this request cannot be answered without it."""

    code = "archive_unavailable"
    hint = "see that MongoDB runs at MEMORYD_MONGO_URL; stores and recalls of hot memories go on meanwhile"


class EmbedderFailed(MemorydError):
    """The embedding model gave no vectors."""

    code = "embedder_failed"


class SummarizerFailed(MemorydError):
    """The summariser gave no summary; nothing was changed."""

    code = "summarizer_failed"


class NoAnswer(MemorydError):
    """No daemon answered before the deadline; the request may still be carried out."""

    code = "no_answer"
    hint = "see that a daemon runs (`memoryd serve`); a repeat with the same request id has the effect at most once"


class ToolFailed(MemorydError):
    """The tool has failed on this input a short while ago, and was not run again."""

    code = "tool_failed"
    hint = "details.error says how; it is tried again when the failure is no longer kept"


class LeaseHeld(MemorydError):
    """Another one has the lease of this task; nothing was changed."""

    code = "lease_held"
    hint = "work on something else, or ask again after details.retry_after_seconds; it may be renewed until then"


class LeaseLost(MemorydError):
    """The lease has ended, and may be another one's by now."""

    code = "lease_lost"
    hint = "stop working on the task; take its lease again, look at what was done meanwhile, and go on under the new token"


class SchemaMismatch(MemorydError):
    """The stores hold data of another shape than this memoryd is configured for."""

    code = "schema_mismatch"


class ConfigError(MemorydError):
    """The configuration cannot be used."""

    code = "config"


class ServersUnavailable(MemorydError):
    """The servers could not be found or started."""

    code = "servers_unavailable"


BY_CODE: dict[str, type[MemorydError]] = {
    cls.code: cls
    for cls in (
        MemorydError, BadRequest, CursorExpired, UnknownOperation, TooLarge, NotFound, Conflict, Forgotten, RequestIdReused,
        DurabilityNotReached, NotSearchable, EventsLost, Overloaded, QuotaExceeded, HotUnavailable, HotUnprepared,
        ArchiveUnavailable, EmbedderFailed, SummarizerFailed, NoAnswer, SchemaMismatch, ConfigError, ServersUnavailable,
        ToolFailed, LeaseHeld, LeaseLost, ChainBroken,
    )
}  # fmt: skip
