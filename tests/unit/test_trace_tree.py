"""What `memoryd trace` says beside each span."""

from __future__ import annotations

import io

from rich.console import Console

from memoryd.traces.span import Span
from memoryd.traces.tree import tree


def test_a_command_says_its_collection_and_how_many_went_together() -> None:
    whole = Span("memoryd", "upsert_memory", "t", "a", "", 0, 9_000_000, attributes={"memoryd.verb": "store"})
    piped = Span("memoryd", "redis PIPELINE", "t", "b", "a", 1_000_000, 2_000_000, attributes={"db.operation.batch.size": 12})
    found = Span("memoryd", "mongodb find", "t", "c", "a", 3_000_000, 4_000_000, attributes={"db.collection.name": "memories"})
    shown = io.StringIO()
    Console(file=shown, width=120).print(tree([whole, piped, found], told=True))
    lines = [line.strip() for line in shown.getvalue().splitlines()]
    assert [line.rpartition("ms)")[2].split() for line in lines] == [["trace", "t"], ["store"], ["12"], ["memories"]]
