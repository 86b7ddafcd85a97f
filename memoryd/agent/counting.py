"""The numbers by which an agent looks at itself: counted, not guessed by a model.

Everything here is a pure function of memories and events, so that whoever has these can check the numbers.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from memoryd.clock import from_microseconds
from memoryd.model.episode import Outcome, event_of
from memoryd.model.fact import confidence_of, holds, triple_of
from memoryd.model.introspection import (
    Brief,
    Day,
    Doing,
    Event,
    Latency,
    Surety,
    ToolReport,
    Topic,
)
from memoryd.model.memory import Memory
from memoryd.model.speech import speaker_of
from memoryd.model.terms import telling_words

SURE, DOUBTFUL = 0.8, 0.5  # a fact is sure from the one on, doubtful below the other
MANY = 100  # memories of which it can be told how a word is spread over them
PERIODS = 20  # in which that is counted, each of as many memories
_TOKEN = re.compile(r"\w[\w'\u2019-]*|[.!?:\n]")


def brief(memory: Memory) -> Brief:
    """A memory as a line of a list."""
    return Brief(
        id=memory.id, type=memory.memory_type, content=memory.content, created_at=memory.created_at,
        last_accessed=memory.last_accessed, access_count=memory.access_count, importance=memory.importance,
    )  # fmt: skip


def surety_of(memories: Iterable[Memory], now: datetime) -> Surety:
    """How sure the triples among the memories are."""
    triples = [(one, triple) for one in memories if (triple := triple_of(one))]
    current = [confidence_of(triple) for one, triple in triples if holds(one, now)]
    return Surety(
        facts=len(current), sure=sum(one >= SURE for one in current), doubtful=sum(one < DOUBTFUL for one in current),
        mean_confidence=round(sum(current) / len(current), 6) if current else None, ended=len(triples) - len(current),
    )  # fmt: skip


def topics_of(memories: Sequence[Memory], limit: int, *, besides: Iterable[str] = ()) -> list[Topic]:
    """What the memories, newest first, are about: words with one stem are one, shown as it is written most often.

    A topic comes and goes, a filler is said all the time: of many memories those words are first that many of them have and
    that are spread unevenly over time; of few memories, those that most have. Events of logs are left out, which speak of tools
    and milliseconds; words of only one memory; and those of the names `besides`.
    """
    said = _said(memories)
    known = {word for name in besides for word in name.casefold().split()}
    spread: dict[str, list[int]] = {}
    written: dict[str, Counter[str]] = {}
    newest: dict[str, datetime] = {}
    for number, one in enumerate(said):
        for stem, words in telling_words(one.content).items():
            spread.setdefault(stem, [0] * PERIODS)[number * PERIODS // len(said)] += 1
            written.setdefault(stem, Counter()).update(words)
            newest[stem] = max(newest.get(stem, one.created_at), one.created_at)
    shown = {stem: max(words.items(), key=lambda pair: (pair[1], pair[0]))[0] for stem, words in written.items()}
    found = {stem: sum(counts) for stem, counts in spread.items() if sum(counts) > 1 and shown[stem] not in known}
    worth = {stem: _unevenness(spread[stem]) * math.sqrt(n) if len(said) >= MANY else n for stem, n in found.items()}
    best = sorted(found, key=lambda stem: (-worth[stem], stem))[:limit]
    return [Topic(name=shown[stem], memories=found[stem], newest=newest[stem]) for stem in best]


def _unevenness(counts: Sequence[int]) -> float:
    """How much more unevenly something is spread over periods than by chance (chi-square by its degrees of freedom)."""
    expected = sum(counts) / len(counts)
    return sum((one - expected) ** 2 for one in counts) / expected / (len(counts) - 1) - 1


def entities_of(memories: Sequence[Memory]) -> list[Topic]:
    """The names of which most memories speak: subjects of facts, speakers, and what is written with a capital letter within
    sentences, and seldom without one. Those of only one memory are left out."""
    said = _said(memories)
    given = [_given_names(one) for one in said]
    tokens = [_tokens(one.content) for one in said]
    surely = {name for names in given for name in names}
    names = surely | {name for one in tokens for name in _capitalised(one)}
    small = Counter(word for one in tokens for word in {word.casefold() for word in one if word[0].islower()})
    having: Counter[str] = Counter()
    newest: dict[str, datetime] = {}
    for memory, own, one in zip(said, given, tokens, strict=True):
        text = f" {' '.join(one)} "
        for name in own | {name for name in names if f" {name} " in text}:
            having[name] += 1
            newest[name] = max(newest.get(name, memory.created_at), memory.created_at)
    kept = {name: n for name, n in having.items() if n > 1 and (name in surely or small[name.casefold()] < n)}
    best = sorted(_whole_names(kept).items(), key=lambda pair: (-pair[1], pair[0]))
    return [Topic(name=name, memories=n, newest=newest[name]) for name, n in best]


def _whole_names(having: Mapping[str, int]) -> dict[str, int]:
    """Without those that are parts of longer ones and never stand alone: of "Ada Lovelace" no "Lovelace"."""
    longer = {name: n for name, n in having.items() if " " in name}

    def part(name: str, n: int) -> bool:
        return any(other != name and f" {name} " in f" {other} " and many >= n for other, many in longer.items())

    return {name: n for name, n in having.items() if not part(name, n)}


def _said(memories: Sequence[Memory]) -> list[Memory]:
    return [one for one in memories if event_of(one) is None]


def _given_names(memory: Memory) -> set[str]:
    triple = triple_of(memory)
    return {name for name in (speaker_of(memory.metadata), triple["subject"] if triple else "") if name}


def _tokens(text: str) -> list[str]:
    """The words of a text and what ends its sentences; Ada's is Ada."""
    return [one.removesuffix("'s").removesuffix("\u2019s") for one in _TOKEN.findall(text)]


def _capitalised(tokens: Sequence[str]) -> set[str]:
    """The names within the sentences of a text, neighbours together."""
    names: set[str] = set()
    run: list[str] = []
    begins = True
    for token in [*tokens, "."]:
        if token[0].isupper() and not begins and len(token) > 1 and token[1] not in "'\u2019":
            run.append(token)
        else:
            if run:
                names.add(" ".join(run))
            run = []
        begins = not token[0].isalnum()
    return names


# --- how it is doing ----------------------------------------------------------------------------------------------------
def doing(events: Sequence[Event], since: datetime) -> Doing:
    """The report on all events since a time."""
    by_tool: dict[str, list[Event]] = {}
    for one in events:
        if one.tool:
            by_tool.setdefault(one.tool, []).append(one)
    reports = [report(tool, some) for tool, some in by_tool.items()]
    days: dict[str, list[Event]] = {}
    for one in _ended(events):
        days.setdefault(f"{from_microseconds(one.at).astimezone(UTC):%Y-%m-%d}", []).append(one)
    return Doing(
        since=since, events=len(events), by_event=dict(Counter(one.event_type for one in events).most_common()),
        all=report("", events), tools=sorted(reports, key=lambda one: (-one.calls, one.tool)),
        days=[Day(day=day, calls=len(some), errors=_errors(some)) for day, some in sorted(days.items())],
    )  # fmt: skip


def report(tool: str, events: Sequence[Event]) -> ToolReport:
    """How well the events of one tool went."""
    ended = _ended(events)
    errors = _errors(ended)
    kinds = Counter(one.error_kind for one in ended if one.error_kind and one.outcome == Outcome.ERROR)
    times = [one.at for one in events]
    return ToolReport(
        tool=tool, calls=len(ended), ok=len(ended) - errors, errors=errors,
        success_rate=round(1 - errors / len(ended), 6) if ended else None, error_kinds=dict(kinds.most_common()),
        latency=latency([one.latency_us for one in ended if one.latency_us is not None]),
        first_at=from_microseconds(min(times)) if times else None, last_at=from_microseconds(max(times)) if times else None,
    )  # fmt: skip


def latency(times: Sequence[int]) -> Latency | None:
    """The percentiles of times in microseconds; None without any."""
    if not times:
        return None
    ordered = sorted(times)

    def percentile(percent: int) -> int:
        return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]

    return Latency(
        calls=len(ordered), mean_us=round(sum(ordered) / len(ordered)), p50_us=percentile(50), p95_us=percentile(95),
        p99_us=percentile(99), max_us=ordered[-1],
    )  # fmt: skip


def _ended(events: Sequence[Event]) -> list[Event]:
    return [one for one in events if one.outcome in (Outcome.OK, Outcome.ERROR)]


def _errors(events: Sequence[Event]) -> int:
    return sum(one.outcome == Outcome.ERROR for one in events)
