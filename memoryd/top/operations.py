"""Rates and latencies by verb, from the time series that daemons keep where MEMORYD_METRICS says so."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from memoryd.hot.client import hot_errors
from memoryd.limits import TOP_LISTED_MAX
from memoryd.metrics.series import RAW, no_such_command
from memoryd.top.frame import Operation
from memoryd_telemetry import names as telemetry

WINDOW_SECONDS = 60
KEPT = (f"metric={telemetry.OPERATION_DURATION.name}", f"kept={RAW}")

Values = Mapping[int, float]
"""By the beginning of their period."""


async def operations(redis: Redis) -> list[Operation] | None:
    """The most frequent verbs of the last minute; None when no series is kept. Raises HotUnavailable."""
    client: Any = redis
    since = int((time.time() - WINDOW_SECONDS) * 1000)
    labels = ("verb", "outcome", "shows")
    with hot_errors("read the time series"):
        try:
            rows = await client.execute_command("TS.MRANGE", since, "+", "SELECTED_LABELS", len(labels), *labels, "FILTER", *KEPT)
            if not rows and not await client.execute_command("TS.QUERYINDEX", *KEPT):
                return None
        except ResponseError as error:
            if not no_such_command(error):
                raise
            return None
    found = [_operation(verb, outcomes) for verb, outcomes in _by_verb(rows.values()).items()]
    return sorted(found, key=lambda one: -one.per_second)[:TOP_LISTED_MAX]


def _by_verb(rows: Iterable[Any]) -> Mapping[str, Mapping[str, Mapping[str, Values]]]:
    """What each series shows, by verb and outcome; of those only that say something."""
    found: dict[str, dict[str, dict[str, Values]]] = defaultdict(lambda: defaultdict(dict))
    for labels, *_, values in rows:
        if values:
            verb, outcome, shows = (labels[name].decode() for name in (b"verb", b"outcome", b"shows"))
            found[verb][outcome][shows] = {int(at): float(value) for at, value in values}
    return found


def _operation(verb: str, outcomes: Mapping[str, Mapping[str, Values]]) -> Operation:
    counts = {outcome: sum(shown["count"].values()) for outcome, shown in outcomes.items()}
    total = sum(counts.values())
    typical = sum(shown["p50"][at] * count for shown in outcomes.values() for at, count in shown["count"].items()) / total
    worst = {name: max(max(shown[name].values()) for shown in outcomes.values()) for name in ("p95", "p99")}
    return Operation(
        verb,
        per_second=round(total / WINDOW_SECONDS, 3),
        failed_per_second=round((total - counts.get(telemetry.OK, 0)) / WINDOW_SECONDS, 3),
        p50_ms=round(1000 * typical, 2), p95_ms=round(1000 * worst["p95"], 2), p99_ms=round(1000 * worst["p99"], 2),
    )  # fmt: skip
