"""What the verbs answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from memoryd.model.memory import Durability, Memory
from memoryd.model.seen import FilterStats


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A store or an update that is acknowledged."""

    id: str
    version: int
    outcome: str
    """stored: it is new; reinforced: the same content was there already; updated; unchanged: a share was so already."""
    durability: Durability = Durability.HOT
    replayed: bool = False
    """Whether this is the first answer to a repeated request."""


class Part(msgspec.Struct, frozen=True):
    """What one signal says of a hit: its value, what it weighs, and how much of the score that makes."""

    value: float
    weight: float
    contribution: float


class Ranked(msgspec.Struct, frozen=True):
    """A memory's place in a recall: its score is the sum of the contributions in `why`."""

    memory_id: str
    kind: str
    """Which index holds it."""
    score: float
    why: dict[str, Part]
    found_by: list[str]


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One recalled memory. `score` is the sum of the contributions in `why`."""

    memory: Memory
    score: float
    why: dict[str, Part]
    found_by: list[str] = []
    """Which searches brought it: quote (it is the question, word for word), words, meaning."""
    shared: bool = False
    """Whether it is not the scope's own: its agent (`memory.agent_id`; empty: the project) shares it."""


class Recalled(msgspec.Struct, frozen=True, kw_only=True):
    """What a recall found, best first."""

    hits: list[Hit]
    searched: list[str]
    """By what was searched: words, meaning; archive: the tier of that name, by meaning."""
    profile: str = ""
    """By which weights."""
    degraded: str = ""
    """Why something was not searched; empty when all was."""
    recall_id: str = ""
    """By which feedback names this recall, for a day; empty where Redis had no room to note it."""
    missing: list[str] = []
    """What of the answer is not whole, because a deadline or a time limit came first: words, meaning; because an emptied Redis
    is still being filled: words; or because MongoDB has not answered: long (what has its content there), archive (what is only
    there)."""
    next: str = ""
    """The cursor of the next page; empty when there is none, or no pages were asked for."""

    @property
    def partial(self) -> bool:
        """Whether more might have been found in more time."""
        return bool(self.missing)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """How many memories of a scope pass the filters."""

    memories: int
    with_words: int | None = None
    """How many of them have one of the query's words; None without a query."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a forget removed. It holds no content."""

    id: str
    version: int
    outcome: str
    """forgotten, or already when it had been forgotten before."""
    forgotten_at: datetime
    journal_entries_removed: int = 0
    durability: Durability = Durability.HOT
    """archived: MongoDB has removed it too; otherwise its archiver has that still to do."""
    derived: int = 0
    """How many memories that were made of it went with it."""
    receipt: str = ""
    """The id of the full receipt, which is chained to all others; empty when there was nothing left to forget."""


class ArchiveStats(msgspec.Struct, frozen=True, kw_only=True):
    """The archive as the daemon sees it now."""

    available: bool
    memories: int | None = None
    circuit: str = "closed"
    """closed: it is asked; open: it was away five times in a row and is left alone for 2 s; half open: one tries."""


class EmbedderStats(msgspec.Struct, frozen=True, kw_only=True):
    """The embedding model as this daemon sees it."""

    model: str
    dims: int
    failing: str = ""
    """The kind of the last failure, empty when the last call worked."""


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a scope, and the state of the service."""

    memories: int
    by_type: dict[str, int]
    by_tier: dict[str, int]
    pending: int
    """Memories of the scope that still wait for their vector."""
    shared: int
    """Memories of other agents that are shared with the scope's; in none of the other counts."""
    archive: ArchiveStats
    embedder: EmbedderStats | None
    embed_backlog: int
    """Journal entries that the embedding follower has still to see, of all scopes."""
    archive_backlog: int
    """Journal entries that MongoDB does not hold yet, of all scopes."""
    dead_letters: int
    requests_backlog: int
    filters: dict[str, FilterStats]
    """What answers "have I seen this?": contents and questions, of all scopes."""
