"""What agents say of themselves, as a forget reaches it: see `memoryd.lifecycle.holders`.

Reached by place (everything, an agent; never by a session), by words and by age. A snapshot that is forgotten leaves its link,
without content, so that the chain still shows that nothing else is missing.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from memoryd.agent.chains import LINKS_READ, Chains, Link
from memoryd.agent.states import AgentStates
from memoryd.clock import to_microseconds
from memoryd.hot.changes import Request
from memoryd.hot.documents import Change
from memoryd.lifecycle.selection import Criteria, Selection
from memoryd.lifecycle.targets import Target
from memoryd.limits import SNAPSHOT_TTL_SECONDS
from memoryd.model.agent import CHAIN, SAID, forgotten_link, fresh, snapshot_place
from memoryd.model.document import Document, Place
from memoryd.model.receipt import Finding, FullReceipt, Removed
from memoryd.model.scope import Scope
from memoryd.model.words import words_of


class AgentHolder:
    """States of agents and their snapshots, in both stores."""

    name = "agents' states"

    def __init__(self, states: AgentStates, chains: Chains) -> None:
        self._states = states
        self._chains = chains

    async def find(self, criteria: Criteria, targets: Sequence[Target]) -> Removed:
        """How many states and snapshots go."""
        return await self._each(criteria, remove=False)

    async def remove(self, criteria: Criteria, selection: Selection, targets: Sequence[Target]) -> Removed:
        """Forgets them."""
        return await self._each(criteria, remove=True)

    async def look(self, receipt: FullReceipt) -> list[Finding]:
        """States that should be gone whole, and have not been begun since. Words are not known any more."""
        asked = receipt.selection
        if receipt.scope.session or asked.keys() - {"agent", "everything"}:
            return []
        states, _ = await self._states.all(receipt.scope.of_agent(asked.get("agent")))
        return [
            Finding(where=self.name, id=one.place.id, what="it is there, from before the forget")
            for one in states
            if int(one.body["created_at"]) < to_microseconds(receipt.asked_at)
        ]

    async def _each(self, criteria: Criteria, *, remove: bool) -> Removed:
        counts = {"agent_states": 0, "agent_snapshots": 0}
        if not criteria.by_place_or_time or criteria.scope.session:
            return {}
        whole = not criteria.words and criteria.before is None
        for state in (await self._states.all(criteria.scope))[0]:
            async for number, link in self._links(state):
                if whole or _link_fits(criteria, link):
                    counts["agent_snapshots"] += 1
                    if remove:
                        await self._remove_snapshot(state.place.scope, number, link, whole=whole)
            if whole or _state_fits(criteria, state.body):
                counts["agent_states"] += 1
                if remove:
                    await self._remove_state(state, whole=whole)
        return {"mongodb": {name: count for name, count in counts.items() if count}}

    async def _links(self, state: Document) -> AsyncIterator[tuple[int, Link]]:
        """The snapshots of an agent."""
        newest = int(state.body[CHAIN]["number"])
        for first in range(1, newest + 1, LINKS_READ):
            numbers = range(first, min(first + LINKS_READ, newest + 1))
            for number, link in (await self._chains.links(state.place.scope, numbers)).items():
                yield number, link

    async def _remove_snapshot(self, scope: Scope, number: int, link: Link, *, whole: bool) -> None:
        place = snapshot_place(scope, number)
        if whole:
            await self._states.store.end(place, _request())
        else:
            await self._rewrite(place, forgotten_link(link), SNAPSHOT_TTL_SECONDS)

    async def _remove_state(self, state: Document, *, whole: bool) -> None:
        if whole:
            await self._states.store.end(state.place, _request())
            await self._states.hot.silence(state.place.scope)
            return
        now = (await self._states.store.get(state.place)) or state
        empty = fresh(int(now.body["updated_at"]))
        await self._rewrite(state.place, {**now.body, **{name: empty[name] for name in SAID}}, 0)

    async def _rewrite(self, place: Place, body: dict[str, Any], ttl_seconds: int) -> None:
        """The document anew, and nothing left of what it was."""
        await self._states.store.put(Change(place, body, _request(), ttl_seconds=ttl_seconds, purges=True))


def _request() -> Request:
    return Request(secrets.token_hex(12), "forget")


def _link_fits(criteria: Criteria, link: Link) -> bool:
    old = criteria.before is None or int(link["at"]) < to_microseconds(criteria.before)
    return not link["forgotten"] and old and criteria.words <= words_of(link["content"])


def _state_fits(criteria: Criteria, body: dict[str, Any]) -> bool:
    old = criteria.before is None or int(body["updated_at"]) < to_microseconds(criteria.before)
    return old and criteria.words <= words_of(msgspec.json.encode({name: body[name] for name in SAID}).decode())
