"""Writes docs/performance.md from what the benches have reported: `python -m bench.page [--results bench/results]`.

Every number in it is one of a report; what has no report has no row.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.catalogue import BENCHES
from bench.harness import HASHED

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
HEAD = """# Performance

<!-- Written by `make bench` (bench/page.py) from the reports of the benches. Not by hand. -->

What memoryd costs beside what its servers allow. Each comparison lies inside one run: what is compared takes turns, so that other
work on the machine slows both, and what counts is the ratio. Absolute numbers are information about one machine. A value is the
median of the rounds, in brackets the lowest and the highest of them; the load average before a bench tells what else the machine
had to do. To repeat it: `make bench`; the reports with all options are then in `bench/results/`, and `python -m bench.NAME --help`
tells what one of them does."""

Report = Mapping[str, Any]


def reports(folder: Path) -> dict[str, Report]:
    """What is there of each bench, in the order in which they run."""
    files = {one.name: folder / f"{one.name}.json" for one in BENCHES}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def written(found: Mapping[str, Report]) -> str:
    """The page."""
    parts = [HEAD, measured_on(found.values())]
    if kept := [promise for report in found.values() for promise in report.get("promises", ())]:
        parts += ["## Promises", promises(kept)]
    parts += [section(name, report) for name, report in found.items() if name in SECTIONS]
    return "\n\n".join(parts) + "\n"


def measured_on(found: Iterable[Report]) -> str:
    """Each machine once, with the servers that ran there."""
    machines: dict[str, set[str]] = {}
    for report in found:
        machines.setdefault(report["machine"], set()).update([report["servers"]] if "servers" in report else [])
    lines = ["; ".join([machine, *sorted(servers)]) for machine, servers in machines.items()]
    return f"Measured on {' and '.join(lines)}."


def promises(kept: Sequence[Mapping[str, Any]]) -> str:
    """What was promised, what was measured, and whether that keeps it."""
    return table(
        ("promise", "bound", "measured", ""),
        [
            (one["what"], _bound(one), f"{spread(one['measured'])}{_unit(one)}", "kept" if one["kept"] else "**missed**")
            for one in kept
        ],
    )


def _bound(one: Mapping[str, Any]) -> str:
    return f"≥ {one['least']:g}{_unit(one)}" if one["least"] is not None else f"≤ {one['most']:g}{_unit(one)}"


def _unit(one: Mapping[str, Any]) -> str:
    return f" {one['unit']}" if one["unit"] else ""


def section(name: str, report: Report) -> str:
    """What one bench has measured, and how it was called."""
    title, told = SECTIONS[name]
    asked = " ".join(f"--{key.replace('_', '-')} {_said(value)}" for key, value in report["options"].items() if _is_said(value))
    call = f"`python -m bench.{name} {asked}`".replace(" `", "`")
    when = f"{report['measured']}, {report['seconds']} s; load average before: {report['load_before']}"
    return f"## {title}\n\n{told(report)}\n\n{call}, {when}."


def _said(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _is_said(value: Any) -> bool:
    """A path on the machine that measured means nothing on another."""
    return value not in (None, "") and not isinstance(value, bool) and not Path(str(value)).is_absolute()


# --- what each has to tell --------------------------------------------------------------------------------------------
def store(report: Report) -> str:
    """Rates and shares by the number of clients, and the times at fixed rates."""
    ways = {"protocol": "`store` through the daemon", "step": "the atomic step, raw", "plain": "one HSET and one XADD, raw"}
    full = [
        (name, clients, spread(of[way]["per_second"]), spread(of[way]["p50_ms"]), spread(of[way]["p99_ms"]))
        for clients, of in report["clients"].items()
        for way, name in ways.items()
    ]
    shares = [
        (clients, spread(of["share_of_step"]), spread(of["share_of_plain"])) for clients, of in report["clients"].items()
    ]
    paced = [
        (ways[way], rate, spread(one["per_second"]), spread(one["p50_ms"]), spread(one["p99_ms"]))
        for rate, of in report["at_a_rate"].items()
        for way, one in of.items()
    ]
    return "\n\n".join([
        "In a closed loop, in which each client waits for its answer:",
        table(("", "clients", "a second", "p50 ms", "p99 ms"), full),
        "`store` as a share of what is called raw, in the same round:",
        table(("clients", "of the atomic step", "of one HSET and one XADD"), shares),
        "At a fixed rate, each time counted from when the request was due:",
        table(("", "due a second", "done a second", "p50 ms", "p99 ms"), paced),
    ])  # fmt: skip


def visible(report: Report) -> str:
    """The times from when a write was due."""
    mongo, redis = report["in_mongo"], report["in_redis"]
    rows = [
        (f"write → found by its {name}{'' if embedder == HASHED else ', with the model'}", found, name)
        for embedder, found in report["searched"].items()
        for name in ("words", "meaning")
    ] + [
        ("write → in MongoDB", mongo, "archived"), ("edit in MongoDB → in Redis", redis, "edited"),
        ("the same edit → told by a change stream", redis, "change_stream"),
    ]  # fmt: skip
    times = ("p50_ms", "p95_ms", "p99_ms")
    lines = [
        (what, of["asked_per_second"], spread(of["per_second"]), *(spread(of[name][one]) for one in times))
        for what, of, name in rows
    ]
    alone = report["bare_embedder_per_second"]
    note = "The embedder takes no time to speak of"
    note += f", but where it is the model: that embeds {alone} texts a second alone." if alone else "."
    return f"{note}\n\n{table(('', 'due a second', 'done a second', 'p50 ms', 'p95 ms', 'p99 ms'), lines)}"


def sync(report: Report) -> str:
    """Both halves beside what they stand on."""
    rows = {
        "archiver": ("archiver: a backlog of memories", "bulk upserts of the same documents", "archiver", "upserts"),
        "newer": ("follower: versions of another memoryd", "the same changes, read", "follower", "reader"),
        "edited": ("follower: edits by hand", "the same changes, read", "follower", "reader"),
    }
    lines = []
    for name, (ours, theirs, one, other) in rows.items():
        of = report[name]
        rates = [spread(of[f"{which}_per_second"]) for which in (one, other)]
        floor = spread(of["floor_share"]) if "floor_share" in of else ""
        lines.append((ours, rates[0], theirs, rates[1], spread(of["share"]), floor))
    note = "The floor is what one store takes for the same writes by itself, with nothing else to do, as a share of the raw rate."
    return f"{table(('', 'a second', 'raw', 'a second', 'share', 'floor'), lines)}\n\n{note}"


def recall_latency(report: Report) -> str:
    """A recall beside its own commands."""
    names = {"bare": "a recall without its embedding", "floor": "its commands, sent again"}
    rows = [
        (f"{of['memories']:,}", told, *(of[name][one] for one in ("p50_ms", "p95_ms", "p99_ms")))
        for of in report["sizes"]
        for name, told in names.items()
    ]
    return table(("memories", "", "p50 ms", "p95 ms", "p99 ms"), rows)


def journey(report: Report) -> str:
    """The way of a memory."""
    stored, asked, edited = report["store"], report["recall"], report["edit_in_mongodb_to_event"]
    rows = [
        ("store, clients at once", stored["stores_per_second"], stored["p50_ms"], stored["p99_ms"]),
        ("recall, one client", "", asked["alone"]["p50_ms"], asked["alone"]["p99_ms"]),
        ("recall, clients at once", asked["recalls_per_second"], asked["clients"]["p50_ms"], asked["clients"]["p99_ms"]),
        ("edit in MongoDB → event", "", edited["p50_ms"], edited["p99_ms"]),
    ]
    return table(("", "a second", "p50 ms", "p99 ms"), rows)


def sessions(report: Report) -> str:
    """What grows with a session."""
    names = ("append", "append_step", "set_variable", "window_of_20", "checkpoint")
    rows = [(name.replace("_", " "), report[name]["short_ms"], report[name]["long_ms"], report[name]["ratio"]) for name in names]
    return table(("", "short session ms", "long session ms", "ratio"), rows)


MEM0 = (
    "mem0's Redis store fetches stop words from nltk's site for each question: on a machine that does not reach it, it cannot\n"
    "search, and has no row for that."
)


def peers_speed(report: Report) -> str:
    """Who did what, how fast."""
    doing = {
        "store": "a store", "searchable": "a store, until its meaning is found", "store_many": "a store of 100",
        "recall": "a recall", "recall_hybrid": "a recall by words and meaning",
    }  # fmt: skip
    head = ("", "clients", "who", "a second", "p50 ms", "p99 ms")
    order = {do: number for number, do in enumerate(doing)}
    tables = []
    for embedder, how in (("model", "Everyone embeds, with one model:"), ("free", "Nobody embeds, vectors cost nothing:")):
        done = report["embedders"].get(embedder, {}).get("done", [])
        done = sorted(done, key=lambda one: (order[one["do"]], one["clients"]))
        lines = [
            (doing[one["do"]], one["clients"], one["who"], spread(one["per_second"]), one["p50_ms"], one["p99_ms"]) for one in done
        ]
        tables += [how, table(head, lines)] if lines else []
    why = (
        "Peers are libraries that call Redis from the caller's process, without a daemon in between, an archive, versions or an\n"
        "order of changes. redisvl is the floor of what such a call costs. A peer at its best has a graph that is searched as\n"
        "widely as memoryd's; by default its index is exact, which writes faster. memoryd's recall is by words and by meaning."
    )
    return "\n\n".join([f"{why}\n{MEM0}", *tables])


def peers_recall(report: Report) -> str:
    """Who recalled how fast among how many, and what was found."""
    asked = report["options"]
    parts = [
        f"A user has {asked['each']:,} memories and asks among those; the next question is another user's. Vectors cost nothing,\n"
        "and everyone has the same. Found: of the ten nearest of the user's; of memoryd by a profile that weighs meaning alone,\n"
        f"since its recall ranks by more.\n{MEM0}"
    ]
    for of in report["sizes"]:
        rates: dict[str, list[str]] = {}
        for one in sorted(of["done"], key=lambda one: one["clients"]):
            rates.setdefault(one["who"], []).extend([spread(one["per_second"]), _number(one["p50_ms"]), _number(one["p99_ms"])])
        rows = [(who, *told, of["found"][who], of["filled_seconds"][who]) for who, told in rates.items()]
        head = [part for clients in ("one client", "16 clients") for part in (f"{clients}, a second", "p50 ms", "p99 ms")]
        parts += [f"Among {of['size']:,} memories:", table(("", *head, "found", "filled in, s"), rows)]
    return "\n\n".join(parts)


def scale(report: Report) -> str:
    """Times, bytes and the time of a rebuild, by size."""
    curves = report["curves"]
    rows: list[tuple[str, list[Any]]] = []
    for verb in curves[0]["times"]:
        for name in ("p50_ms", "p99_ms"):
            rows.append((f"`{verb}`, {name.removesuffix('_ms')} ms", [one["times"][verb][name] for one in curves]))
    for name in curves[0]["bytes_per_memory"]:
        rows.append((f"bytes a memory: {name}", [_number(one["bytes_per_memory"][name]) for one in curves]))
    rows.append(("of the ten nearest of all, found by the graph", [one["graph_recall_at_10"] for one in curves]))
    rows.append(("an emptied Redis is whole after, s", [one["filled"]["seconds"] for one in curves]))
    rows.append(("memories filled a second", [one["filled"]["memories_per_second"] for one in curves]))
    found = table(("memories", *(f"{one['size']:,}" for one in curves)), [(what, *values) for what, values in rows])
    return f"{found}\n\nWhat breaks next as it grows on, and what to do then: [capacity](capacity.md)."


def soak(report: Report) -> str:
    """What the processes hold in memory in the second and in the last third."""
    lines = [(name, held["second_third"], held["last_third"]) for name, held in report["megabytes"].items()]
    rates = ("operations a second", *report["per_second"].values())
    count = sum(report["operations"].values())
    head = ("", "second third", "last third")
    return f"{count:,} operations. Resident memory in MB; of Redis what it uses.\n\n" + table(head, [*lines, rates])


def tracing(report: Report) -> str:
    """Throughput and processor time as a share of those without tracing, and the tails."""
    ways = {name: one for name, one in report.items() if isinstance(one, Mapping) and "stores_per_second" in one}
    counted = ("stores_per_second", "recalls_per_second", "store_daemon_ms", "recall_daemon_ms")
    rows = [
        (way, *(_share(one[f"{name}_share"]) for name in counted), one["store_p99_ms"], one["recall_p99_ms"])
        for way, one in ways.items()
    ]
    shares = ("stores a second", "recalls a second", "processor, a store", "processor, a recall")
    lines = table(("as a share of that without", *shares, "p99 ms, a store", "p99 ms, a recall"), rows)
    return "In brackets, here: between what the median lies with 95 %.\n\n" + lines


def rebuild(report: Report) -> str:
    """How soon an emptied Redis is whole."""
    names = {
        "rebuild": "`memoryd sync rebuild`", "verify": "`memoryd sync verify`", "emptied": "sync by itself",
        "emptied_while_agents_store": "sync by itself, while agents store",
    }  # fmt: skip
    told = ("memories_per_second", "seconds", "peak_megabytes")
    rows = [(what, *(report[name][one] for one in told)) for name, what in names.items() if name in report]
    return table(("", "memories a second", "seconds", "peak MB"), rows)


def moves(report: Report) -> str:
    """What moving between tiers takes, and what others notice of it."""
    rates, shares = report["moves a second"], report["moves: of the raw writes of as many"]
    moved = [(f"moved {way}", spread(rates[way]), spread(shares[way])) for way in ("to long", "to short")]
    swept = [
        (name, one.get("seconds", ""), *(one.get("get", one)[part] for part in ("p50_ms", "p99_ms")))
        for name, one in report["sweeps"].items()
    ]
    return "\n\n".join([
        table(("", "memories a second", "of the raw writes"), [*moved, ("the raw writes", spread(rates["raw"]), "")]),
        "A sweep of all memories, and `get` at a fixed rate meanwhile:",
        table(("", "seconds", "get p50 ms", "get p99 ms"), swept),
    ])


def hnsw(report: Report) -> str:
    """The settings of the vector index."""
    names = ("m", "ef_construction", "ef_runtime", "recall", "p50_ms", "p99_ms", "documents_per_second", "megabytes")
    rows = [tuple("exact" if one[name] is None else one[name] for name in names) for one in report["results"]]
    return table(("m", "ef_construction", "ef_runtime", "recall@10", "p50 ms", "p99 ms", "documents a second", "MB"), rows)


def agent_day(report: Report) -> str:
    """A data set lived through."""
    rows = [(name.replace("_", " "), value) for name, value in report["rates"].items()]
    rows += [(f"{name.replace('_', ' ')}, ms", value) for name, value in report["milliseconds_each"].items()]
    return f"{report['sessions']} sessions of {report['turns']} turns.\n\n{table(('', ''), rows)}"


SECTIONS: Mapping[str, tuple[str, Callable[[Report], str]]] = {
    "store": ("A store, beside the atomic step that it stands on", store),
    "visible": ("When a write can be seen", visible),
    "sync": ("Sync, beside what it stands on", sync),
    "peers_speed": ("Side by side with others", peers_speed),
    "peers_recall": ("A recall among many memories, side by side with others", peers_recall),
    "recall_latency": ("A recall, beside its own commands", recall_latency),
    "journey": ("The whole journey, with the embedding model", journey),
    "sessions": ("Sessions as they grow", sessions),
    "tracing": ("What tracing costs", tracing),
    "scale": ("As a store grows", scale),
    "soak": ("A long run", soak),
    "rebuild": ("An emptied Redis is whole again", rebuild),
    "moves": ("Moves between tiers", moves),
    "hnsw": ("The vector index by its settings", hnsw),
    "agent_day": ("Conversations lived through", agent_day),
}


# --- Markdown ---------------------------------------------------------------------------------------------------------
def spread(one: Mapping[str, float]) -> str:
    """The median, and between what the rounds lay."""
    median, low, high = (_number(one[name]) for name in ("median", "low", "high"))
    return median if low == high else f"{median} ({low} – {high})"


def _share(one: Sequence[float]) -> str:
    return spread(dict(zip(("median", "low", "high"), one, strict=True)))


def _number(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Words to the left, numbers to the right."""
    lines = [f"| {' | '.join(head)} |", "| --- |" + " --: |" * (len(head) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(_cell(one) for one in row)} |" for row in rows)])


def _cell(value: Any) -> str:
    return _number(value) if isinstance(value, int | float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    PAGE.write_text(written(reports(parser.parse_args().results)))


if __name__ == "__main__":
    main()
