"""What the metrics learn from a verb's answer: tiers, counts and sizes, nothing of what it says."""

from __future__ import annotations

from collections import Counter
from typing import Any

from memoryd.model.memory import Memory
from memoryd.model.results import Recalled
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import count_tokens, measure


def measure_answer(op: str, result: Any) -> None:
    """Counts what a verb gave."""
    match result:
        case Recalled():
            found = "found" if result.hits else "nothing"
            measure(telemetry.RECALLS, 1, {telemetry.OUTCOME: "degraded" if result.degraded or result.partial else found})
            memories = [hit.memory for hit in result.hits]
            for tier, count in Counter(str(one.tier) for one in memories).items():
                measure(telemetry.RECALLED, count, {telemetry.TIER: tier})
            count_tokens(op, sum(len(one.content) for one in memories))
        case Memory() if op == "get":
            measure(telemetry.READS, 1, {telemetry.TIER: str(result.tier)})
