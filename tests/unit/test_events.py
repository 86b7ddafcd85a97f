"""Places: text that comes back as what it was, and what counts as seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memoryd.errors import BadRequest
from memoryd.limits import PLACE_BYTES_MAX
from memoryd.model.events import Hint, Place

longest = 2**64 - 1
entries = st.tuples(st.integers(0, longest), st.integers(0, longest))
buckets = st.integers(0, 255).map("{:02x}".format)
places = st.builds(
    Place, st.integers(0, 2**48 - 1).map("{:012x}".format), st.integers(0, longest), st.dictionaries(buckets, entries)
)


def hint(at: str) -> Hint:
    return Hint(v=1, op="stored", id="mem_" + "0" * 32, type="fact", session="", version=1, entry="", at=at)


@given(places)
def test_a_place_comes_back_as_it_was(place: Place) -> None:
    assert Place.parse(str(place)) == place


@given(st.text())
def test_other_text_is_no_place(text: str) -> None:
    with pytest.raises(BadRequest):
        Place.parse(text)


def test_the_longest_place_is_within_the_limit() -> None:
    """256 buckets, each with the longest id of a stream."""
    place = Place("f" * 12, longest, {f"{bucket:02x}": (longest, longest) for bucket in range(256)})
    assert len(str(place)) <= PLACE_BYTES_MAX


@given(places, buckets, entries)
def test_an_event_is_seen_once_the_place_is_behind_it(place: Place, bucket: str, entry: tuple[int, int]) -> None:
    """And so are all before it in its bucket, and no others."""
    event = hint(f"{bucket}-{entry[0]}-{entry[1]}")
    assert place.holds(event) == (place.seen.get(bucket, (0, 0)) >= entry)
    behind = place.behind(event)
    assert behind.holds(event)
    assert {key: seen for key, seen in behind.seen.items() if key != bucket} == {
        key: seen for key, seen in place.seen.items() if key != bucket
    }
