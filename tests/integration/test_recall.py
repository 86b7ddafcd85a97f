"""Recall through the daemon: what it finds, by what, and that strangers, limits and order have no part in it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.clock import SystemClock
from memoryd.embed.cache import EmbeddingCache
from memoryd.errors import BadRequest
from memoryd.hot.client import open_redis
from memoryd.hot.connection import Quick
from memoryd.hot.records import Records
from memoryd.hot.search import Search
from memoryd.model.question import Question
from memoryd.model.results import Recalled, Stored
from memoryd.model.scope import Scope
from memoryd.recalling import Recalling
from tests.world import World

TALK = [
    ("Ben", "What did you paint?"), ("Ada", "A sunset, last Friday!"), ("Ben", "Nice. And how was the race?"),
    ("Ada", "I ran it in an hour."), ("Ben", "That is fast."), ("Ada", "The rain helped."), ("Ben", "See you at the lake."),
]  # fmt: skip


@pytest.fixture
async def talk(world: World, memory: MemoryClient) -> list[str]:
    """A conversation in a session, embedded; the ids of its turns."""
    said = [
        {"content": f"{who}: {text}", "type": "episodic", "session": "monday", "metadata": {"speaker": who}}
        for who, text in TALK
    ]
    kept = [one.id for one in await memory.store_many(said) if isinstance(one, Stored)]
    await world.drained(memory)
    return kept


async def test_an_answer_is_found_by_what_was_asked_before_it(world: World, memory: MemoryClient) -> None:
    """It has none of the question's words; who is named says it, and the turn before it has them."""
    said = [{"content": text, "type": "episodic", "session": "monday", "metadata": {"speaker": who}} for who, text in TALK]
    kept = [one.id for one in await memory.store_many(said) if isinstance(one, Stored)]
    await world.drained(memory)
    world.embedder.away = True  # it knows no meaning, only noise
    found = await memory.recall("What did Ada paint?", limit=len(TALK))
    answer = next(hit for hit in found if hit.memory.id == kept[1])

    assert found.profile == "conversation"
    assert answer.found_by == []
    assert answer.why["speaker"].value == 1
    assert answer.why["neighbours"].contribution == max(hit.why["neighbours"].contribution for hit in found) > 0
    assert answer.score == pytest.approx(sum(part.contribution for part in answer.why.values()), abs=1e-5)


async def test_the_best_are_the_same_whatever_the_limit_and_whenever_asked(memory: MemoryClient, talk: list[str]) -> None:
    """A page is a beginning of the next larger one."""
    whole = shown(await memory.recall("Who ran in the rain?", limit=200))

    assert len(whole) == len(talk)
    for limit in (1, 3, 5, 200):
        assert shown(await memory.recall("Who ran in the rain?", limit=limit)) == whole[:limit]


async def test_strangers_move_no_score(world: World, memory: MemoryClient, talk: list[str]) -> None:
    """The same words a thousand times in other projects: rarity is of the scope, and so a score tells nothing of them."""
    questions = ["What did Ada paint?", "Who ran in the rain?", "lake"]
    before = [(await memory.recall(one, limit=200)).hits for one in questions]
    chance, words = random.Random(3), " ".join(text for _, text in TALK).split()
    async with world.connect(project="strangers") as strangers:
        for _ in range(4):
            noise = [{"content": " ".join(chance.choices(words, k=9)), "type": "episodic"} for _ in range(250)]
            await strangers.store_many(noise)
        await world.drained(strangers)

    assert [(await memory.recall(one, limit=200)).hits for one in questions] == before


async def test_a_rare_word_is_found_among_more_memories_than_one_search_brings(world: World) -> None:
    """The oldest of a thousand that share the question's other word."""
    world.embedder.away = True
    async with world.connect() as memory:
        rare = await memory.store("Ada keeps a walnut.", type="episodic")
        for part in range(4):
            await memory.store_many([{"content": f"Ada says {part} {n}.", "type": "episodic"} for n in range(250)])

        assert (await memory.recall("Ada's walnut")).hits[0].memory.id == rare.id


async def test_new_words_find_a_memory_and_its_old_ones_do_not(world: World) -> None:
    """Words and speaker follow an update; nothing else has to be found again."""
    world.embedder.away = True
    async with world.connect() as memory:
        kept = await memory.store("Sunsets, always.", type="episodic", metadata={"speaker": "Ada"})
        await memory.store("Sometimes trains.", type="episodic")
        await memory.update(kept.id, content="Lighthouses, always.", metadata={"speaker": "Eve"})

        assert not (await memory.recall("sunsets")).hits
        [hit] = (await memory.recall("What did Eve say of a lighthouse?")).hits
        assert (hit.memory.id, hit.why["speaker"].value) == (kept.id, 1)


async def test_profiles_weigh_by_the_kind_of_question(memory: MemoryClient, talk: list[str]) -> None:
    """Facts stand for themselves; `recent` has its formula; a profile that there is not is refused."""
    await memory.store("Ada paints.", type="fact", importance=1)
    facts = await memory.recall("Ada", types=["fact"])
    recent = await memory.recall("Ada", profile="recent")

    assert (facts.profile, set(facts.hits[0].why) - {"meaning"}) == ("facts", {"words", "importance", "recency"})
    assert recent.hits[0].why["recency"].value == pytest.approx(1, abs=0.01)
    with pytest.raises(BadRequest, match="profile"):
        await memory.recall("Ada", profile="nobody")


async def test_a_recall_takes_three_round_trips_whatever_it_finds(
    world: World, talk: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words, meaning, memories; the question's vector is at hand here. Facts and events together cost no more."""
    sent = 0
    send = Quick.send_packed_command

    async def counting(self: Any, *args: Any, **details: Any) -> Any:
        nonlocal sent
        sent += self.client_name == "counted"
        return await send(self, *args, **details)

    async with world.connect() as memory:
        await memory.store_many([{"content": f"Ada knows fact {count}.", "type": "fact"} for count in range(50)])
        await world.drained(memory)
    monkeypatch.setattr(Quick, "send_packed_command", counting)
    separator = "&" if "?" in world.settings.redis_url else "?"
    async with open_redis(f"{world.settings.redis_url}{separator}client_name=counted") as redis:
        search = Search(redis, ef_runtime=100)
        recalling = Recalling(
            Records(redis, world.keys), search, EmbeddingCache(world.redis, world.embedder), clock=SystemClock()
        )
        await recalling.recall(Scope("nobody", "here", ""), Question(query="Ada"))
        sent = 0
        await recalling.recall(memory.scope, Question(query="Ada"))
        assert sent == 5, "what has never been met is read, once after each search"
        for question in ("Ada", "What did Ada paint after the race by the lake in the rain?", "nothing of it", "!?"):
            for limit in (1, 200):
                sent = 0
                await recalling.recall(memory.scope, Question(query=question, limit=limit))
                assert sent == 3, question
        monkeypatch.setattr("memoryd.hot.search.CANDIDATES_MAX", 5)
        sent = 0
        await recalling.recall(memory.scope, Question(query="Ada"))
        assert sent == 4, "which of too many words are the rarest is one more"


def shown(found: Recalled) -> list[tuple[str, float]]:
    """Ids and scores, in order."""
    return [(hit.memory.id, hit.score) for hit in found]
