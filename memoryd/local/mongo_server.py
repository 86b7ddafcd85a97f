"""A MongoDB replica set of one member, on this machine's loopback: change streams need a replica set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from memoryd.local.ports import free_port, is_listening, wait_until_free
from memoryd.local.processes import Process
from memoryd.local.program import Program

if TYPE_CHECKING:
    from pymongo import AsyncMongoClient

    Client = AsyncMongoClient[dict[str, Any]]

REPLICA_SET = "rs0"
START_SECONDS = 60.0  # a new one needs 2 s; the rest is for the recovery of a large one that was killed
ELECTION_MILLISECONDS = 100  # the only member has nobody to wait for; the default of 10 s delays every restart
NOT_YET_INITIALIZED = 94  # MongoDB's error code


class MongoServer(Process):
    """A mongod that is the primary of its own replica set. Port 0 takes a free port and keeps it over restarts."""

    def __init__(self, program: Program, data: Path, log: Path, port: int = 0) -> None:
        self.data = data
        self.port = port or free_port()
        super().__init__("MongoDB", (*program.command, *_options(data, self.port)), log)

    @property
    def address(self) -> str:
        """Its name in the replica set."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Where clients find it; the same after a restart."""
        return f"mongodb://{self.address}/?replicaSet={REPLICA_SET}"

    async def start(self) -> None:
        """Start it and return when it takes writes. Raises ServersUnavailable, also when the port is in use."""
        await wait_until_free(self.port, "MongoDB", "--mongo-port", "MEMORYD_MONGO_URL")
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        await super().start()

    async def wait_until_ready(self) -> None:
        """Return when it is the primary."""
        from pymongo import AsyncMongoClient

        # The client comes after the port: it looks only twice a second, and PyMongo 4.20 leaves a socket open when a
        # client is closed while it connects, as it would be when mongod ends at once.
        await self._wait_for(lambda: is_listening(self.port), START_SECONDS)
        async with AsyncMongoClient[dict[str, Any]](
            "127.0.0.1", self.port, directConnection=True, serverSelectionTimeoutMS=500
        ) as client:
            await self._wait_for(lambda: self._answers(client), START_SECONDS)
            await make_member(client, self.address)
            await self._wait_for(lambda: is_primary(client), START_SECONDS)

    async def _answers(self, client: Client) -> bool:
        from pymongo.errors import PyMongoError

        try:
            status = await client.admin.command("serverStatus")
        except PyMongoError:
            return False
        # Another mongod may have taken the port in the meantime; ours is then about to end.
        return bool(status["pid"] == self.pid)


async def make_member(client: Client, address: str) -> None:
    """See that this mongod is the one member of its replica set, under this address."""
    config = await _replica_set(client)
    if config is None:
        await client.admin.command("replSetInitiate", _one_member(address))
    elif config["members"][0]["host"] != address:
        # The data was made on another port: it finds itself in no member, and only force lets it change that alone.
        config["members"][0]["host"] = address
        await client.admin.command("replSetReconfig", config, force=True)


async def is_primary(client: Client) -> bool:
    """Whether it takes writes."""
    from pymongo.errors import AutoReconnect, OperationFailure

    try:
        hello = await client.admin.command("hello")
    except (AutoReconnect, OperationFailure):  # it closes its connections when its state in the set changes
        return False
    return bool(hello.get("isWritablePrimary"))


async def _replica_set(client: Client) -> dict[str, Any] | None:
    from pymongo.errors import OperationFailure

    try:
        answer = await client.admin.command("replSetGetConfig")
    except OperationFailure as error:
        if error.code == NOT_YET_INITIALIZED:
            return None
        raise
    config: dict[str, Any] = answer["config"]
    return config


def _one_member(address: str) -> dict[str, Any]:
    return {
        "_id": REPLICA_SET,
        "members": [{"_id": 0, "host": address}],
        "settings": {"electionTimeoutMillis": ELECTION_MILLISECONDS},
    }


def _options(data: Path, port: int) -> tuple[str, ...]:
    return (
        *("--replSet", REPLICA_SET, "--bind_ip", "127.0.0.1", "--port", str(port), "--dbpath", str(data)),
        *("--wiredTigerCacheSizeGB", "0.25"),  # the least it takes; by default it would plan with half of the memory
        "--nounixsocket",  # a socket file in /tmp that another user left would keep it from starting
        # Else it writes a metrics file each second, for support cases.
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        "--slowOpSampleRate", "0",  # the log of slow operations quotes what is written, and outlives every forget
        # Else what is dropped keeps a file for each of its indexes for five minutes: tests drop thousands.
        *("--setParameter", "minSnapshotHistoryWindowInSeconds=5"),
        # A primary waits 15 s for others to take over before it leaves; here are no others.
        *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
    )
