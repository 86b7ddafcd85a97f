"""A memory always recalls itself first by its own full text: in every tier, in every script, with a model and without."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import pytest

from memoryd import MemoryClient
from memoryd.lifecycle.moving import Mover
from memoryd.model.memory import Memory
from memoryd.model.results import Stored
from tests.integration.test_tiers import records_of
from tests.integration.tools import caught_up
from tests.world import World

SCRIPTS = [
    "Ada paints lighthouses on Sundays.", "Ада рисует маяки по воскресеньям.", "Η Άντα ζωγραφίζει φάρους τις Κυριακές.",
    "आडा रविवार को लाइटहाउस बनाती है।", "アダは日曜日に灯台を描きます。", "艾达星期天画灯塔。", "에이다는 일요일에 등대를 그린다.",
    "เอดาวาดประภาคารในวันอาทิตย์", "ترسم آدا المنارات أيام الأحد.", "עדה מציירת מגדלורים בימי ראשון.",
    "ადა კვირაობით შუქურებს ხატავს.",
    "Ադան կիրակի օրերին փարոսներ է նկարում։", "አዳ እሁድ የመብራት ቤቶችን ትሳላለች።", "অ্যাডা রবিবারে বাতিঘর আঁকে।",
    "அடா ஞாயிறு கலங்கரை விளக்கம் வரைகிறாள்.",
    "Ada dessine l'été des phares à Saint-Malo.", "Ада", "the of and", "🎨🌅", "!?",
]  # fmt: skip

LETTERS = {  # first and last, and how words are divided
    "Latin": ("az", " "), "Cyrillic": ("ая", " "), "Greek": ("αω", " "), "Hebrew": ("את", " "), "Arabic": ("بي", " "),
    "Devanagari": ("कह", " "), "Bengali": ("কহ", " "), "Tamil": ("கஹ", " "), "Thai": ("กฮ", ""), "Georgian": ("აჰ", " "),
    "Armenian": ("աֆ", " "), "Ethiopic": ("ሀፐ", " "), "Hangul": ("가힣", " "), "Hiragana": ("あん", ""), "Han": ("一龥", ""),
}  # fmt: skip
EACH = 4  # generated texts of a script


def generated(chance: random.Random) -> list[str]:
    """Texts of every script, some with a few words, some with many; words come again in other texts."""
    texts = []
    for ends, between in LETTERS.values():
        letters = [char for char in map(chr, range(ord(ends[0]), ord(ends[1]) + 1)) if char.isalpha()]
        words = ["".join(chance.choices(letters, k=chance.randint(1, 9))) for _ in range(12)]
        texts += [between.join(chance.choices(words, k=chance.randint(2, 30))) for _ in range(EACH)]
    return texts


async def kept_of(memory: MemoryClient, texts: Sequence[str]) -> dict[str, str]:
    """The text of each memory, by id; some in sessions, some in none, and neighbours of all scripts."""
    items = [
        {"content": one, "type": "episodic", "session": f"s{at % 4}" if at % 5 else None}
        for at, one in enumerate(dict.fromkeys(texts))
    ]
    done = [one for one in await memory.store_many(items) if isinstance(one, Stored)]
    return {one.id: str(item["content"]) for one, item in zip(done, items, strict=True)}


async def find_themselves(memory: MemoryClient, kept: dict[str, str], *, deep: bool = False) -> None:
    for memory_id, text in kept.items():
        hits = (await memory.recall(text, limit=1, deep=deep)).hits
        assert hits, text
        assert (hits[0].memory.id, hits[0].memory.content) == (memory_id, text)
        assert "quote" in hits[0].found_by


@pytest.fixture
def texts() -> list[str]:
    """Written and generated ones; MEMORYD_TEST_SEED=… generates others."""
    seed = int(os.environ.get("MEMORYD_TEST_SEED", "7"))
    written = SCRIPTS + [one[: len(one) // 2] + one for one in SCRIPTS] + [f"{one} {one}" for one in SCRIPTS]
    return written + generated(random.Random(seed))


async def test_by_its_words_alone(world: World, texts: list[str]) -> None:
    """Before it has its vector, among others that share some of its words."""
    world.embedder.away = True
    async with world.connect() as memory:
        await find_themselves(memory, await kept_of(memory, texts))


async def test_in_every_tier(world: World, memory: MemoryClient, texts: list[str]) -> None:
    """Whole in Redis, then without its text there, then in the archive alone."""
    kept = await kept_of(memory, texts)
    await caught_up(world, memory)
    await find_themselves(memory, kept)

    records = records_of(world)
    mover = Mover(records, world.archive, model=world.embedder.model)

    async def here() -> list[Memory]:
        return list((await records.get_many(memory.scope, list(kept))).values())

    moved, light = await mover.to_long(await here())
    assert (moved, light) == (set(kept), len(kept))
    await find_themselves(memory, kept)

    await caught_up(world, memory)
    whole = list((await world.archive.living(list(kept))).values())
    assert await mover.archive(whole) == len(kept)
    await find_themselves(memory, kept, deep=True)
