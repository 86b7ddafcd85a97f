"""Checks of MongoDB: whether it can be an archive, and whether its collections are what memoryd made them."""

from __future__ import annotations

import time
from datetime import UTC
from typing import Any

import pymongo

from memoryd.archive.client import ArchiveRefused, archive_errors
from memoryd.archive.oplog import oplog_window
from memoryd.archive.vector_search import NAME, NoSearch, fits
from memoryd.doctor.patient import Finding, Patient
from memoryd.doctor.redis_server import clock_finding
from memoryd.errors import ArchiveUnavailable
from memoryd.limits import ARCHIVE_ANSWER_SECONDS
from memoryd.local.find import MONGO_MAJOR_MIN
from memoryd_schemas.mongo_apply import COLLECTIONS, SCHEMA_ID, SCHEMA_VERSION, collection_definition

OPLOG_SECONDS_MIN = 24 * 3600  # a follower that is away over a night goes on from its place
OPLOG_FULL = 0.9  # an oplog that is not full yet reaches back to its beginning, however short that is
DISK_PERCENT_MAX = 85
RESTART = "start sync again: it brings the collections up to date (`memoryd sync`)"


async def mongo_answers(patient: Patient) -> Finding | None:
    """Whether its primary answers at all."""
    try:
        with pymongo.timeout(ARCHIVE_ANSWER_SECONDS):
            await patient.archive.ping()
    except ArchiveUnavailable as error:
        return Finding(
            f"MongoDB does not answer at MEMORYD_MONGO_URL ({error.message})",
            "nothing is archived, and what is only in the archive cannot be read; the rest goes on",
            "memoryd up starts one; mongosh \"$MEMORYD_MONGO_URL\" --eval 'rs.status()'",
        )
    return None


async def mongo_version(patient: Patient) -> Finding | None:
    """Whether it is new enough."""
    with archive_errors("ask for the version"):
        version = str((await patient.archive.database.command("buildInfo"))["version"])
    if int(version.partition(".")[0]) >= MONGO_MAJOR_MIN:
        return None
    return Finding(
        f"MongoDB is {version}, older than {MONGO_MAJOR_MIN}", "sync cannot follow its changes",
        f"run MongoDB {MONGO_MAJOR_MIN} or later; `memoryd up` starts one",
    )  # fmt: skip


async def replica_set(patient: Patient) -> Finding | None:
    """Whether it is a member of a replica set, which alone has changes to follow."""
    hello = await patient.hello()
    if hello.get("setName") or hello.get("msg") == "isdbgrid":
        return None
    return Finding(
        "MongoDB is not part of a replica set", "sync cannot follow its changes, and no write is safe against its loss",
        "start mongod with --replSet rs0, then mongosh --eval 'rs.initiate()'",
    )  # fmt: skip


async def oplog(patient: Patient) -> Finding | None:
    """Whether its history is long enough for a follower that is away."""
    try:
        window = await oplog_window(patient.archive)
        with archive_errors("look at the oplog"):
            about: Any = await patient.archive.database.client["local"].command("collStats", "oplog.rs")
    except ArchiveRefused:  # a user of this database alone sees no more
        return None
    full = about["size"] / about["maxSize"] >= OPLOG_FULL
    if window is None or window >= OPLOG_SECONDS_MIN or not full:
        return None
    return Finding(
        f"MongoDB's oplog reaches back {window / 3600:.1f} hours only",
        "a sync service that is away for longer has to compare everything",
        "mongosh --eval 'db.adminCommand({replSetResizeOplog: 1, size: 16000})'",
    )


async def archive_schema(patient: Patient) -> Finding | None:
    """Whether a newer memoryd has written this database."""
    with archive_errors("look at the schema"):
        stored = await patient.archive.database["sync_state"].find_one({"_id": SCHEMA_ID})
    if stored is None:
        return Finding("this database was never prepared", "nothing is archived", "memoryd sync")
    if stored["version"] <= SCHEMA_VERSION:
        return None
    return Finding(
        f"this database was written by a newer memoryd (schema {stored['version']})", "no sync service of this version starts",
        "pip install --upgrade memoryd",
    )  # fmt: skip


async def collections(patient: Patient) -> Finding | None:
    """Whether there are all of them."""
    there = await _collections(patient)
    missing = [name for name in COLLECTIONS if name not in there]
    if not missing:
        return None
    return Finding(f"a collection is missing: {', '.join(missing)}", "what belongs there is lost, or kept unchecked", RESTART)


async def validators(patient: Patient) -> Finding | None:
    """Whether they check what is written."""
    there = await _collections(patient)
    wrong = [name for name, one in there.items() if one.get("validator", {}) != collection_definition(name)["validator"]]
    if not wrong:
        return None
    return Finding(
        f"the validator is not memoryd's: {', '.join(sorted(wrong))}", "a broken document is taken, and follows into Redis", RESTART
    )


async def archive_indexes(patient: Patient) -> Finding | None:
    """Whether they have their indexes."""
    missing = []
    for name in await _collections(patient):
        with archive_errors("list the indexes"):
            there = await patient.archive.database[name].index_information()
        missing += [f"{name}.{one['name']}" for one in collection_definition(name)["indexes"] if one["name"] not in there]
    if not missing:
        return None
    return Finding(f"an index is missing: {', '.join(missing[:5])}", "reads of the archive take longer and longer", RESTART)


async def profiler(patient: Patient) -> Finding | None:
    """Whether MongoDB writes down what memories say."""
    try:
        with archive_errors("look at the profiler"):
            level = (await patient.archive.database.command("profile", -1))["was"]
    except ArchiveRefused:
        return None
    if not level:
        return None
    return Finding(
        f"the profiler of this database is on (level {level})", "system.profile quotes memories, and outlives every forget",
        "mongosh DATABASE --eval 'db.setProfilingLevel(0); db.system.profile.drop()'",
    )  # fmt: skip


async def mongo_disk(patient: Patient) -> Finding | None:
    """How much of its disk is left."""
    try:
        with archive_errors("look at the disk"):
            about = await patient.archive.database.command("dbStats")
    except ArchiveRefused:
        return None
    total = about.get("fsTotalSize")
    percent = 100 * about["fsUsedSize"] / total if total else 0.0
    if percent <= DISK_PERCENT_MAX:
        return None
    return Finding(
        f"MongoDB's disk is {percent:.0f} % full", "when it is full, nothing is archived and the journals grow",
        "make room on the disk of MongoDB's data: du -xh --max-depth=2 / | sort -h",
    )  # fmt: skip


async def mongo_clock(patient: Patient) -> Finding | None:
    """Whether its clock goes with ours."""
    told = (await patient.hello())["localTime"].replace(tzinfo=UTC)
    return clock_finding("MongoDB", told.timestamp() - time.time())


async def vector_index(patient: Patient) -> Finding | None:
    """Whether the index for deep recalls, where somebody has made one, is one that they can use."""
    state = await patient.state()
    try:
        there = await patient.archive.vector_search.index()
    except (NoSearch, ArchiveRefused):
        return None
    if there is None or state is None or state.vectors is None or there.get("status") in ("PENDING", "BUILDING"):
        return None
    if fits(there, state.vectors.settings.dims):
        return None
    return Finding(
        f"the search index {NAME} cannot be asked ({there.get('status')}, or of another model)",
        "deep recalls look at every vector of their scope", "memoryd tiers vector-index --drop, then memoryd tiers vector-index",
    )  # fmt: skip


async def _collections(patient: Patient) -> dict[str, Any]:
    """The options of those that there are."""
    with archive_errors("list the collections"):
        cursor = await patient.archive.database.list_collections(filter={"name": {"$in": list(COLLECTIONS)}})
        return {one["name"]: one.get("options", {}) async for one in cursor}


CHECKS = (
    mongo_version, replica_set, oplog, archive_schema, collections, validators, archive_indexes, profiler, mongo_disk, mongo_clock,
)  # fmt: skip
BOTH = (vector_index,)
