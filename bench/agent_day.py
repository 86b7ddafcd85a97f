"""Lives a conversation data set through as agents' sessions, counts everything in both stores, and prints the rates.

    python -m bench.agent_day [PATH/locomo_dev.json] [--sessions N] [--clients 8] [--words-only] [--json FILE]

Each conversation is an agent, each of its dated sessions a session of the helper: opened, every turn appended to working
memory and recorded as an episode, a checkpoint made, closed with compression. Then it is counted: in MongoDB the sessions,
messages, checkpoints, episodes, memories of what was said, summaries and versions; in Redis the memories that are there and
those that are not; each agent's log is replayed, event for event; all sessions leave Redis, and come back from the archive
turn for turn. Any other count than that of what was lived ends it with an error. Without a path it lives through the
conversation that memoryd brings along. Its own Redis, MongoDB, daemon and sync.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import harness
from bench.harness import CONVERSATION, running
from bench.load import closed
from memoryd import MemoryClient, connect
from memoryd.archive.client import open_mongo
from memoryd.config import load_settings
from memoryd.exchange import BadItem, Item, read
from memoryd.hot import lookups
from memoryd.hot.client import open_redis
from memoryd.limits import EPISODE_LIMIT_MAX
from memoryd.local.servers import Servers
from memoryd.model.memory import Tier
from memoryd.model.session import Closed
from memoryd.protocol.sessions import WorkingMemory

TURNS_AT_ONCE = 16  # of one append: what a runtime has after a few exchanges
CAUGHT_UP_SECONDS = 600
TENANT, PROJECT = "bench", "day"
ENDS = Counter({"checkpoint": 1, "session_closed": 1})  # what the session helper records besides the turns
Lived = dict[tuple[str, str], list[Item]]  # agent and session → turns


@dataclass
class Told:
    """What the sessions have said when they ended, and how long their steps took together."""

    closed: dict[tuple[str, str], Closed] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def summaries(self) -> list[str]:
        """The ids of all summaries."""
        return [one for end in self.closed.values() for one in end.summaries]

    @property
    def archived(self) -> int:
        """How many memories of what was said have gone to the archive."""
        return sum(end.archived for end in self.closed.values())


def days(file: Path, most: int | None) -> Lived:
    """The turns of every session, by agent and session, in order."""
    turns = [one for one in read(file, format="locomo") if not isinstance(one, BadItem)]
    grouped = itertools.groupby(turns, key=lambda one: (str(one["project"]), str(one["session"])))
    return {place: list(some) for place, some in itertools.islice(grouped, most)}


async def live(memory: MemoryClient, place: tuple[str, str], turns: Sequence[Item], told: Told) -> None:
    """One session, from its beginning to its end."""
    name, user = place[1], turns[0]["metadata"]["speaker"]

    async def step(what: str, work: Awaitable[Any]) -> None:
        started = time.perf_counter()
        await work
        told.seconds[what] = told.seconds.get(what, 0) + time.perf_counter() - started

    session = memory.session(name)
    await step("open", session.__aenter__())
    assert session.opened.source == "new", "a session was there before"
    for start in range(0, len(turns), TURNS_AT_ONCE):
        some = turns[start : start + TURNS_AT_ONCE]
        messages = [
            {
                "role": "user" if one["metadata"]["speaker"] == user else "assistant", "content": one["content"],
                "at": one["valid_from"],
            }
            for one in some
        ]  # fmt: skip
        await step("append", session.append(*messages))
        for one in some:
            about: dict[str, Any] = {"text": one["content"], "session": name, "happened_at": one["valid_from"]}
            await step("record", memory.episodes.record("message", one["metadata"], outcome="none", **about))
    session.variables["turns"] = len(turns)
    await step("checkpoint", session.checkpoint("the end of the day"))
    await step("close", session.__aexit__(None, None, None))
    assert session.closed is not None
    told.closed[place] = session.closed


async def timed(works: Sequence[Callable[[], Awaitable[None]]], clients: int) -> float:
    """Does all, some at a time; how long it took."""
    return (await closed(lambda _, number: works[number](), len(works), clients)).seconds


async def caught_up(memory: MemoryClient) -> float:
    """How long archive and vectors take to have everything."""
    started = time.perf_counter()
    async with asyncio.timeout(CAUGHT_UP_SECONDS):
        while (stats := await memory.stats()).archive_backlog or stats.embed_backlog:  # noqa: ASYNC110 - others are at work
            await asyncio.sleep(0.1)
    return time.perf_counter() - started


async def moved(servers: Servers) -> float:
    """How long it takes until every move to the archive is ended: those that were not when their session was closed are ended by
    the daemon, three times a minute."""
    started = time.perf_counter()
    async with open_redis(servers.redis_url) as redis, asyncio.timeout(CAUGHT_UP_SECONDS):
        while await lookups.in_tier(redis, Tier.ARCHIVE, 1):  # noqa: ASYNC110 - others are at work
            await asyncio.sleep(0.2)
    return time.perf_counter() - started


async def counted(servers: Servers, lived: Lived, told: Told) -> dict[str, int]:
    """What MongoDB and Redis hold now. Raises AssertionError unless it is exactly what was lived."""
    turns, events = sum(map(len, lived.values())), sum(map(len, lived.values())) + ENDS.total() * len(lived)
    mine = {"tenant": TENANT, "project": PROJECT}
    said = {**mine, "tags": {"$all": ["message"], "$nin": ["summary"]}}  # a summary has the tags of what it stands for
    async with open_mongo(servers.mongo_url) as mongo:
        database = mongo[load_settings().mongo_database]
        memories = database["memories"]
        counts = {
            "sessions_closed": await database["sessions"].count_documents({**mine, "status": "closed"}),
            "messages": await database["messages"].count_documents(mine),
            "checkpoints": await database["checkpoints"].count_documents(mine),
            "episodes": await memories.count_documents({**mine, "metadata.event.type": {"$exists": True}}),
            "memories_of_messages": await memories.count_documents(said),
            "of_these_archived": await memories.count_documents({**said, "tier": "archive"}),
            "summaries": await memories.count_documents({**mine, "tags": "summary"}),
            "of_these_told": await memories.count_documents({"_id": {"$in": told.summaries}, "tags": "summary"}),
            "memories": await memories.count_documents(mine),
            "versions": await database["versions"].count_documents(mine),
        }
    async with open_redis(servers.redis_url) as redis:
        hot = [key async for key in redis.scan_iter(match=f"aether:memory:[se]*:{TENANT}:{PROJECT}:mem_*", count=1000)]
    counts["memories_in_redis"] = len(hot)
    # Of a busy machine a session's answer may tell of fewer moves and summaries than there are in the end, never of more.
    archived, alive = counts["of_these_archived"], events + turns + counts["summaries"]
    wanted = {
        "sessions_closed": len(lived), "messages": turns, "checkpoints": len(lived), "episodes": events,
        "memories_of_messages": turns, "of_these_archived": archived, "summaries": counts["summaries"],
        "of_these_told": len(told.summaries), "memories": alive, "versions": alive + archived,
        "memories_in_redis": alive - archived,
    }  # fmt: skip
    assert counts == wanted, f"counted {counts}, lived {wanted}"
    assert archived >= told.archived, f"{archived} are archived, {told.archived} were said to be"
    return counts


async def replayed(memory: MemoryClient, agent: str, lived: Lived) -> None:
    """Reads an agent's whole log. Raises AssertionError unless it is what the agent did, once, each session's in order."""
    said: dict[str, list[Any]] = {}
    ends: dict[str, Counter[str]] = {}
    after, more = "", True
    while more:
        part = await memory.episodes.replay(after=after, limit=EPISODE_LIMIT_MAX)
        for one in (entry.episode for entry in part.entries):
            if one.event_type == "message":
                said.setdefault(one.session, []).append(one.data)
            else:
                ends.setdefault(one.session, Counter())[one.event_type] += 1
        after, more = part.next, part.more
    mine = {session: turns for (whose, session), turns in lived.items() if whose == agent}
    assert ends == dict.fromkeys(mine, ENDS), "other sessions ended, or otherwise"
    for session, turns in mine.items():
        assert said[session] == [one["metadata"] for one in turns], "other events were recorded"


async def expired(url: str) -> int:
    """What Redis does after an hour without use; how many sessions it was."""
    async with open_redis(url) as redis:
        keys = [key async for key in redis.scan_iter(match=f"aether:memory:working:*:{TENANT}:{PROJECT}:*", count=1000)]
        return int(await redis.delete(*keys))


async def came_back(session: WorkingMemory, turns: Sequence[Item]) -> None:
    """Asks for a session that only the archive has. Raises AssertionError unless it is what was said."""
    window = await session.window(4000)
    assert [one.content for one in window.messages] == [one["content"] for one in turns], "another session came back"
    assert (await session.get("turns")).value == len(turns), "another state came back"


async def day(servers: Servers, lived: Lived, clients: int) -> dict[str, Any]:
    url, turns, told = servers.redis_url, sum(map(len, lived.values())), Told()
    agents = sorted({agent for agent, _ in lived})
    opened = {agent: connect(url, tenant=TENANT, project=PROJECT, agent=agent, timeout_seconds=120) for agent in agents}
    for client in opened.values():
        await client.__aenter__()
    try:
        works = [lambda place=place, some=some: live(opened[place[0]], place, some, told) for place, some in lived.items()]
        seconds = {"lived": await timed(works, clients), "archived_later": await caught_up(opened[agents[0]])}
        seconds["moved_later"] = await moved(servers)
        counts = await counted(servers, lived, told)
        logs = [lambda agent=agent: replayed(opened[agent], agent, lived) for agent in agents]
        seconds["replayed"] = await timed(logs, clients)
        assert await expired(url) == len(lived), "a session was not in Redis"
        back = [lambda a=a, s=s, some=some: came_back(opened[a].working(s), some) for (a, s), some in lived.items()]
        seconds["brought_back"] = await timed(back, clients)
    finally:
        for client in opened.values():
            await client.__aexit__(None, None, None)
    appends = sum(-(-len(some) // TURNS_AT_ONCE) for some in lived.values())
    compressed = sum(bool(end.summaries) for end in told.closed.values())
    late = counts["of_these_archived"] - told.archived
    refused = Counter(end.not_compressed for end in told.closed.values() if end.not_compressed)
    return {
        "agents": len(agents), "sessions": len(lived), "turns": turns, "counted": counts,
        "sessions_compressed": compressed, "not_compressed": dict(refused),
        "moves_ended_after_their_session": late,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "rates": {
            "sessions_lived_per_second": round(len(lived) / seconds["lived"], 2),
            "turns_lived_per_second": round(turns / seconds["lived"], 1),
            "events_replayed_per_second": round(counts["episodes"] / seconds["replayed"]),
            "sessions_brought_back_per_second": round(len(lived) / seconds["brought_back"], 1),
        },
        "milliseconds_each": {
            "open": _mean(told.seconds["open"], len(lived)),
            f"append_of_{TURNS_AT_ONCE}": _mean(told.seconds["append"], appends),
            "record": _mean(told.seconds["record"], turns), "checkpoint": _mean(told.seconds["checkpoint"], len(lived)),
            "close_and_compress": _mean(told.seconds["close"], len(lived)),
        },
    }  # fmt: skip


def _mean(seconds: float, count: int) -> float:
    return round(1000 * seconds / count, 1)


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    file = arguments.file
    if file is None or not file.is_file():
        print(
            f"skipped: LoCoMo's development half ({file or 'no path was given'}); it is CC BY-NC 4.0 and not part of this "
            "repository. One conversation of our own is lived through instead",
            file=sys.stderr,
        )
        file = CONVERSATION
    lived = days(file, arguments.sessions)
    async with running(embedder="none" if arguments.words_only else "auto") as parts:
        return {"file": file.name, **await day(parts.servers, lived, arguments.clients)}


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    parser.add_argument("file", type=Path, nargs="?", help="LoCoMo's development half")
    parser.add_argument("--sessions", type=int, help="only so many")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--words-only", action="store_true", help="without an embedding model")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
