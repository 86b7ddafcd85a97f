"""The servers for a laptop keep their data, survive every kind of death, and never outlive whoever started them."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from memoryd.config import Settings
from memoryd.errors import ServersUnavailable
from memoryd.local.mongo_server import MongoServer
from memoryd.local.redis_server import NEEDED_COMMANDS
from memoryd.local.servers import Servers, open_servers
from tests.waiting import eventually

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent died")

# Opens the servers in a process that can be killed, and says their process ids.
HOLDER = """
import asyncio, sys
from pathlib import Path
from memoryd.config import Settings
from memoryd.local.servers import open_servers

async def main():
    settings = Settings.model_construct(_fields_set=set(), cache_dir=Path(sys.argv[2]))
    async with open_servers(settings, Path(sys.argv[1])) as servers:
        print(servers.redis.pid, servers.mongo.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def remember(servers: Servers, word: str) -> None:
    """Write a word to both."""
    async with Redis.from_url(servers.redis_url) as redis, mongo_client(servers) as mongo:
        await redis.set("word", word)
        await mongo.test.words.update_one({"_id": 1}, {"$set": {"word": word}}, upsert=True)


async def remembered(servers: Servers) -> set[str]:
    """What both say the word is."""
    async with Redis.from_url(servers.redis_url, decode_responses=True) as redis, mongo_client(servers) as mongo:
        found = await mongo.test.words.find_one({"_id": 1}) or {}
        return {str(await redis.get("word")), str(found.get("word"))}


def mongo_client(servers: Servers) -> AsyncMongoClient[dict[str, Any]]:
    return AsyncMongoClient(servers.mongo_url, serverSelectionTimeoutMS=60_000)


async def test_both_servers_can_do_what_memoryd_needs(servers: Servers) -> None:
    """Modules and change streams: the two things that a plain Redis and a plain MongoDB lack."""
    async with Redis.from_url(servers.redis_url, decode_responses=True) as redis:
        assert set(NEEDED_COMMANDS) <= {str(name).upper() for name in await redis.command_list()}
    async with mongo_client(servers) as mongo, await mongo.test.changes.watch() as changes:
        await mongo.test.changes.insert_one({"_id": os.urandom(8)})
        assert (await changes.next())["operationType"] == "insert"


async def test_what_was_written_is_there_after_a_restart_on_other_ports(
    local_settings: Settings, tmp_path: Path
) -> None:
    """The replica set's configuration holds the old port; it elects itself on the new one all the same."""
    ports = []
    for word in ("first", "second"):
        async with open_servers(local_settings, tmp_path) as servers:
            ports.append(servers.mongo_url)
            if word == "second":
                assert await remembered(servers) == {"first"}
            await remember(servers, word)
    assert len(set(ports)) == 2


async def test_a_killed_server_comes_back_on_its_port_with_its_data(own_servers: Servers) -> None:
    """`kill -9`, the way out that nobody prepares for."""
    assert own_servers.redis
    assert own_servers.mongo
    await remember(own_servers, "kept")
    for server in (own_servers.redis, own_servers.mongo):
        server.kill()
        assert not server.alive
        await server.start()
    assert await remembered(own_servers) == {"kept"}


async def test_a_paused_server_answers_after_it_is_resumed(own_servers: Servers) -> None:
    """A server that hangs is not a server that is gone: its connections stay open."""
    assert own_servers.redis
    async with Redis.from_url(own_servers.redis_url) as redis:
        await redis.ping()
        own_servers.redis.pause()
        answer = asyncio.ensure_future(redis.ping())
        done, _ = await asyncio.wait([answer], timeout=0.3)
        assert not done
        own_servers.redis.resume()
        assert await answer


async def test_a_paused_server_can_be_stopped(own_servers: Servers) -> None:
    """It would not see SIGTERM while it is paused."""
    assert own_servers.redis
    own_servers.redis.pause()
    await own_servers.redis.stop()
    assert own_servers.redis.exit_code == 0  # by itself; one that is not heard is killed in the end


async def test_data_has_one_user_at_a_time(own_servers: Servers, local_settings: Settings) -> None:
    """Two Redis on one append-only file would ruin it."""
    with pytest.raises(ServersUnavailable, match=f"in use by process {os.getpid()}") as refused:
        async with open_servers(local_settings, own_servers.data):
            pytest.fail("a second user was let in")
    assert "--data" in str(refused.value.hint)


@pytest.mark.parametrize(("which", "option"), [("redis_port", "--redis-port"), ("mongo_port", "--mongo-port")])
async def test_a_port_in_use_is_named_with_the_option_that_changes_it(
    which: str, option: str, local_settings: Settings, tmp_path: Path
) -> None:
    """And nothing that was started before it stays behind."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServersUnavailable, match=str(port)) as refused:
            async with open_servers(local_settings, tmp_path, **{which: port}):
                pytest.fail("the port was taken")
    assert option in str(refused.value.hint)
    assert not processes_on(tmp_path)


async def test_a_server_that_cannot_start_names_its_log(own_servers: Servers, tmp_path: Path) -> None:
    """Here another mongod has the data; whatever the reason is, the log has it."""
    assert own_servers.mongo
    assert own_servers.mongo.alive
    log = tmp_path / "second.log"
    second = MongoServer(program_of(own_servers.mongo), own_servers.mongo.data, log)
    with pytest.raises(ServersUnavailable, match="exit code") as refused:
        await second.start()
    assert str(log) in str(refused.value.hint)
    assert "DBPathInUse" in log.read_text()


@LINUX_ONLY
@pytest.mark.parametrize("everything", [False, True], ids=["the parent alone", "everything"])
async def test_a_kill_leaves_no_process_and_no_lock(everything: bool, local_settings: Settings, tmp_path: Path) -> None:
    """Killed servers leave lock files behind; the next start must not mind."""
    holder = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", HOLDER, str(tmp_path), str(local_settings.cache_dir)], stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout
        children = [int(pid) for pid in holder.stdout.readline().split()]
        for pid in [holder.pid, *children] if everything else [holder.pid]:
            os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not processes_on(tmp_path), what="the servers are gone")
    async with open_servers(local_settings, tmp_path) as servers:
        await remember(servers, "alive")


def program_of(server: MongoServer) -> Any:
    from memoryd.local.program import Program

    return Program((server.command[0],), "the same")


def processes_on(data: Path) -> list[str]:
    """The processes whose command line names this folder."""
    table = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in table.splitlines() if str(data) in line]


@LINUX_ONLY
async def test_a_server_may_have_as_many_open_files_as_the_machine_allows(own_servers: Servers) -> None:
    """A shell's own limit is often 1,024, which MongoDB's indexes reach: it would panic."""
    assert own_servers.mongo is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 1, hard))
    try:
        await own_servers.mongo.restart()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert resource.prlimit(own_servers.mongo.pid, resource.RLIMIT_NOFILE) == (hard, hard)


async def test_what_is_dropped_soon_leaves_the_disk(own_servers: Servers) -> None:
    """MongoDB keeps it for five minutes by itself, each index with a file that is open."""
    assert own_servers.mongo is not None

    async with mongo_client(own_servers) as mongo:
        await mongo.test.words.create_index("word")
        told = await mongo.test.command("collStats", "words")
        file = own_servers.mongo.data / (told["indexDetails"]["word_1"]["uri"].rpartition(":")[2] + ".wt")
        assert file.exists()
        await mongo.test.words.drop()

        async def gone() -> bool:
            await mongo.test.others.insert_one({})  # time goes on with what is written
            await mongo.admin.command("fsync")
            await asyncio.sleep(0.2)
            return not file.exists()

        await eventually(gone, what="the dropped index's file is gone")
