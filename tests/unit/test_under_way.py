"""Batches of changes are applied side by side only where that is the same as one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from memoryd_sync.under_way import Change, UnderWay


class Stores:
    """Applies a batch when it is told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.gates: dict[str, asyncio.Future[None]] = {}

    async def apply(self, changes: Sequence[Change]) -> None:
        """Ends when the gate of the batch's name opens."""
        name = str(changes[0]["name"])
        self.begun.append(name)
        gate = self.gates.setdefault(name, asyncio.get_running_loop().create_future())
        await gate

    async def end(self, name: str, error: Exception | None = None) -> None:
        """Opens the gate, and gives what waits for it its turn."""
        gate = self.gates.setdefault(name, asyncio.get_running_loop().create_future())
        if error:
            gate.set_exception(error)
        else:
            gate.set_result(None)
        await turn()


def batch(name: str, *ids: str, kind: str = "update") -> list[dict[str, Any]]:
    """Changes of so many documents, the last of this kind."""
    kinds = ["update"] * (len(ids) - 1) + [kind]
    return [{"name": name, "operationType": one, "documentKey": {"_id": key}} for key, one in zip(ids, kinds, strict=True)]


async def turn() -> None:
    """Lets everybody do what can be done."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_two_batches_of_different_documents_are_under_way_and_the_place_is_that_of_what_is_applied() -> None:
    stores = Stores()
    under_way = UnderWay(stores.apply, "before")
    await under_way.begin(batch("first", "a", "b"), 1)
    await under_way.begin(batch("second", "c"), 2)
    third = asyncio.create_task(under_way.begin(batch("third", "d"), 3))
    await turn()
    assert (stores.begun, under_way.token) == (["first", "second"], "before")

    await stores.end("second")
    assert (stores.begun, under_way.token) == (["first", "second"], "before"), "what comes before it is not applied yet"
    await stores.end("first")
    await third
    await turn()
    assert (stores.begun, under_way.token) == (["first", "second", "third"], 1)

    await stores.end("third")
    await under_way.done()
    assert under_way.token == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (batch("first", "a", "b"), batch("second", "c", "b")),
        (batch("first", "a"), batch("second", "c", kind="delete")),
        (batch("first", "a", kind="delete"), batch("second", "c")),
    ],
    ids=["the same document", "a deletion comes", "a deletion is under way"],
)
async def test_what_has_to_do_with_what_is_under_way_waits_for_it(first: list[Change], second: list[Change]) -> None:
    stores = Stores()
    under_way = UnderWay(stores.apply, "before")
    await under_way.begin(first, 1)
    waiting = asyncio.create_task(under_way.begin(second, 2))
    await turn()
    assert stores.begun == ["first"]
    await stores.end("first")
    await waiting
    await turn()
    assert (stores.begun, under_way.token) == (["first", "second"], 1)
    await stores.end("second")
    await under_way.done()


async def test_what_fails_holds_the_place_before_it_and_nothing_stays_on_its_way() -> None:
    stores = Stores()
    under_way = UnderWay(stores.apply, "before")
    await under_way.begin(batch("first", "a"), 1)
    await under_way.begin(batch("second", "b"), 2)
    await turn()
    await stores.end("first", ConnectionError("away"))
    with pytest.raises(ConnectionError):
        await under_way.done()
    await under_way.close()
    assert under_way.token == "before"
    assert stores.gates["second"].cancelled()
