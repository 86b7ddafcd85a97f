"""Lives a conversation data set through as agents' sessions, counts everything, and prints the rates.

    python bench/agent_day.py [--file FILE] [--sessions N] [--clients 8] [--words-only] [--json FILE]

Each conversation is an agent, each of its dated sessions a session: opened, every turn appended to working memory and
recorded as an episode, a checkpoint made, closed. Then every count is compared, in Redis and in MongoDB; all sessions
leave Redis, and come back from the archive turn for turn. It uses the LoCoMo development half where it lies beside this
repository, else the conversation that memoryd brings along; its own Redis, MongoDB, daemon and sync.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from memoryd import MemoryClient, connect
from memoryd.archive.store import open_mongo
from memoryd.config import load_settings
from memoryd.demo.conversation import default_file
from memoryd.exchange import BadItem, Item, read
from memoryd.hot.client import open_redis
from memoryd.local.servers import Servers, open_servers
from memoryd.local.up import open_services
from memoryd.protocol.sessions import WorkingMemory

TURNS_AT_ONCE = 16  # of one append: what a runtime has after a few exchanges
CAUGHT_UP_SECONDS = 600
Lived = dict[tuple[str, str], list[Item]]  # agent and session → turns


def days(file: Path, most: int | None) -> Lived:
    """The turns of every session, by agent and session, in order."""
    turns = [one for one in read(file, format="locomo") if not isinstance(one, BadItem)]
    grouped = itertools.groupby(turns, key=lambda one: (str(one["project"]), str(one["session"])))
    return {place: list(some) for place, some in itertools.islice(grouped, most)}


async def live(memory: MemoryClient, name: str, turns: Sequence[Item]) -> None:
    """One session, from its beginning to its end."""
    session = memory.working(name)
    await session.open()
    for start in range(0, len(turns), TURNS_AT_ONCE):
        some = turns[start : start + TURNS_AT_ONCE]
        await session.append(*({"role": "user", "content": one["content"], "at": one["valid_from"]} for one in some))
        for one in some:
            await memory.store(one["content"], type="episodic", session=name, valid_from=one["valid_from"], tags=["turn"])
    await session.set("turns", len(turns))
    await session.checkpoint("the end of the day")
    await session.close()


async def timed(name: str, works: Sequence[Callable[[], Awaitable[None]]], clients: int) -> dict[str, float]:
    """Does all, some at a time; how long it took."""
    waiting = iter(works)

    async def worker() -> None:
        for work in waiting:
            await work()

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(clients)))
    return {f"{name}_seconds": round(time.perf_counter() - started, 2)}


async def caught_up(memory: MemoryClient) -> float:
    """How long the archive takes to have everything."""
    started = time.perf_counter()
    async with asyncio.timeout(CAUGHT_UP_SECONDS):
        while (await memory.stats()).archive_backlog:  # noqa: ASYNC110 - another process archives
            await asyncio.sleep(0.1)
    return time.perf_counter() - started


async def counted(servers: Servers, lived: Lived) -> dict[str, int]:
    """What MongoDB holds now. Raises AssertionError unless it is exactly what was lived."""
    turns = sum(map(len, lived.values()))
    async with open_mongo(servers.mongo_url) as mongo:
        database = mongo[load_settings().mongo_database]
        counts = {
            "sessions_closed": await database["sessions"].count_documents({"status": "closed"}),
            "messages": await database["messages"].count_documents({}),
            "checkpoints": await database["checkpoints"].count_documents({}),
            "episodes": await database["memories"].count_documents({"memory_type": "episodic"}),
            "versions": await database["versions"].count_documents({}),
        }
    wanted = {
        "sessions_closed": len(lived), "messages": turns, "checkpoints": len(lived), "episodes": turns, "versions": turns,
    }  # fmt: skip
    assert counts == wanted, f"counted {counts}, lived {wanted}"
    return counts


async def expired(url: str) -> int:
    """What Redis does after an hour without use; how many sessions it was."""
    async with open_redis(url) as redis:
        keys = [key async for key in redis.scan_iter(match="aether:memory:working:*", count=1000)]
        return int(await redis.delete(*keys))


async def came_back(session: WorkingMemory, turns: Sequence[Item]) -> None:
    """Asks for a session that only the archive has. Raises AssertionError unless it is what was said."""
    window = await session.window(4000)
    assert [one.content for one in window.messages] == [one["content"] for one in turns], "another session came back"
    assert (await session.get("turns")).value == len(turns), "another state came back"


async def day(servers: Servers, lived: Lived, clients: int) -> dict[str, Any]:
    url, turns = servers.redis_url, sum(map(len, lived.values()))
    agents = sorted({agent for agent, _ in lived})
    opened = {agent: connect(url, tenant="bench", project="day", agent=agent, timeout_seconds=120) for agent in agents}
    for client in opened.values():
        await client.__aenter__()
    try:
        works = [lambda a=a, s=s, some=some: live(opened[a], s, some) for (a, s), some in lived.items()]
        results: dict[str, Any] = {"agents": len(agents), "sessions": len(lived), "turns": turns}
        results |= await timed("lived", works, clients)
        results["archived_seconds_later"] = round(await caught_up(opened[agents[0]]), 2)
        results["counted"] = await counted(servers, lived)
        results["expired"] = await expired(url)
        assert results["expired"] == len(lived), "a session was not in Redis"
        back = [lambda a=a, s=s, some=some: came_back(opened[a].working(s), some) for (a, s), some in lived.items()]
        results |= await timed("brought_back", back, clients)
    finally:
        for client in opened.values():
            await client.__aexit__(None, None, None)
    results["turns_per_second"] = round(turns / results["lived_seconds"])
    results["sessions_brought_back_per_second"] = round(len(lived) / results["brought_back_seconds"])
    return results


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.words_only:
        os.environ["MEMORYD_EMBEDDER"] = "none"
    lived = days(arguments.file, arguments.sessions)
    with tempfile.TemporaryDirectory() as data:
        async with open_servers(load_settings(), Path(data)) as servers, open_services(servers):
            results = await day(servers, lived, arguments.clients)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return {"machine": machine, "file": arguments.file.name, **results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, default=default_file())
    parser.add_argument("--sessions", type=int, help="only so many")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--words-only", action="store_true", help="without an embedding model")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = asyncio.run(run(arguments))
    print(json.dumps(results, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
