"""A MongoDB on loopback, with one member or with three, that may lose its primary."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from memoryd.local.mongo_server import REPLICA_SET, MongoServer, is_primary
from memoryd.local.ports import is_listening
from memoryd.local.program import Program
from tests.waiting import eventually

ELECTION_MILLISECONDS = 1000


class Member(MongoServer):
    """One of several: ready when it answers, whatever its part in the set is."""

    async def wait_until_ready(self) -> None:
        """Return when it answers."""
        await self._wait_for(lambda: is_listening(self.port), 60)
        async with self.client() as client:
            await self._wait_for(lambda: self._answers(client), 60)

    def client(self) -> AsyncMongoClient[dict[str, Any]]:
        """A client of this member alone."""
        return AsyncMongoClient("127.0.0.1", self.port, directConnection=True, serverSelectionTimeoutMS=1000)


class MongoSet:
    """The members, and which of them is the primary."""

    def __init__(self, program: Program, data: Path, count: int) -> None:
        self.members = [
            Member(program, data / f"mongo{count}-{number}", data / "logs" / f"mongo{count}-{number}.log")
            for number in range(count)
        ]
        if count == 1:  # of several, one that was paused must still find there what it has missed
            [one] = self.members
            # The oplog keeps what no checkpoint has, and one a minute is usual.
            one.command = (*one.command, "--oplogSize", "1", "--syncdelay", "3")

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"mongodb://{','.join(one.address for one in self.members)}/?replicaSet={REPLICA_SET}"

    async def start(self) -> None:
        """Starts all, makes them a set, and returns when one takes writes."""
        await asyncio.gather(*(one.start() for one in self.members))
        members = [{"_id": number, "host": one.address} for number, one in enumerate(self.members)]
        # The only member has nobody to wait for.
        election = ELECTION_MILLISECONDS if len(members) > 1 else 100
        config = {"_id": REPLICA_SET, "members": members, "settings": {"electionTimeoutMillis": election}}
        async with self.members[0].client() as client:
            await client.admin.command("replSetInitiate", config)
        await eventually(self.primary, what="the set has a primary")

    async def stop(self) -> None:
        """Ends all of them."""
        for one in self.members:
            one.kill()

    async def primary(self) -> Member | None:
        """The member that takes writes, if one does."""
        for one in self.members:
            if one.alive:
                with contextlib.suppress(PyMongoError):
                    async with one.client() as client:
                        if await is_primary(client):
                            return one
        return None

    async def roll_oplog_over(self) -> None:
        """Writes until the oplog of the only member has forgotten what is its newest entry now."""
        if await self.primary() is None:
            return
        async with self.members[0].client() as client:
            oplog, filler = client["local"]["oplog.rs"], client["filler"]["filler"]
            newest = await oplog.find_one(sort=[("$natural", -1)])
            oldest = newest
            while oldest and newest and oldest["ts"] <= newest["ts"]:
                await filler.insert_many([{"bytes": os.urandom(100_000)} for _ in range(20)])
                await asyncio.sleep(0.2)
                oldest = await oplog.find_one(sort=[("$natural", 1)])
            await client.drop_database("filler")

    async def step_down(self) -> None:
        """The primary becomes a secondary, and another one is elected."""
        member = await self.primary()
        if member is not None:
            with contextlib.suppress(PyMongoError):
                async with member.client() as client:
                    await client.admin.command("replSetStepDown", 5, secondaryCatchUpPeriodSecs=2)
