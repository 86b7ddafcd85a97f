"""What a period has brought is the difference of two looks; a percentile is as near as the buckets tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from memoryd.metrics.periods import Measured, Periods, quantile
from memoryd_telemetry.names import MOVED_FROM, OPERATION_COUNT, OPERATION_DURATION, SCOPE, SECONDS, TIER_MOVES, VERB
from memoryd_telemetry.readings import KeptMetrics


def test_each_sink_is_given_what_its_own_periods_have_brought() -> None:
    """A counter to which nothing has happened says nothing, a gauge says its level again; a library's metrics are not ours."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter(SCOPE)
    counter, gauge = meter.create_counter(OPERATION_COUNT.name), meter.create_gauge("memoryd.embed.queue")
    histogram = meter.create_histogram(OPERATION_DURATION.name, explicit_bucket_boundaries_advisory=SECONDS)
    moves, foreign = meter.create_counter(TIER_MOVES.name), provider.get_meter("a library").create_counter("calls")
    often, seldom = Periods(KeptMetrics(reader)), Periods(KeptMetrics(reader))

    counter.add(3, {VERB: "get"})
    histogram.record(0.004, {VERB: "get"})
    moves.add(1, {MOVED_FROM: "short"})
    foreign.add(1)
    gauge.set(7)
    first = {one.metric: one for one in often.next()}
    assert set(first) == {OPERATION_COUNT.name, OPERATION_DURATION.name, TIER_MOVES.name, "memoryd.embed.queue"}
    assert first[OPERATION_COUNT.name] == Measured(OPERATION_COUNT.name, {"verb": "get"}, {"increase": 3})
    assert first[TIER_MOVES.name].labels == {"moved_from": "short"}
    took = first[OPERATION_DURATION.name].values
    assert took["count"] == 1
    assert took["sum"] == pytest.approx(0.004)
    assert 0.0025 <= took["p50"] <= took["p99"] <= 0.005

    gauge.set(8)
    assert often.next() == [Measured("memoryd.embed.queue", {}, {"level": 8})]
    counter.add(2, {VERB: "get"})
    histogram.record(2, {VERB: "get"})
    gauge.set(8)
    later = {one.metric: one.values for one in often.next()}
    assert later[OPERATION_COUNT.name] == {"increase": 2}
    assert later[OPERATION_DURATION.name]["count"] == 1
    assert 1 <= later[OPERATION_DURATION.name]["p50"] <= 2.5, "what came before is not in it"
    assert {one.metric: one.values for one in seldom.next()}[OPERATION_COUNT.name] == {"increase": 5}
    provider.shutdown()


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any), st.floats(0.01, 1))
def test_a_percentile_lies_in_the_bucket_that_holds_it(counts: list[int], share: float) -> None:
    """And is the last bound where that bucket has no end."""
    bounds = (1.0, 2.0, 4.0)
    values = sorted(value for value, count in zip((0.5, 1.5, 3.0, 9.0), counts, strict=True) for _ in range(count))
    rank = share * len(values)
    true = values[min(len(values) - 1, max(0, int(rank) if rank % 1 else int(rank) - 1))]
    found = quantile(share, counts, bounds)
    low, high = {0.5: (0, 1), 1.5: (1, 2), 3.0: (2, 4), 9.0: (4, 4)}[true]
    assert low <= found <= high


def test_half_of_what_is_spread_evenly_is_in_the_middle() -> None:
    """Within a bucket."""
    assert quantile(0.5, [0, 10, 0, 0], (1.0, 2.0, 4.0)) == 1.5
