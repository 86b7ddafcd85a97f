"""A circuit breaker: a server that is away is not asked again by everyone, so that requests fail fast, never hang."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import measure

FAILURES_MAX = 5  # in a row; fewer may be one lost connection
OPEN_SECONDS = 2.0  # then one request tries; as long as a client waits for a server that does not answer


class State(StrEnum):
    """closed: everyone asks; open: nobody does; half open: one asks for all."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


_OPEN = {State.CLOSED: 0.0, State.HALF_OPEN: 0.5, State.OPEN: 1.0}


class Breaker:
    """Counts the failures of one server in a row. `failures` are the exceptions that mean that `store` is away."""

    def __init__(
        self, *failures: type[Exception], store: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._failures = failures
        self._monotonic = monotonic
        self._in_a_row = 0
        self._probes_at = 0.0
        self._probing = False

    @property
    def state(self) -> State:
        """As it is now."""
        if self._in_a_row < FAILURES_MAX:
            return State.CLOSED
        return State.OPEN if self._probing or self._monotonic() < self._probes_at else State.HALF_OPEN

    @contextmanager
    def guard(self, refusal: Callable[[], Exception]) -> Iterator[None]:
        """Lets the block ask the server, or raises `refusal()` at once while the circuit is open."""
        if self.state is State.OPEN:
            self.tell()
            raise refusal()
        self._probing = self.state is State.HALF_OPEN
        try:
            yield
        except self._failures:
            self._in_a_row += 1
            self._probes_at = self._monotonic() + OPEN_SECONDS
            raise
        else:
            self._in_a_row = 0
        finally:
            self._probing = False
            self.tell()

    def tell(self) -> None:
        """Tells the metrics its state: also now and then, because an open one closes by time while nobody asks."""
        measure(telemetry.CIRCUIT_OPEN, _OPEN[self.state], {telemetry.STORE: self._store})
