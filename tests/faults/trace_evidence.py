"""What the kept spans of a run must show, and where they do not.

An operation is *acknowledged* when its caller has an answer, a result or a refusal by name. Its trace is *complete* when the
caller's span is there, a daemon's span beneath it that ended as the answer says, the parts that this verb always has, and, where
commands are spans, in it a command to a store: no answer is had without one.
A daemon that is killed in the middle takes its own span along, and everything inside with it: the request is answered by
another one, or asked again, and that attempt has the trace. What the killed one had written by then goes on under the same
trace: an effect is *linked to its cause* when it links to a span of the operation's trace. An *orphan* is a span whose parent
nobody has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from memoryd.traces.span import Span
from memoryd_telemetry import names

EFFECTS = frozenset({names.EMBED, names.ARCHIVE, names.FOLLOW, names.RECONCILE, names.MOVE, names.SHRINK})
# What every answer of these verbs has inside; a question that was asked before is not searched for again.
PARTS = {
    "store": {names.WRITE}, "store_many": {names.WRITE}, "update": {names.WRITE}, "forget": {names.WRITE},
    "recall": {names.SEARCH_WORDS, names.EMBED_QUERY, names.SEARCH_MEANING, names.FUSE, names.FETCH},
    "working.append": {names.WRITE},
}  # fmt: skip


@dataclass
class Operation:
    """What one caller has asked, under one trace, and was answered: the error's code, or nothing."""

    verb: str
    trace_id: str
    code: str = ""
    ids: Sequence[str] = ()
    effects: Collection[str] = ()
    """The spans of followers that it must have caused."""


@dataclass
class Edit:
    """A person has changed a memory's document."""

    memory_id: str
    at: int
    """Nanoseconds since 1970."""


@dataclass
class Evidence:
    """What was asked, and all spans: the callers' own and those that were kept."""

    operations: Sequence[Operation]
    edits: Sequence[Edit]
    forgotten: Collection[str]
    spans: Mapping[str, Span]
    """By id."""
    commands: bool = True
    """Whether commands are spans."""
    wrong: list[str] = field(default_factory=list)

    def judge(self) -> list[str]:
        """What is not as it must be; empty when all is."""
        self._inside: dict[str, list[Span]] = {}
        self._caused: dict[str, set[str]] = {}  # by a trace: the names of what links to it
        for one in self.spans.values():
            self._inside.setdefault(one.trace_id, []).append(one)
            for trace_id, _ in one.links:
                self._caused.setdefault(trace_id, set()).add(one.name)
        self.wrong = [*self._orphans(), *self._incomplete(), *self._unlinked(), *self._unfollowed(), *self._baseless()]
        return self.wrong

    def told(self) -> str:
        """What there was to judge."""
        effects = [one for one in self.spans.values() if one.name in EFFECTS and one.links]
        roots = Counter(one.name for one in effects)
        commands = sum(names.DB_SYSTEM in one.attributes for one in self.spans.values())
        links = sum(len(one.links) for one in effects)
        dangling = sum(span_id not in self.spans for one in effects for _, span_id in one.links)
        told = ", ".join(f"{count} {name}" for name, count in sorted(roots.items()))
        return (
            f"{len(self.operations)} acknowledged operations, {len(self.edits)} edits by hand, {len(self.spans)} spans, "
            f"{commands} of them commands; effects: {told}, with {links} links, {dangling} of them to spans of killed processes"
        )

    # --- the rules ------------------------------------------------------------------------------------------------

    def _orphans(self) -> Iterator[str]:
        for one in self.spans.values():
            if one.parent_id and one.parent_id not in self.spans:
                yield f"orphan: {one.name} of {one.service} in {one.trace_id}"

    def _incomplete(self) -> Iterator[str]:
        for operation in self.operations:
            if missing := self._missing(operation):
                yield f"incomplete: {operation.verb} {operation.code or 'ok'} in {operation.trace_id}: {missing}"

    def _missing(self, operation: Operation) -> str:
        spans = [one for one in self._inside.get(operation.trace_id, []) if one.attributes.get(names.VERB) == operation.verb]
        callers = {one.span_id for one in spans if one.service == CALLER}
        if not callers:
            return "no span of the caller"
        served = [one for one in spans if one.parent_id in callers]
        answers = [one for one in served if one.error == operation.code]
        if not answers:
            return f"no span of a daemon that ended so, {len(served)} others"
        lacking = [self._lacking(operation, one) for one in answers]
        return "" if not all(lacking) else f"without {', '.join(sorted(lacking[0]))}"

    def _lacking(self, operation: Operation, served: Span) -> set[str]:
        if operation.code:
            return set()
        inside = self._inside[operation.trace_id]
        asked = not self.commands or any(names.DB_SYSTEM in one.attributes and self._is_within(one, served) for one in inside)
        parts = {one.name for one in inside if one.parent_id == served.span_id}
        always = set() if served.attributes.get(names.QUERY_CACHE) == "hit" else PARTS.get(operation.verb, set())
        return always - parts | (set() if asked else {"a command"})

    def _is_within(self, one: Span, whole: Span) -> bool:
        while one.parent_id != whole.span_id:
            if one.parent_id not in self.spans:
                return False
            one = self.spans[one.parent_id]
        return True

    def _unlinked(self) -> Iterator[str]:
        """Effects of operations without a link. A forget takes out of the journal what nobody has read there yet."""
        for one in self.operations:
            if one.verb != "forget" and one.ids and all(each in self.forgotten for each in one.ids):
                continue
            for effect in set(one.effects) - self._caused.get(one.trace_id, set()):
                yield f"unlinked: nothing of {effect} links to {one.verb} in {one.trace_id} ({', '.join(one.ids[:2])})"

    def _unfollowed(self) -> Iterator[str]:
        """Edits that no follower has told, or whose effects do not link to what it told."""
        for edit in self.edits:
            told = [
                one for one in self.spans.values()
                if one.name == names.FOLLOW and one.attributes.get(names.RECORD_ID) == edit.memory_id and one.end > edit.at
            ]  # fmt: skip
            if not told:
                yield f"unfollowed: an edit of {edit.memory_id}"
                continue
            traces = {trace_id for one in told for trace_id in (one.trace_id, *_causes(one))}
            if not any(names.ARCHIVE in self._caused.get(trace_id, ()) for trace_id in traces):
                yield f"unlinked: nothing was archived because of an edit of {edit.memory_id}"

    def _baseless(self) -> Iterator[str]:
        """Effects that name no cause at all; a person's change in MongoDB is its own."""
        for one in self.spans.values():
            nothing_moved = one.name == names.MOVE and not one.attributes.get(names.RECORD_COUNT)
            if one.name in EFFECTS - {names.FOLLOW} and not (one.parent_id or one.links or nothing_moved):
                yield f"baseless: {one.name} of {one.service} in {one.trace_id}"


CALLER = "caller"


def _causes(span: Span) -> list[str]:
    return [trace_id for trace_id, _ in span.links]


def of_callers(spans: Iterable[ReadableSpan]) -> Iterator[Span]:
    """The spans of this process, which are the callers', as kept ones."""
    for one in spans:
        if one.context is None or one.kind not in (SpanKind.CLIENT, SpanKind.INTERNAL):
            continue
        attributes = dict(one.attributes or {})
        yield Span(
            service=CALLER, name=one.name, trace_id=format_trace_id(one.context.trace_id),
            span_id=format_span_id(one.context.span_id), parent_id=format_span_id(one.parent.span_id) if one.parent else "",
            start=one.start_time or 0, end=one.end_time or 0, attributes=attributes,
            error=str(attributes.get(names.ERROR_TYPE, "")) if one.status.status_code is StatusCode.ERROR else "",
        )  # fmt: skip
