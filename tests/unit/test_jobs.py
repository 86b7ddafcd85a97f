"""When a job is due: each of its times once, and once for all that were missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memoryd.config import load_settings
from memoryd.errors import ConfigError
from memoryd.model.job import TIMES, At, Every, due_after, time_of, when_of

moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
times = st.builds(At, st.integers(0, 23), st.integers(0, 59), st.none() | st.integers(0, 6))


def at(text: str) -> datetime:
    """A moment of November 2026."""
    return datetime.fromisoformat(f"2026-11-{text}:00+00:00")


@pytest.mark.parametrize(
    ("when", "moment", "due"),
    [
        ("daily 03:00", "26T02:59", "26T03:00"),
        ("daily 03:00", "26T03:00", "27T03:00"),
        ("daily 03:00", "26T16:00", "27T03:00"),
        ("sun 04:00", "26T16:00", "29T04:00"),
        ("sun 04:00", "29T03:59", "29T04:00"),
        ("sun 04:00", "22T04:00", "29T04:00"),
        ("thu 04:05", "26T04:04", "26T04:05"),
        ("every 600 s", "26T04:04", "26T04:14"),
    ],
)
def test_a_job_is_due_at_its_next_time(when: str, moment: str, due: str) -> None:
    """26 November 2026 is a Thursday."""
    assert due_after(when, at(moment)) == at(due)


@given(times, moments)
def test_the_next_time_comes_and_comes_within_its_period(when: At, moment: datetime) -> None:
    """So that after any downtime it is due once, and never twice for one time."""
    due = when.after(moment)
    period = timedelta(days=1 if when.weekday is None else 7)
    assert moment < due <= moment + period
    assert when.after(due) == due + period
    assert when.after(due - timedelta(microseconds=1)) == due
    assert when_of(str(when)) == when
    assert due_after(str(when), moment) == due


def test_times_are_checked_when_they_are_read() -> None:
    """A wrong one ends the start with its name."""
    assert load_settings().jobs == {}
    given = load_settings(jobs={"retention": "daily 23:59", "verify": "off"}).jobs
    assert (time_of("retention", given), time_of("verify", given)) == (At(23, 59), None)
    assert [str(time_of(job, {})) for job in TIMES] == list(TIMES.values())
    assert due_after("off", at("26T00:00")) is None
    assert str(Every(0.5)) == "every 0.5 s"
    for wrong in ({"retention": "03:00"}, {"retention": "daily 24:00"}, {"verify": "Sun 03:00"}, {"tiers": "off"}, {"tidy": "off"}):
        with pytest.raises(ConfigError, match="MEMORYD_JOBS"):
            load_settings(jobs=wrong)
