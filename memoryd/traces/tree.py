"""A trace as a tree for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from rich.tree import Tree

from memoryd.traces.span import Span
from memoryd_telemetry import names as telemetry

TOLD = (
    telemetry.VERB, telemetry.EFFECT, telemetry.RECORD_ID, telemetry.RECORD_COUNT, telemetry.BATCH_SIZE, telemetry.OUTCOME,
    telemetry.DB_COLLECTION, telemetry.DB_BATCH_SIZE,
)  # fmt: skip


def tree(spans: Sequence[Span], linked: Sequence[Span] = (), *, told: bool = False) -> Tree:
    """One trace as a tree, the work that links to it beneath the span that caused it. `spans` must not be empty, and are in
    the order of their beginnings; `told`: with their attributes."""
    origin = spans[0].start
    top = Tree(Text(f"trace {spans[0].trace_id}"))
    nodes: dict[str, Tree] = {}
    for span in spans:
        nodes[span.span_id] = nodes.get(span.parent_id, top).add(_line(span, origin, told=told))
    for span in linked:
        cause = next(node for span_id, node in nodes.items() if span_id in span.linked)
        cause.add(_line(span, origin, arrow="⇢ ", told=told))
    return top


def _line(span: Span, origin: int, *, arrow: str = "", told: bool) -> Text:
    began = (span.start - origin) / 1e6
    line = Text(f"{arrow}{span.name}  ({span.service}, began at {began:.1f} ms, took {span.milliseconds:.1f} ms)")
    if told:
        shown = [str(span.attributes[name]) for name in TOLD if name in span.attributes]
        line.append("  " + " ".join(shown), style="dim")
    if span.error:
        line.append(f"  {span.error}", style="red")
    return line
