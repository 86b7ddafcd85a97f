"""What must be true: every acknowledged operation, and the judge who holds the stores against it.

Each memory is changed by one client only, one operation after the other; facts that many clients store (`shared`) are
never changed. So the operations on a memory have an order, and its end state follows from it:

* An operation is **certain** when nothing may undo it: its durability was `fsync` or `archived`, Redis fsyncs always,
  or Redis was not killed within WINDOW_SECONDS after it was acknowledged (or seen).
* The state after the last certain operation must stand, or that after a later one which was acknowledged and may have
  been undone.
* What a person writes in MongoDB is certain, for a majority has it. It says no version: memoryd gives it one, and of several
  changes that come before it could, only the last.
* With `everysec`, a killed Redis may also have undone the *answering* of a request whose effect it has lost with it. Such
  a request is still in the stream and is carried out late. Therefore the state after any such operation is allowed too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

WINDOW_SECONDS = 3.0  # everysec fsyncs each second, and lets writes wait for one that is slow for two
CANARY = re.compile(rb"cnry[0-9a-f]{16}")


@dataclass(frozen=True)
class Done:
    """One acknowledged operation on one memory. `content` is None after a forget, `version` 0 when a person has done it."""

    memory_id: str
    outcome: str
    version: int
    content: str | None
    durability: str
    at: float
    request: str
    shared: bool = False
    event: bool = False


@dataclass(frozen=True)
class Seen:
    """What a store holds of a memory: a tombstone has no content."""

    version: int
    content: str | None
    access_count: int = 0
    request: str = ""


@dataclass
class Evidence:
    """What the stores hold in the end."""

    hot: dict[str, Seen]
    archived: Mapping[str, Seen]
    versions: Mapping[str, list[Seen]]
    canaries: dict[str, str] = field(default_factory=dict)
    """The canaries that were found, and where."""
    other: list[str] = field(default_factory=list)
    """What is wrong whatever was done: differences, digests, dead letters, keys without a TTL, what never drained."""


@dataclass
class _Highest:
    version: int
    at: float


class Model:
    """Hears what was acknowledged and read; judges in the end. `always`: Redis fsyncs before it answers."""

    def __init__(self, *, always: bool, on_fsync: Callable[[], None] = lambda: None) -> None:
        self.always = always
        self._on_fsync = on_fsync
        self.kills: list[float] = []
        self.violations: list[str] = []
        self.histories: dict[str, list[Done]] = {}
        self.writes = 0
        self._highest: dict[str, _Highest] = {}

    # --- during the run -------------------------------------------------------------------------------------------

    def redis_killed(self, at: float) -> None:
        """Redis died at this moment, and came back with what its file had."""
        self.kills.append(at)

    def done(self, one: Done) -> None:
        """An operation was acknowledged."""
        self.writes += 1
        if one.durability == "fsync":
            self._on_fsync()
        self.histories.setdefault(one.memory_id, []).append(one)
        self._raise(one.memory_id, one.version, one.at)

    def read(self, memory_id: str, version: int, began: float, at: float) -> None:
        """A reader has seen a version; what was acknowledged or seen before it began must not be newer."""
        highest = self._highest.get(memory_id)
        if highest and version < highest.version and highest.at < began and not self._undone(highest.at):
            self.violations.append(f"regression: {memory_id} read at version {version} after {highest.version}")
        self._raise(memory_id, version, at)

    def seen(self, memory_id: str, version: int, content: str) -> None:
        """Its owner has read another version than was acknowledged last, after a loss of Redis's last second.

        A newer one is the owner's own, whose answer was lost. An older one acknowledges nothing: what MongoDB has is on its way.
        """
        if version > self.histories[memory_id][-1].version:
            self.done(Done(memory_id, "seen", version, content, "hot", time.monotonic(), "seen"))

    def missing(self, memory_id: str, began: float) -> None:
        """The owner of a living memory was told that there is none."""
        history = self.histories[memory_id]
        if not any(self._undone(one.at) and one.durability == "hot" for one in history):
            self.violations.append(f"lost: {memory_id} was not found, version {history[-1].version} was acknowledged")

    def wrong(self, what: str) -> None:
        """Something that must never happen has happened."""
        self.violations.append(what)

    def _raise(self, memory_id: str, version: int, at: float) -> None:
        highest = self._highest.get(memory_id)
        if highest is None or version > highest.version or self._undone(highest.at):
            self._highest[memory_id] = _Highest(version, at)

    def _undone(self, at: float) -> bool:
        """Whether a kill of Redis may have undone what was written or seen at this moment."""
        return not self.always and any(at - 0.1 <= kill <= at + WINDOW_SECONDS for kill in self.kills)

    def certain(self, one: Done) -> bool:
        """Whether nothing may have undone it."""
        return one.durability != "hot" or not self._undone(one.at)

    # --- the judgement --------------------------------------------------------------------------------------------

    def judge(self, evidence: Evidence) -> list[str]:
        """Everything that is wrong, in words."""
        wrong = [*self.violations, *evidence.other]
        for memory_id, history in self.histories.items():
            wrong += self._judge_state(memory_id, history, evidence)
            wrong += self._judge_history(memory_id, history, evidence)
            if history[0].shared:
                wrong += self._judge_count(memory_id, history, evidence)
        wrong += self._judge_requests(evidence)
        wrong += self._judge_canaries(evidence)
        return wrong

    def _judge_state(self, memory_id: str, history: list[Done], evidence: Evidence) -> Iterable[str]:
        allowed = self._allowed(history)
        for store, found in (("Redis", evidence.hot.get(memory_id)), ("memories", evidence.archived.get(memory_id))):
            content = found.content if found else None
            if content in {one.content if one else None for one in allowed}:
                yield from self._judge_version(memory_id, history, found, store)
            elif content is None:
                yield f"lost: {memory_id} is not in {store}; {_told(history)}"
            elif None in {one.content if one else None for one in allowed}:
                yield f"resurrected: {memory_id} lives in {store}; {_told(history)}"
            else:
                yield f"lost: {memory_id} has an older content (v{found.version if found else 0}) in {store}; {_told(history)}"

    def _allowed(self, history: list[Done]) -> list[Done | None]:
        certain = [index for index, one in enumerate(history) if self.certain(one)]
        last = certain[-1] if certain else -1
        allowed: list[Done | None] = list(history[max(0, last) :])
        allowed += [one for one in history[: max(0, last)] if not self.certain(one)]
        return allowed if certain else [*allowed, None]

    def _judge_version(self, memory_id: str, history: list[Done], found: Seen | None, store: str) -> Iterable[str]:
        last = history[-1]
        if found is None or found.content is None or not self.certain(last) or found.content != last.content:
            return
        if not last.version:
            return
        if found.version < last.version:
            yield f"regression: {memory_id} has version {found.version} in {store}; {_told(history)}"
        if not self.kills and found.version != last.version:
            yield f"duplicated: {memory_id} has version {found.version} in {store}; {_told(history)}"

    def _judge_history(self, memory_id: str, history: list[Done], evidence: Evidence) -> Iterable[str]:
        """Every content that was acknowledged and not forgotten since is in `versions`."""
        kept = {one.content for one in evidence.versions.get(memory_id, ())}
        for index, one in enumerate(history):
            later = history[index + 1 :]
            if one.content is None or not self.certain(one) or any(other.content is None for other in later):
                continue
            if any(other.content is None and not self.certain(other) for other in history):
                continue  # a forget that Redis lost may have reached the archive before, and took the history with it
            if not all(self.certain(other) for other in later if other.version <= one.version):
                continue
            if not one.version and later:
                continue
            if one.content not in kept:
                yield f"lost: version {one.version} of {memory_id} is not in versions; {_told(history)}"

    def _judge_count(self, memory_id: str, history: list[Done], evidence: Evidence) -> Iterable[str]:
        """A shared fact was met again as often as `reinforced` was answered: once a request."""
        requests = {one.request for one in history if one.outcome == "reinforced"}
        for store, found in (("Redis", evidence.hot.get(memory_id)), ("memories", evidence.archived.get(memory_id))):
            if found is None or found.content is None:
                continue  # judged already
            if found.access_count > len(requests) and not self.kills:
                yield f"duplicated: {memory_id} counts {found.access_count} in {store}, {len(requests)} were acknowledged"
            if found.access_count < len(requests) and (self.always or not self.kills):
                yield f"lost: {memory_id} counts {found.access_count} in {store}, {len(requests)} were acknowledged"

    def _judge_requests(self, evidence: Evidence) -> Iterable[str]:
        """A request that stored an event has one effect: one memory that names it."""
        for store, seen in (("Redis", evidence.hot), ("memories", evidence.archived)):
            counts: dict[str, int] = {}
            for one in seen.values():
                if one.request:
                    counts[one.request] = counts.get(one.request, 0) + 1
            for request, count in counts.items():
                if count > 1:
                    yield f"duplicated: request {request} has {count} memories in {store}"

    def _judge_canaries(self, evidence: Evidence) -> Iterable[str]:
        """What was forgotten is nowhere, in no byte."""
        forgotten = self._forgotten_canaries()
        for canary, memory_id in forgotten.items():
            if where := evidence.canaries.get(canary):
                yield f"resurrected: a forgotten text of {memory_id} is in {where}; {_told(self.histories[memory_id])}"

    def _forgotten_canaries(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for memory_id, history in self.histories.items():
            gone: set[str] = set()
            for one in history:
                if one.content is None and self.certain(one):
                    gone = {canary_of(other.content) for other in history if other.content}
            alive = {canary_of(one.content) for one in self._allowed(history) if one and one.content}
            after = _after_last_forget(history)
            alive |= {canary_of(one.content) for one in after if one.content}
            found |= dict.fromkeys(gone - alive, memory_id)
        return found


def canary_of(content: str) -> str:
    """The word in a content that no other content has."""
    match = CANARY.search(content.encode())
    return match[0].decode() if match else ""


def canaries_in(raw: bytes) -> set[str]:
    """Every canary that these bytes hold."""
    return {one.decode() for one in CANARY.findall(raw)}


def _after_last_forget(history: list[Done]) -> list[Done]:
    forgets = [index for index, one in enumerate(history) if one.content is None]
    return history[forgets[-1] + 1 :] if forgets else history


def _told(history: list[Done]) -> str:
    """The end of a memory's story, for whoever reads a failure."""
    return "acknowledged: " + ", ".join(
        f"{one.outcome} v{one.version} {one.durability} {one.at:.2f}" for one in history[-6:]
    )
