"""The Python client: the protocol behind awaitable verbs.

async with memoryd.connect("redis://127.0.0.1:6379", tenant="acme", project="support", agent="scout") as memory:
    kept = await memory.store("Ada prefers tea to coffee.", type="fact")
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from memoryd.errors import BadRequest, MemorydError
from memoryd.limits import EXPAND_PAGE_MAX
from memoryd.model.day import DaySummary
from memoryd.model.duplicates import DuplicatePage
from memoryd.model.events import Event, Place
from memoryd.model.feedback import Judged
from memoryd.model.introspection import Introspection, Knowledge
from memoryd.model.memory import Durability, Memory, check_metadata
from memoryd.model.receipt import (
    ForgetPlan,
    ForgottenMany,
    FullReceipt,
    ReceiptPage,
    Receipts,
    ReceiptSummary,
    Rewritten,
    Verification,
)
from memoryd.model.results import Counted, Recalled, Receipt, Stats, Stored
from memoryd.model.scope import Scope
from memoryd.model.seen import Seen
from memoryd.model.session import SessionPage
from memoryd.model.summary import Compressed, Expanded, Summary
from memoryd.protocol import listener, messages
from memoryd.protocol.agents import AgentClient
from memoryd.protocol.channels import ChannelClient
from memoryd.protocol.connection import ANSWER_SECONDS, LONG, USUAL, Connection
from memoryd.protocol.episodes import EpisodeClient
from memoryd.protocol.facts import FactClient
from memoryd.protocol.leases import LeaseClient
from memoryd.protocol.scratch import ScratchClient
from memoryd.protocol.session import Session
from memoryd.protocol.sessions import WorkingMemory
from memoryd.protocol.tools import ToolClient


def connect(
    url: str = "redis://127.0.0.1:6379",
    *,
    tenant: str = "default",
    project: str = "default",
    agent: str = "",
    session: str = "",
    timeout_seconds: float = ANSWER_SECONDS,
) -> MemoryClient:
    """A client of the daemons behind the Redis at `url`, for one scope; use it with `async with`.

    An empty agent sees (and stores for) the whole project. Raises BadRequest when a name cannot be used.
    """
    try:
        scope = msgspec.convert({"tenant": tenant, "project": project, "agent": agent, "session": session}, Scope)
    except msgspec.ValidationError as error:
        raise BadRequest(f"scope: {error}", field="scope") from None
    return MemoryClient(Connection(url, scope.check(), timeout_seconds=timeout_seconds))


class MemoryClient:
    """The verbs of memoryd for one scope. Every verb raises a MemorydError: what the daemon said, or NoAnswer.

    What is more than a memory, or none, has a family of its own: `facts`, `agent`, `episodes`, `scratch`, `tools`,
    `leases`, `channels`.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.facts = FactClient(connection)
        self.agent = AgentClient(connection)
        self.episodes = EpisodeClient(connection)
        self.scratch = ScratchClient(connection)
        self.leases = LeaseClient(connection)
        self.channels = ChannelClient(connection)
        self.tools = ToolClient(connection)

    @property
    def scope(self) -> Scope:
        """Whose memories it sees, and for whom it stores."""
        return self._connection.scope

    @property
    def name(self) -> str:
        """Where its answers go."""
        return self._connection.name

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._connection.__aexit__(kind, error, traceback)

    # --- the verbs ------------------------------------------------------------------------------------------------

    async def store(
        self,
        content: str,
        *,
        durability: str = Durability.HOT,
        wait: str | None = None,
        request_id: str | None = None,
        **details: Any,
    ) -> Stored:
        """Remembers `content`; found by its words at once, with wait="searchable" also by its meaning.

        Details: type, session, importance, metadata, tags, source_tool, related, derived_from, valid_from, valid_until,
        dedup (see `NewMemory`).
        """
        args = {"content": content, "durability": durability, "wait": wait, **details}
        return await self._connection.call("store", _checked(args), Stored, request_id)

    async def store_many(
        self,
        memories: Sequence[Mapping[str, Any]],
        *,
        durability: str = Durability.HOT,
        wait: str | None = None,
        request_id: str | None = None,
    ) -> list[Stored | MemorydError]:
        """Remembers several in one request; a result or an error for each, in order."""
        args = {"memories": [_checked(one) for one in memories], "durability": durability, "wait": wait}
        answers = await self._connection.call("store_many", args, list[dict[str, Any]], request_id)
        return [
            msgspec.convert(one["stored"], Stored) if "stored" in one else messages.to_error(one["error"])
            for one in answers
        ]

    async def get(self, memory_id: str) -> Memory:
        """The memory as it is now, wherever it lives."""
        return await self._connection.call("get", {"id": memory_id}, Memory)

    async def recall(
        self,
        query: str,
        *,
        limit: int = 10,
        profile: str = "",
        rerank: bool = False,
        deep: bool = False,
        min_score: float | None = None,
        min_likeness: float = 0.0,
        diversity: float = 0.0,
        per_session: int | None = None,
        cursor: str | None = None,
        deadline_ms: int | None = None,
        **among: Any,
    ) -> Recalled:
        """The memories that fit `query` best; iterate over it for its hits.

        Among: types, agent, session, tags, tiers, metadata, valid_since, valid_before, recorded_since, recorded_before
        (see `Narrowing`). `deep` also looks through the tier archive, by meaning. `recall_pages` gives more than one answer holds.
        """
        if min_score is not None and min_score != min_score:  # noqa: PLR0124  # JSON would write NaN as null
            raise BadRequest("min_score: is not a number", field="min_score")
        args = {
            "query": query, "limit": limit, "profile": profile, "min_score": min_score, "min_likeness": min_likeness,
            "diversity": diversity, "per_session": per_session, "cursor": cursor, "deadline_ms": deadline_ms,
            "rerank": rerank, "deep": deep, **among,
        }  # fmt: skip
        return await self._connection.call("recall", args, Recalled)

    async def seen(self, content: str, *, exact: bool = False) -> Seen:
        """Whether this scope has ever held a memory with this content; the answer is true or false.

        By a filter: a no is sure, a yes is wrong once in a thousand, and what was forgotten is seen still. `exact` looks
        for memories that say it now, and names some.
        """
        return await self._connection.call("seen", {"content": content, "exact": exact}, Seen)

    async def seen_query(self, query: str, *, exact: bool = False) -> Seen:
        """Whether this scope was ever asked this question (by `recall` or for a context), as `seen` for content.

        `exact` looks into the list of the project's latest 10,000 questions, and says when it was asked last.
        """
        return await self._connection.call("seen_query", {"query": query, "exact": exact}, Seen)

    async def feedback(
        self,
        recall_id: str,
        *,
        useful: Sequence[str] = (),
        useless: Sequence[str] = (),
        undo: Sequence[str] = (),
        request_id: str | None = None,
    ) -> Judged:
        """Says which memories of a recall (its `recall_id`) were of use; they come earlier or later the next time.

        The opposite replaces what was said before, `undo` takes it back.
        """
        args = {"recall_id": recall_id, "useful": list(useful), "useless": list(useless), "undo": list(undo)}
        return await self._connection.call("feedback", args, Judged, request_id)

    async def recall_pages(self, query: str, *, limit: int = 50, **how: Any) -> AsyncGenerator[Recalled, None]:
        """Page after page of what fits, in the order of the first one, whatever is written meanwhile.

        What is forgotten meanwhile is on no later page. Raises CursorExpired when a page is asked for too late.
        """
        cursor = ""
        while True:
            page = await self.recall(query, limit=limit, cursor=cursor, **how)
            yield page
            if not (cursor := page.next):
                return

    async def count(self, query: str = "", **among: Any) -> Counted:
        """How many memories there are among which `recall` with the same filters would look; of how many a word is in
        `query`."""
        return await self._connection.call("count", {"query": query, **among}, Counted)

    async def update(
        self,
        memory_id: str,
        *,
        if_version: int | None = None,
        durability: str = Durability.HOT,
        wait: str | None = None,
        request_id: str | None = None,
        **changes: Any,
    ) -> Stored:
        """Changes the given fields. With `if_version`, only if that is still the memory's version."""
        args = {"id": memory_id, "changes": _checked(changes), "if_version": if_version}
        args |= {"durability": durability, "wait": wait}
        return await self._connection.call("update", args, Stored, request_id)

    async def share(
        self, memory_id: str, with_agent: str, *, durability: str = Durability.HOT, request_id: str | None = None
    ) -> Stored:
        """Lets another agent of the project see a memory, which stays one and its owner's: who else sees it finds it by
        `recall` (`hit.shared`, and `hit.memory.agent_id` says whose it is) and reads it by `get`, as it is now."""
        args = {"id": memory_id, "with_agent": with_agent, "durability": durability}
        return await self._connection.call("share", args, Stored, request_id)

    async def unshare(
        self, memory_id: str, with_agent: str | None = None, *, durability: str = Durability.HOT,
        request_id: str | None = None,
    ) -> Stored:  # fmt: skip
        """Lets an agent, or all of them, see it no more."""
        args = {"id": memory_id, "with_agent": with_agent, "durability": durability}
        return await self._connection.call("unshare", args, Stored, request_id)

    # --- forgetting -----------------------------------------------------------------------------------------------

    async def forget(
        self, memory_id: str, *, durability: str = Durability.HOT, request_id: str | None = None
    ) -> Receipt:
        """Removes a memory for good, everywhere, and what was made of it."""
        return await self._connection.call("forget", {"id": memory_id, "durability": durability}, Receipt, request_id)

    async def plan_forget(self, *, cascade: bool = False, **selection: Any) -> ForgetPlan:
        """What `forget_many` with the same arguments would remove now; give it the plan's digest as `if_plan`."""
        args = {"cascade": cascade, "dry_run": True, **selection}
        answer = await self._connection.call("forget_many", args, ForgottenMany, patience=LONG)
        assert answer.plan is not None
        return answer.plan

    async def forget_many(
        self,
        *,
        cascade: bool = False,
        if_plan: str | None = None,
        durability: str = Durability.HOT,
        request_id: str | None = None,
        **selection: Any,
    ) -> FullReceipt:
        """Removes for good every memory for which all of the selection holds, and what was made of it: ids, session,
        agent, tags, types, before, older_than_seconds, words, query (with limit, min_score), or everything=True.

        `cascade` follows `related` as well. The receipt lists the first memories; `receipt` gives the others.
        """
        args = {"cascade": cascade, "if_plan": if_plan, "durability": durability, **selection}
        answer = await self._connection.call("forget_many", args, ForgottenMany, request_id, patience=LONG)
        assert answer.receipt is not None
        return answer.receipt

    async def receipt(self, receipt_id: str, *, first: int = 0) -> FullReceipt:
        """A receipt with a page of its memories, from the one numbered `first` on."""
        page = await self._connection.call("receipt", {"id": receipt_id, "first": first}, ReceiptPage)
        return page.receipt

    async def receipts(self, *, before_seq: int | None = None, limit: int = 50) -> list[ReceiptSummary]:
        """The scope's receipts, newest first; `before_seq` is a number of the chain for the next page."""
        return (await self._connection.call("receipts", {"before_seq": before_seq, "limit": limit}, Receipts)).receipts

    async def verify_receipt(self, receipt_id: str, *, chain: bool = False) -> Verification:
        """Looks again, everywhere, for what a receipt says is gone; with `chain` at all receipts of the project."""
        args = {"id": receipt_id, "chain": chain}
        return await self._connection.call("verify_receipt", args, Verification, patience=LONG)

    async def rewrite_aof(self, *, dry_run: bool = False) -> list[str]:
        """Has Redis write its files anew, so that they hold nothing that is forgotten; which were done in time.

        With `dry_run` it only says whether that can be done. Raises BadRequest when it cannot.
        """
        return (await self._connection.call("rewrite_aof", {"dry_run": dry_run}, Rewritten, patience=LONG)).files

    # --- compression ------------------------------------------------------------------------------------------------

    async def summarize(self, *, chars: int | None = None, **selection: Any) -> Summary:
        """In few words what the selected memories say; nothing is changed. The selection is as for `forget_many`:
        ids, session, agent, tags, types, before, older_than_seconds, words, query (with limit), or everything=True."""
        return await self._connection.call("summarize", {"chars": chars, **selection}, Summary, patience=LONG)

    async def compress(
        self, *, dry_run: bool = False, request_id: str | None = None, **selection: Any
    ) -> Compressed:
        """Puts summaries in the place of the selected memories, which go to the archive: `expand` gives them back.

        The selection is as for `summarize`. Groups whose summary is no good stay as they are, and say why.
        """
        args = {"dry_run": dry_run, **selection}
        return await self._connection.call("compress", args, Compressed, request_id, patience=LONG)

    async def expand(
        self, memory_id: str, *, restore: bool = False, first: int = 0, limit: int = EXPAND_PAGE_MAX
    ) -> Expanded:
        """What a summary stands for, as it was. With `restore` it lives in Redis again."""
        args = {"id": memory_id, "restore": restore, "first": first, "limit": limit}
        return await self._connection.call("expand", args, Expanded)

    async def day(self, date: datetime.date | str, *, agent: str | None = None, make: bool = False) -> DaySummary:
        """What happened on a day that is over (UTC), in few words, with what it was made of. Raises NotFound where it has no
        summary yet; with `make` it gets one then, or SummarizerFailed says why not."""
        args = {"date": str(date), "agent": agent, "make": make}
        return await self._connection.call("day", args, DaySummary, patience=LONG if make else USUAL)

    # --- maintenance ------------------------------------------------------------------------------------------------

    async def duplicates(
        self, *, after: str = "", merge: bool = False, request_id: str | None = None, **how: Any
    ) -> DuplicatePage:
        """Memories of the scope that say nearly the same, some at a time, in the order of their ids: `next` of one page is the
        `after` of the next. With `merge` each group becomes one memory that has all their texts as versions.

        How: limit (memories to look at), min_overlap (0.5 to 1, what two texts must have in common word for word).
        """
        args = {"after": after, "merge": merge, **how}
        return await self._connection.call("duplicates", args, DuplicatePage, request_id, patience=LONG)

    # --- sessions -------------------------------------------------------------------------------------------------

    def working(self, session: str | None = None, *, agent: str | None = None) -> WorkingMemory:
        """A session's working memory. `agent`: whose, for a client that sees a whole project."""
        return WorkingMemory(self._connection, session, agent)

    def session(self, session: str, *, agent: str | None = None, compress: bool = True) -> Session:
        """A session to work in, from its beginning to its end: use it with `async with`.

        At its end what was said in it is kept in few words; `compress=False` leaves it in the session alone.
        """
        return Session(self, self._connection, session, agent, compress=compress)

    async def sessions(
        self, *, agent: str | None = None, archived: bool = False, after: str = "", limit: int = 50
    ) -> SessionPage:
        """Sessions of the scope: those in Redis, used last first; or all that the archive holds. Page by `after`."""
        args = {"agent": agent, "archived": archived, "after": after, "limit": limit}
        return await self._connection.call("working.list", args, SessionPage)

    # --- introspection ----------------------------------------------------------------------------------------------

    async def introspect(self, *, agent: str | None = None, days: int = 30, limit: int = 10) -> Introspection:
        """What is known, about what, how surely, since when, and how well it is going: counted, by no model.

        `agent`: whose, for a client that sees a whole project.
        """
        return await self._connection.call("introspect", {"agent": agent, "days": days, "limit": limit}, Introspection)

    async def what_do_i_know(self, about: str, *, session: str | None = None, limit: int = 10) -> Knowledge:
        """What is known of something: facts and memories, with their confidence and their times."""
        args = {"about": about, "session": session, "limit": limit}
        return await self._connection.call("what_do_i_know", args, Knowledge)

    # --- the service ------------------------------------------------------------------------------------------------

    async def stats(self) -> Stats:
        """Counts of the scope and the state of the service."""
        return await self._connection.call("stats", {}, Stats)

    # --- events ---------------------------------------------------------------------------------------------------

    async def place(self) -> str:
        """The place of now among the events of this scope, for `events(after=…)`.

        Take it, read what there is, then listen from it: nothing that changes meanwhile is missed.
        """
        return (await listener.page(self._connection, None)).next

    async def events(self, after: str | None = None) -> AsyncGenerator[Event, None]:
        """Hints of changes in this scope, without text: from now on, or all that came `after` an event's `place`.

        In the order of each memory, none twice and none left out, also over lost connections: it waits while Redis or
        the daemons are away. Save an event's `place` once it is handled, and go on from there in another process.
        Raises EventsLost when events behind the place are no longer kept.
        """
        place = Place.parse(after if after is not None else await self.place())
        async with listener.Listener(self._connection, place) as ear:
            events = await ear.more(patiently=False)
            while True:
                for event in events:
                    yield event
                events = await ear.more()


def _checked(details: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuses here what JSON would change silently: it writes NaN as null and bytes as Base64."""
    if not isinstance(details, Mapping):
        raise BadRequest("memories: expected an object each", field="memories")
    if isinstance(metadata := details.get("metadata"), dict):
        check_metadata(metadata)
    if isinstance(details.get("content"), bytes):
        raise BadRequest("content: is bytes, expected text", field="content")
    importance = details.get("importance")
    if isinstance(importance, float) and importance != importance:  # noqa: PLR0124  # only NaN differs from itself
        raise BadRequest("importance: is not a number, expected 0 to 1", field="importance")
    return details
