"""A server that is away is asked by one request at a time, not by everyone."""

from __future__ import annotations

import pytest

from memoryd.breaker import FAILURES_MAX, OPEN_SECONDS, Breaker, State


class Away(Exception):
    """The server does not answer."""


class Refused(Exception):
    """The breaker does not ask."""


class Watch:
    """A monotonic clock that is told the time."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def breaker(watch: Watch) -> Breaker:
    return Breaker(Away, store="archive", monotonic=watch)


def fail(breaker: Breaker, times: int = FAILURES_MAX) -> None:
    for _ in range(times):
        with pytest.raises(Away), breaker.guard(Refused):
            raise Away


def test_a_few_failures_change_nothing(breaker: Breaker) -> None:
    fail(breaker, FAILURES_MAX - 1)
    with breaker.guard(Refused):
        pass
    fail(breaker, FAILURES_MAX - 1)
    assert breaker.state is State.CLOSED


def test_it_opens_after_failures_in_a_row_and_refuses_at_once(breaker: Breaker) -> None:
    fail(breaker)
    assert breaker.state is State.OPEN
    with pytest.raises(Refused), breaker.guard(Refused):
        raise AssertionError("the server must not be asked")


def test_after_a_while_one_request_tries_and_the_others_wait(breaker: Breaker, watch: Watch) -> None:
    fail(breaker)
    watch.seconds += OPEN_SECONDS
    states = [breaker.state]
    with breaker.guard(Refused):
        states.append(breaker.state)
        with pytest.raises(Refused), breaker.guard(Refused):
            raise AssertionError("only one probes")
    assert [*states, breaker.state] == [State.HALF_OPEN, State.OPEN, State.CLOSED]


def test_a_failed_try_opens_it_again(breaker: Breaker, watch: Watch) -> None:
    fail(breaker)
    watch.seconds += OPEN_SECONDS
    fail(breaker, 1)
    assert breaker.state is State.OPEN


def test_other_errors_are_the_servers_answers(breaker: Breaker) -> None:
    for _ in range(FAILURES_MAX + 1):
        with pytest.raises(ValueError, match="an answer"), breaker.guard(Refused):
            raise ValueError("an answer")
    assert breaker.state is State.CLOSED


def test_its_metric_does_not_stay_at_open_when_nobody_asks_any_more(
    breaker: Breaker, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alert would go on for ever on a quiet evening."""
    told: list[float] = []
    monkeypatch.setattr("memoryd.breaker.measure", lambda _metric, value, _attributes: told.append(value))
    fail(breaker)
    watch.seconds = OPEN_SECONDS + 1
    breaker.tell()
    assert told[-2:] == [1.0, 0.5]
