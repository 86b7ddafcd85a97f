"""What an agent has besides its memories, each with a word of its own: planted by the canary proof."""

from __future__ import annotations

from collections.abc import Callable, Collection

from memoryd import MemoryClient

PLACES = ("fact", "state", "snapshot", "scratch", "tool", "answer", "channel", "message", "variable", "gap")
LARGE = 12_000  # characters: more than stays with an event


async def plant_besides(
    memory: MemoryClient, who: str, word: Callable[[], str], *, empty: MemoryClient, without: Collection[str] = ()
) -> set[bytes]:
    """Fills every place that is not a memory, but for those of `without`; the words that must be in Redis now.

    Every text says `who`, so that a forget by words reaches it, except for a question that finds nothing (`gap`), which must
    be about nothing: `empty` asks it, the same agent in a session without memories.
    """
    words = {place: word() for place in PLACES if place not in without}

    def said(place: str) -> str:
        return f"The {who} keeper has {words[place]}."

    async def search(_given: object) -> dict[str, str]:
        return {"found": said("tool")}

    async def answer(_question: str) -> str:
        return said("answer")

    await memory.facts.put(f"The {who} keeper", "calls it", words["fact"])
    await memory.facts.put(f"The {who} keeper", "calls it", word())  # the former one is ended, and kept
    await memory.agent.set(task=said("snapshot"), self_model={"known": said("snapshot")})
    await memory.agent.snapshot(said("snapshot"))
    await memory.agent.set(task=said("state"), self_model={})
    if "scratch" in words:
        await memory.scratch.set("plan", said("scratch"))
    await memory.tools.cached("look", {"q": word()}, search, ttl_seconds=600, tags=[word()])
    await memory.tools.cached_query("ask", f"What does the {who} keeper call {word()}?", answer, ttl_seconds=600)
    await memory.channels.publish("birds", {"text": said("channel")})
    large = {"output": f"The {who} keeper heard {word()}. " + "x" * LARGE}
    await memory.episodes.record("tool_call", large, tool="look", text=f"The {who} keeper heard {word()}.")
    working = memory.working("perch")
    await working.append({"role": "user", "content": said("message")})
    await working.set("bird", said("variable"))
    await working.checkpoint(f"{who} keeper {word()}")
    if "gap" in words:
        await empty.recall(words["gap"])
    return {one.encode() for one in words.values()}
