"""When it was: times that the question names, against the time at which a memory was true.

"What did Ada paint in July 2023?" has two conditions, and no text says the second one: a turn says "yesterday". After the
temporal expressions of Berberich et al., "A Language Modeling Approach for Temporal Information Needs" (ECIR 2010), as far
as a date, a month, a year, or a time that counts from now go. English only; a question in another language names none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np

from memoryd.clock import to_microseconds
from memoryd.recall.bm25 import Values
from memoryd.recall.pool import Pool

Period = tuple[int, int]
"""From (inclusive) and until (exclusive), in microseconds since 1970."""

TOLD_AFTER_SECONDS = 7 * 24 * 3600.0  # what happened is told later: after a week half as likely
YEARS = 5  # back, for a month without a year

_MONTHS = {name: number for number, names in enumerate(
    ("january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug",
     "september sept sep", "october oct", "november nov", "december dec"), 1) for name in names.split()}  # fmt: skip
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DATES = re.compile(
    r"(?P<at>\b(?:in|during|since|until|before|after|by|from|of|last|this|early|late|mid)[\s-]+)?"
    rf"\b(?:(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:\s+of)?\s+)?(?P<month>{_MONTH})\b\.?(?:\s+(?P<after>\d{{1,2}})(?:st|nd|rd|th)?\b)?"
    r"(?:,?\s+(?P<year>(?:19|20)\d\d)\b)?|\b(?P<iso>(?:19|20)\d\d-\d\d-\d\d)\b|\b(?P<only>(?:19|20)\d\d)\b",
    re.IGNORECASE,
)
_AGO = re.compile(r"\b(\d{1,3}|an?|one|two|three|few)\s+(day|week|month|year)s?\s+ago\b", re.IGNORECASE)
_NAMED = re.compile(r"\b(today|yesterday|(?:last|this|past)\s+(?:week|month|year|weekend))\b", re.IGNORECASE)
_DAYS = {"day": 1, "week": 7, "weekend": 7, "month": 30, "year": 365}
_COUNTS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "few": 3}


def periods(question: str, now: datetime) -> list[Period]:
    """The times that a question names: dates, months and years, and times that count from now. English only."""
    return [*_dates(question, now), *_relative(question, now)]


def _dates(question: str, now: datetime) -> Iterator[Period]:
    for found in _DATES.finditer(question):
        if found["only"]:
            yield _days(date(int(found["only"]), 1, 1), 366)
        elif found["iso"]:
            yield from _day(*map(int, found["iso"].split("-")))
        elif found["at"] or found["day"] or found["after"] or found["year"]:  # or it is a verb, or somebody's name
            month, day = _MONTHS[found["month"].lower()], found["day"] or found["after"]
            years = [int(found["year"])] if found["year"] else range(now.year - YEARS, now.year + 1)
            for year in years:
                yield from _day(year, month, int(day)) if day else [_days(date(year, month, 1), 31)]


def _day(year: int, month: int, day: int) -> Iterator[Period]:
    try:
        yield _days(date(year, month, day), 1)
    except ValueError:  # the 31st of June
        return


def _relative(question: str, now: datetime) -> Iterator[Period]:
    today = now.astimezone(UTC).date()
    for found in _AGO.finditer(question):
        count, days = found[1].lower(), _DAYS[found[2].lower()]
        length = days * (_COUNTS[count] if count in _COUNTS else int(count))
        yield _days(today - timedelta(days=min(length, 3650) + days // 2), max(1, days))
    for found in _NAMED.finditer(question):
        which, _, unit = found[1].lower().partition(" ")
        if not unit:
            yield _days(today - timedelta(days=which == "yesterday"), 1)
        else:
            yield _days(today - timedelta(days=_DAYS[unit.strip()] * (2 if which == "last" else 1) - 1), _DAYS[unit.strip()] * 2)


def _days(first: date, count: int) -> Period:
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
    return to_microseconds(begin), to_microseconds(begin + timedelta(days=count))


def when(pool: Pool, named: Sequence[Period]) -> Values | None:
    """1 for what was at a time that the question names, less and less for what was told after it, 0 for what was before it;
    None when it names none."""
    if not named:
        return None
    moments = pool.layout.valid_from.astype(float)
    values = np.zeros(len(pool))
    for begin, end in named:
        late = np.maximum(0.0, moments - end) / 1e6
        values = np.maximum(values, np.where(moments < begin, 0.0, 0.5 ** (late / TOLD_AFTER_SECONDS)))
    return values
