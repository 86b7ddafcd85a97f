"""A frame for a terminal. Names of others are shown and never obeyed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from memoryd.hot.journal import GROUPS
from memoryd.hot.lag import Lag, behind
from memoryd.limits import HEALTH_LAG_SECONDS
from memoryd.top.frame import Frame, Heard

LEVELS = "▁▂▃▄▅▆▇█"  # of a bucket's backlog: 1 entry, 4, 16 …
NOTHING = "·"


def draw(frame: Frame, words: Callable[[str], Text]) -> Group:
    """All of it. `words` makes somebody else's words fit to be shown."""
    tables = [_operations(frame), _heard("busiest agents", frame.overheard.agents, words)]
    return Group(
        _head(frame),
        Text(),
        Columns([_tiers(frame), _followers(frame)], padding=(0, 4)),
        Text(),
        Columns(tables, padding=(0, 4)),
        Text(f"overheard: {frame.overheard.requests} requests before they were answered", style="dim"),
        *(Text(f"not kept: {one}", style="dim") for one in frame.not_kept),
    )


def _head(frame: Frame) -> Table:
    memory = frame.memory
    limit = f"of {_bytes(memory.limit_bytes)} ({memory.share:.0%})" if memory.limit_bytes else "without a limit"
    rows: list[tuple[str, RenderableType]] = [
        ("memoryd", f"{frame.at:%Y-%m-%d %H:%M:%S} UTC, of the last {frame.seconds:.1f} s; {_daemons(frame.daemons)}"),
        ("requests", f"{frame.requests_per_second:g}/s, {frame.requests_waiting} wait"),
        ("changes", f"{frame.changes_per_second:g}/s in the journals"),
        ("redis", f"{frame.commands_per_second}/s commands, {_bytes(memory.used_bytes)} {limit}, "
                  f"fragmentation {memory.fragmentation:g}"),
    ]  # fmt: skip
    table = _table("", "")
    table.show_header = False
    for name, value in rows:
        table.add_row(Text(name, style="bold"), value)
    return table


def _tiers(frame: Frame) -> Table:
    table = _table("tier", ">memories")
    for tier, count in frame.tiers.items():
        table.add_row(tier, f"{count:,}")
    table.add_row("without a vector", "unknown" if frame.pending is None else f"{frame.pending:,}")
    table.add_row("dead letters", Text(f"{frame.dead_letters:,}", style="red" if frame.dead_letters else ""))
    return table


def _followers(frame: Frame) -> Table:
    table = _table("follower", ">behind", ">oldest", "by bucket")
    for group in GROUPS:
        entries, seconds = behind(frame.followers, group)
        style = "red" if seconds > HEALTH_LAG_SECONDS else ""
        table.add_row(group, f"{entries:,}", Text(f"{seconds:.1f} s", style=style), _buckets(frame.followers, group))
    age, holder = frame.following.place_age_seconds, frame.following.holder
    follows = Text("" if holder else "nobody holds its lease", style="red")
    table.add_row("changes in MongoDB", "", "never" if age is None else f"{age:.1f} s", follows)
    return table


def _buckets(found: Sequence[Lag], group: str) -> str:
    """One sign for each bucket, as high as its backlog."""
    counts = [one.entries for one in found if one.follower == group]
    return "".join(LEVELS[min(len(LEVELS) - 1, (count.bit_length() - 1) // 2)] if count else NOTHING for count in counts)


def _operations(frame: Frame) -> Table:
    if frame.operations is None:
        return _heard("verbs overheard", frame.overheard.verbs, Text)
    table = _table("operation, last minute", ">/s", ">failed/s", ">p50 ms", ">p95 ms", ">p99 ms")
    for one in frame.operations:
        failed = Text(f"{one.failed_per_second:.2f}", style="red" if one.failed_per_second else "")
        table.add_row(one.verb, f"{one.per_second:.2f}", failed, *(f"{ms:.1f}" for ms in (one.p50_ms, one.p95_ms, one.p99_ms)))
    return table


def _heard(title: str, found: Sequence[Heard], words: Callable[[str], Text]) -> Table:
    table = _table(title, ">/s")
    for one in found:
        table.add_row(words(one.name), f"{one.per_second:.2f}")
    return table


def _table(*columns: str) -> Table:
    """One whose columns are to the right where their names begin with >."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table


def _daemons(count: int) -> str:
    return f"{count} daemon{'s' if count != 1 else ''}" if count else "no daemon asks for requests"


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"
