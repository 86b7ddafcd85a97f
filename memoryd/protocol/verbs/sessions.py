"""The verbs of working memory: working.open, .close, .append, .window, .get, .set, .remove, .list, .context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from memoryd.agent.closing import Closing
from memoryd.agent.context import Contexts
from memoryd.agent.seen import Sightings
from memoryd.agent.sessions import Sessions
from memoryd.hot.changes import Request
from memoryd.limits import (
    APPEND_MESSAGES_MAX,
    MESSAGE_BYTES_MAX,
    MESSAGE_CONTENT_BYTES_MAX,
    METADATA_BYTES_MAX,
    NAME_BYTES_MAX,
    QUERY_BYTES_MAX,
    RECALL_LIMIT_MAX,
    SESSION_MESSAGES_MAX,
    SESSION_TTL_SECONDS_MAX,
    SESSION_TTL_SECONDS_MIN,
    SESSIONS_LIST_MAX,
    STATE_BYTES_MAX,
    STATE_PATH_PARTS_MAX,
    WINDOW_TOKENS_MAX,
)
from memoryd.model.memory import Durability
from memoryd.model.question import ContextRecall
from memoryd.model.scope import Scope
from memoryd.model.session import Appended, Closed, Context, NewMessage, SessionInfo, SessionPage, State, Window
from memoryd.protocol.verbs.verb import Form, Handler

Root = Literal["variables", "tools"]


class SessionArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which session: the scope's own, or one inside it."""

    session: str | None = None
    agent: str | None = None

    def inside(self, scope: Scope) -> Scope:
        """The scope of the session that is meant. Raises BadRequest when it lies outside."""
        return scope.of_agent(self.agent).narrowed(self.session)


class WorkingOpenArgs(SessionArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `working.open`."""

    ttl_seconds: Annotated[int, msgspec.Meta(ge=SESSION_TTL_SECONDS_MIN, le=SESSION_TTL_SECONDS_MAX)] | None = None
    make: bool = True


class WorkingCloseArgs(SessionArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `working.close`."""

    compress: bool = False
    durability: Durability = Durability.HOT


class WorkingAppendArgs(SessionArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `working.append`."""

    messages: list[NewMessage]
    durability: Durability = Durability.HOT


class WorkingWindowArgs(SessionArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `working.window`."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=SESSION_MESSAGES_MAX)] = 50
    budget_tokens: Annotated[int, msgspec.Meta(ge=1, le=WINDOW_TOKENS_MAX)] | None = None


class WorkingGetArgs(SessionArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `working.get`."""

    of: Root = "variables"
    path: str = ""


class WorkingSetArgs(SessionArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `working.set`."""

    of: Root = "variables"
    path: str
    value: Any
    if_value: Any = msgspec.UNSET
    if_state_version: Annotated[int, msgspec.Meta(ge=0)] | None = None
    durability: Durability = Durability.HOT


class WorkingRemoveArgs(SessionArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `working.remove`."""

    of: Root = "variables"
    path: str
    if_state_version: Annotated[int, msgspec.Meta(ge=0)] | None = None
    durability: Durability = Durability.HOT


class WorkingListArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `working.list`."""

    agent: str | None = None
    archived: bool = False
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=SESSIONS_LIST_MAX)] = 50


class WorkingContextArgs(SessionArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `working.context`."""

    query: str
    budget_tokens: Annotated[int, msgspec.Meta(ge=1, le=WINDOW_TOKENS_MAX)] = 2_000
    limit: Annotated[int, msgspec.Meta(ge=1, le=RECALL_LIMIT_MAX)] = 10
    recall: ContextRecall = ContextRecall()


FORMS: Mapping[str, Form] = {
    "working.open": Form(WorkingOpenArgs, SessionInfo, writes=True),
    "working.close": Form(WorkingCloseArgs, Closed, long=True),
    "working.append": Form(WorkingAppendArgs, Appended, writes=True),
    "working.window": Form(WorkingWindowArgs, Window),
    "working.get": Form(WorkingGetArgs, State),
    "working.set": Form(WorkingSetArgs, State, writes=True),
    "working.remove": Form(WorkingRemoveArgs, State, writes=True),
    "working.list": Form(WorkingListArgs, SessionPage),
    "working.context": Form(WorkingContextArgs, Context),
}

_NAME = {"maxLength": NAME_BYTES_MAX}
_WHICH: dict[str, Any] = {
    "session": {**_NAME, "description": "which session, when the scope names none"},
    "agent": {**_NAME, "description": "whose session, when the scope names no agent; null: the project's own"},
}
_DURABILITY = {"durability": {"description": "acknowledge when Redis has it (hot), its disk (fsync), MongoDB (archived)"}}
_STATE: dict[str, Any] = {
    "of": {"description": "the session's variables, or the state of its tool calls"},
    "path": {
        "description": f"1 to {STATE_PATH_PARTS_MAX} steps like plan.steps[0].done, names of A-Z a-z 0-9 _ -; no JSONPath"
    },
}
_IF_STATE = {"if_state_version": {"description": "only if this is still the state's version; null: whatever it is"}}
_BUDGET = {"description": "tokens that it may have, by the tokenizer in `counted_by`"}

_INFO: dict[str, Any] = {
    "session": {"description": "its name"},
    "agent": {"description": "whose it is; empty: the project's"},
    "status": {"description": "closed: nobody is at work in it"},
    "version": {"description": "counts its changes"},
    "created_at": {"description": "when it began"},
    "updated_at": {"description": "when it changed last"},
    "ttl_seconds": {"description": "how long it stays in Redis after its last use"},
    "messages": {"description": "messages that it holds; older ones may have become episodic memories"},
    "bytes": {"description": "of the messages as JSON; of a session listed from the archive, when its state changed last"},
    "source": {
        "enum": ["hot", "archive", "new"],
        "description": "hot: it was in Redis; archive: it was brought back, or is listed from there; new: there was none",
    },
}

SAYS: dict[str, dict[str, Any]] = {
    "WorkingOpenArgs": {
        **_WHICH,
        "ttl_seconds": {"description": "how long it stays in Redis after its last use; null: as it is, 1 h for a new one"},
        "make": {"description": "false: only one that exists, in Redis or in the archive"},
    },
    "WorkingCloseArgs": {
        **_WHICH,
        "compress": {"description": "make memories of what was said in it, and compress these; give it time then"},
        **_DURABILITY,
    },
    "Closed": {
        **_INFO,
        "summaries": {"description": "the ids of the summaries that stand for what was said in it"},
        "archived": {"description": "how many of the memories of what was said have moved to the archive"},
        "not_compressed": {"description": "why something stayed as it was; empty when nothing did"},
    },
    "WorkingAppendArgs": {
        **_WHICH,
        "messages": {
            "minItems": 1,
            "maxItems": APPEND_MESSAGES_MAX,
            "description": f"1 to {APPEND_MESSAGES_MAX}, in order, each at most {MESSAGE_BYTES_MAX} bytes as JSON",
        },
        **_DURABILITY,
    },
    "NewMessage": {
        "role": {"minLength": 1, **_NAME, "description": "user, assistant, system, tool, or a role of your own"},
        "content": {
            "maxLength": MESSAGE_CONTENT_BYTES_MAX,
            "description": f"the text: at most {MESSAGE_CONTENT_BYTES_MAX} bytes of UTF-8, no NUL; empty only with tool_calls",
        },
        "name": {**_NAME, "description": "who said it: a person's name, or a tool's"},
        "tool_call_id": {**_NAME, "description": "which call this is the answer to"},
        "tool_calls": {"description": "the calls that it makes, as your model gives them: JSON objects"},
        "metadata": {"description": f"a JSON object of at most {METADATA_BYTES_MAX} bytes"},
        "at": {"description": "when it was said: RFC 3339 with a zone; null: now"},
    },
    "Message": {
        "number": {"description": "its place in the session's whole life; never given twice"},
        "at": {"description": "when it was said"},
    },
    "WorkingWindowArgs": {
        **_WHICH,
        "limit": {"description": "messages at most"},
        "budget_tokens": {**_BUDGET, "description": "tokens at most; null: no budget"},
    },
    "WorkingGetArgs": {**_WHICH, **_STATE, "path": {"description": "as in `working.set`; empty: all of it"}},
    "WorkingSetArgs": {
        **_WHICH,
        **_STATE,
        "value": {"description": f"any JSON; all variables together may have {STATE_BYTES_MAX} bytes"},
        **_IF_STATE,
        "if_value": {"description": "only if this stands there now, compared as JSON; left out: whatever it is"},
        **_DURABILITY,
    },
    "WorkingRemoveArgs": {**_WHICH, **_STATE, **_IF_STATE, **_DURABILITY},
    "WorkingListArgs": {
        "agent": _WHICH["agent"],
        "archived": {"description": "false: those in Redis, used last first; true: all that the archive holds"},
        "after": {"description": "the last page's `after`"},
        "limit": {"description": "sessions at most"},
    },
    "WorkingContextArgs": {
        **_WHICH,
        "query": {"minLength": 1, "maxLength": QUERY_BYTES_MAX, "description": "what the context is for, as in `recall`"},
        "budget_tokens": _BUDGET,
        "limit": {"description": "recalled memories at most"},
        "recall": {"description": "among which memories, and how: as in `recall`"},
    },
    "SessionInfo": _INFO,
    "SessionPage": {"after": {"description": "ask again with it; empty: this was the last page"}},
    "Appended": {
        "id": {"description": "the session's id"},
        "first": {"description": "the number of the first of the messages; the others follow it"},
        "messages": {"description": "messages that the session holds now"},
        "version": {"description": "the session's version now"},
        "overflowed": {"description": "how many of the oldest have become episodic memories to make room"},
        "durability": {"description": "what it has survived"},
        "replayed": {"description": "whether this is the first answer to a repeated request"},
    },
    "Window": {
        "messages": {"description": "the newest, oldest of them first"},
        "total": {"description": "messages that the session holds"},
        "tokens": {"description": "of these messages"},
        "counted_by": {"description": "the tokenizer; an estimate says that it is one"},
    },
    "State": {
        "value": {"description": "what stands at the path; null after `working.remove`"},
        "state_version": {"description": "counts the changes of variables and tool state"},
        "version": {"description": "the session's"},
    },
    "Context": {
        "recalled": {"description": "memories that fit the query, best first"},
        "recall_id": {"description": "names this recall in `feedback`"},
        "messages": {"description": "the newest messages, oldest of them first"},
        "variables": {"description": "the session's variables"},
        "tokens": {"description": "of each part: recalled, messages, variables"},
        "left_out": {"description": "what did not fit into the budget, of each part"},
        "counted_by": {"description": "the tokenizer; an estimate says that it is one"},
        "degraded": {"description": "why something was not searched; empty when all was"},
    },
}


class SessionVerbs:
    """Carries them out."""

    def __init__(self, sessions: Sessions, contexts: Contexts, sightings: Sightings, closing: Closing) -> None:
        self._sessions = sessions
        self._contexts = contexts
        self._sightings = sightings
        self._closing = closing

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {
            "working.open": self._open, "working.close": self._close, "working.append": self._append,
            "working.window": self._window, "working.get": self._get, "working.set": self._set,
            "working.remove": self._remove, "working.list": self._list, "working.context": self._context,
        }  # fmt: skip

    async def _open(self, scope: Scope, args: WorkingOpenArgs, request: Request) -> Any:
        return await self._sessions.open(
            args.inside(scope), request=request, ttl_seconds=args.ttl_seconds, make=args.make
        )

    async def _close(self, scope: Scope, args: WorkingCloseArgs, request: Request) -> Any:
        return await self._closing.close(
            args.inside(scope), request=request, durability=args.durability, compress=args.compress
        )

    async def _append(self, scope: Scope, args: WorkingAppendArgs, request: Request) -> Any:
        return await self._sessions.append(
            args.inside(scope), args.messages, request=request, durability=args.durability
        )

    async def _window(self, scope: Scope, args: WorkingWindowArgs, request: Request) -> Any:
        return await self._sessions.window(args.inside(scope), limit=args.limit, budget_tokens=args.budget_tokens)

    async def _get(self, scope: Scope, args: WorkingGetArgs, request: Request) -> Any:
        return await self._sessions.get_state(args.inside(scope), args.of, args.path)

    async def _set(self, scope: Scope, args: WorkingSetArgs, request: Request) -> Any:
        return await self._sessions.set_state(
            args.inside(scope), args.of, args.path, args.value, request=request, if_value=args.if_value,
            if_state_version=args.if_state_version, durability=args.durability,
        )  # fmt: skip

    async def _remove(self, scope: Scope, args: WorkingRemoveArgs, request: Request) -> Any:
        return await self._sessions.set_state(
            args.inside(scope), args.of, args.path, msgspec.UNSET, request=request,
            if_state_version=args.if_state_version, durability=args.durability,
        )  # fmt: skip

    async def _list(self, scope: Scope, args: WorkingListArgs, request: Request) -> Any:
        return await self._sessions.page(
            scope.of_agent(args.agent), archived=args.archived, after=args.after, limit=args.limit
        )

    async def _context(self, scope: Scope, args: WorkingContextArgs, request: Request) -> Any:
        scope = scope.of_agent(args.agent)
        context = await self._contexts.of(
            scope, args.session, args.recall.question(args.query, args.limit), budget_tokens=args.budget_tokens, request=request
        )
        await self._sightings.asked(scope, args.query)
        return context
