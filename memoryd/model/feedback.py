"""Feedback: whether a recalled memory was of use, and what that says of it the next time.

A recall judges a memory at most once: useful, useless, or not at all. What has been said fades (half in thirty days), so
that a memory can become useful again, and so that of two memories the one that is of use now comes first.
"""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

from memoryd.clock import from_microseconds, to_microseconds
from memoryd.errors import BadRequest
from memoryd.limits import FEEDBACK_HALF_LIFE_SECONDS

RECALL_PATTERN = re.compile(r"\d{1,14}-\d{1,20}")
FLOOR = -0.5  # however often a memory was useless: it comes later then, and its own words still find it
USED = 0.1  # of a verdict: that a memory was put before a model says little, and says it often


class Feedback(msgspec.Struct, frozen=True):
    """What was said of a memory, as much as was left of it at `at`; `count` counts the changes."""

    count: int
    useful: float
    useless: float
    at: datetime

    def prior(self, now: int) -> float:
        """From FLOOR to 1, 0 for nothing: twice the mean of Beta(1 + useful, 1 + useless), less 1."""
        age = max(0, now - to_microseconds(self.at)) / 1e6
        left: float = 0.5 ** (age / FEEDBACK_HALF_LIFE_SECONDS)
        useful, useless = self.useful * left, self.useless * left
        return max(FLOOR, (useful - useless) / (useful + useless + 2))


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What a feedback has changed."""

    judged: int
    """Memories whose prior is another now."""
    unchanged: int = 0
    """Memories of which this recall had said the same before, or nothing that could be taken back."""
    gone: list[str] = []
    """Those that there are no more, or that another agent has only shared: it alone judges them."""


def to_text(feedback: Feedback) -> str:
    """As a record's field holds it."""
    parts = (feedback.count, f"{feedback.useful:.6f}", f"{feedback.useless:.6f}", to_microseconds(feedback.at))
    return " ".join(map(str, parts))


def from_text(text: str) -> Feedback | None:
    """The feedback behind a record's field; None when nothing was said."""
    if not text:
        return None
    count, useful, useless, at = text.split()
    return Feedback(int(count), float(useful), float(useless), from_microseconds(int(at)))


def check_recall_id(recall_id: str) -> str:
    """`recall_id`, if it has the form of one. Raises BadRequest."""
    if not RECALL_PATTERN.fullmatch(recall_id):
        raise BadRequest("recall_id: is not what a recall has given", field="recall_id")
    return recall_id
