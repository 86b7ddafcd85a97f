"""A memory's life is told from both stores, to its end; of another project's nothing is."""

from __future__ import annotations

from memoryd.hot.records import Records
from memoryd.lifecycle.biography import Biography, biography
from memoryd.model.scope import Scope
from tests.integration.commands import Commands
from tests.waiting import eventually
from tests.world import World

WORD = "zzquince8d"


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
        await memoryd("why", "mem_" + "0" * 32, exits=3)
