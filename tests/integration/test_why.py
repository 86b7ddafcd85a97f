"""A memory's life is told from both stores, to its end; of another project's nothing is."""

from __future__ import annotations

from typing import Any

from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from memoryd.archive.store import Archive
from memoryd.hot.records import Records
from memoryd.lifecycle.biography import Biography, biography
from memoryd.model.scope import Scope
from tests.integration.commands import Commands
from tests.waiting import eventually
from tests.world import World

WORD = "zzquince8d"
NOBODY = "mem_" + "0" * 32


async def test_a_life_is_told_from_its_first_version_to_its_receipt(world: World) -> None:
    """Stored, changed, the source of another one, given up once, forgotten; and never what it says."""
    records = Records(world.redis, world.keys)

    async def life(memory_id: str, project: str = "support") -> Biography | None:
        return await biography(records, world.archive, Scope("acme", project), memory_id)

    async with world.connect() as memory:
        id = (await memory.store(f"Ada likes {WORD}.", type="fact")).id
        await memory.update(id, importance=0.9)
        await memory.store("Ada likes fruit.", type="fact", derived_from=[id])
        await world.drained(memory)
        letter = {"group": "embed", "id": id, "reason": "the model refuses a text"}
        await world.redis.xadd("aether:journal:dead", letter)  # type: ignore[arg-type]
        alive = await life(id)
        assert alive is not None
        assert [(one.version, one.op, one.tier, one.agent) for one in alive.chapters] == [
            (1, "stored", "short", "scout"), (2, "updated", "short", "scout"),
        ]  # fmt: skip
        assert (alive.state, alive.tier, alive.pending, alive.derived) == ("hot", "short", False, 1)
        assert alive.given_up == ["embed: the model refuses a text"]
        assert await life(id, "another") is None

        await memory.forget(id, durability="archived")
        await world.drained(memory)
        await eventually(lambda: world.archive.database["receipts"].count_documents({}), what="its receipt is in MongoDB")
        gone = await life(id)
        assert gone is not None
        assert gone.state == "forgotten"
        assert [(one.version, one.op) for one in gone.chapters] == [(3, "forgotten")]
        assert (gone.chapters[0].recorded_at is None, len(gone.receipts)) == (False, 1)
        memoryd = Commands(world.settings)
        said = await memoryd("why", id)
        assert "forgotten" in said.out
        assert WORD not in said.out + str(alive) + str(gone)
        await memoryd("why", NOBODY, exits=3)


class Asked(CommandListener):
    """Notes what MongoDB is asked, to have it explained."""

    def __init__(self) -> None:
        self.queries: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name in ("find", "aggregate"):
            self.queries.append({name: value for name, value in event.command.items() if name[0] not in "$l" or name == "limit"})

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """What came of it is not looked at."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Nor is this."""


async def test_a_life_is_found_by_indexes_however_much_there_is(world: World) -> None:
    """Of millions of versions and receipts a command at a terminal must not read all."""
    asked = Asked()
    async with world.connect() as memory:  # of an empty collection every index is as good
        await memory.store_many([{"content": f"Ada owns kite {number}.", "type": "fact"} for number in range(60)])
        for number in range(3):
            await memory.forget_many(words=f"kite {number}")
        await world.drained(memory)
    receipts = world.archive.database["receipts"]
    await eventually(lambda: receipts.count_documents({"seq": 3}), what="the receipts are in MongoDB")
    async with AsyncMongoClient[dict[str, Any]](world.settings.mongo_url, event_listeners=[asked]) as client:
        archive = Archive(client[world.settings.mongo_database])
        await biography(Records(world.redis, world.keys), archive, Scope("acme", "support"), NOBODY)
    assert {one.get("find") or one.get("aggregate") for one in asked.queries} == {"versions", "memories", "receipts"}
    assert len(asked.queries) == 4
    for query in asked.queries:
        explained = await world.archive.database.command({"explain": query, "verbosity": "queryPlanner"})
        assert NOBODY in str(bounds(explained)), f"what it reads is not bounded by the memory: {query}"


def bounds(plan: Any) -> list[Any]:
    """What the winning plan reads of its indexes."""
    if isinstance(plan, list):
        return [one for part in plan for one in bounds(part)]
    if not isinstance(plan, dict):
        return []
    own = [plan["indexBounds"]] if "indexBounds" in plan else []
    return own + [one for name, part in plan.items() if name != "rejectedPlans" for one in bounds(part)]
