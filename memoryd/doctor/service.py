"""Checks of memoryd's own work: the daemon, the journal and its followers, and sync."""

from __future__ import annotations

from typing import Any

from memoryd import keys as names
from memoryd import limits
from memoryd.doctor.patient import Finding, Patient
from memoryd.errors import HotUnavailable, MemorydError, NoAnswer
from memoryd.hot.client import hot_errors
from memoryd.hot.journal import GROUPS, RECEIPTS_GROUP
from memoryd.hot.lag import age_of, behind, following, lags
from memoryd.protocol.client import connect

ROOM_PERCENT_MAX = 50  # of a bucket's journal: with the other half writers are refused


async def daemon_answers(patient: Patient) -> Finding | None:
    """Whether a daemon answers a request that Redis alone can answer."""
    try:
        async with connect(patient.settings.redis_url, timeout_seconds=limits.DOCTOR_CHECK_SECONDS / 2) as memory:
            await memory.seen("doctor")
    except NoAnswer:
        return Finding("no daemon answers", "agents get no answers; their requests wait in the stream", "memoryd serve")
    except HotUnavailable:
        raise  # the checks of Redis say why
    except MemorydError as error:
        return Finding(f"a daemon answers with an error ({error.code})", "agents get the same", "look at the daemon's log")
    return None


async def requests_waiting(patient: Patient) -> Finding | None:
    """Whether requests wait for longer than a daemon takes."""
    age = await _waits(patient, names.REQUESTS)
    if age <= limits.HEALTH_LAG_SECONDS:
        return None
    with hot_errors("look at the requests"):
        count = await patient.redis.xlen(names.REQUESTS)
    return Finding(
        f"{count} requests wait, the oldest for {age:.0f} s", "their callers have given up; writes are done late",
        "memoryd serve (one daemon more takes its share)",
    )  # fmt: skip


async def journal_groups(patient: Patient) -> Finding | None:
    """Whether every journal has its followers' groups."""
    client: Any = patient.redis
    missing = []
    with hot_errors("look at the groups"):
        streams = {patient.keys.journal(one): GROUPS for one in patient.keys.all_buckets()} | {names.RECEIPTS: (RECEIPTS_GROUP,)}
        for stream, wanted in streams.items():
            known = [one["name"].decode() for one in await client.xinfo_groups(stream)] if await client.exists(stream) else []
            missing += [f"{group} of {stream}" for group in wanted if group not in known]
    if not missing:
        return None
    return Finding(
        f"{len(missing)} groups of followers are missing ({missing[0]} …)", "what was written there is not followed",
        "start the daemon and sync again: they make the groups, from the beginning of what is there",
    )  # fmt: skip


async def embedding_lag(patient: Patient) -> Finding | None:
    """Whether vectors are made in time."""
    return await _lag(
        patient, "embed", "what was stored lately is found by its words only",
        "look at the daemon's log for embed.failed; memoryd serve (one daemon more takes its share)",
    )  # fmt: skip


async def archive_lag(patient: Patient) -> Finding | None:
    """Whether memories are archived in time."""
    return await _lag(patient, "archive", "what was stored lately is in Redis only", "memoryd sync status; memoryd sync")


async def journal_room(patient: Patient) -> Finding | None:
    """Whether a journal is so long that writers will be refused."""
    client: Any = patient.redis
    with hot_errors("look at the journals"):
        longest = max([await client.xlen(patient.keys.journal(one)) for one in patient.keys.all_buckets()])
    most = limits.JOURNAL_ENTRIES_MAX
    if 100 * longest <= ROOM_PERCENT_MAX * most:
        return None
    return Finding(
        f"a journal has {longest} entries; at {most} its writers are refused", "soon nothing new is stored",
        "memoryd sync (MongoDB has to take what waits), and memoryd sync status",
    )  # fmt: skip


async def dead_letters(patient: Patient) -> Finding | None:
    """Whether a follower has given something up."""
    with hot_errors("look at the dead letters"):
        count = await patient.redis.xlen(names.DEAD_LETTERS)
    if not count:
        return None
    return Finding(
        f"{count} entries of the journal were given up", "these memories have no vector, or are not archived",
        "memoryd sync dead list, then memoryd sync dead retry ID or memoryd sync dead drop ID",
    )  # fmt: skip


async def receipts_chained(patient: Patient) -> Finding | None:
    """Whether the receipts of forgets reach MongoDB."""
    age = await _waits(patient, names.RECEIPTS)
    if age <= limits.HEALTH_LAG_SECONDS:
        return None
    return Finding(
        f"a receipt of a forget waits for {age:.0f} s", "it is in Redis only, and not yet part of its chain",
        "memoryd sync",
    )  # fmt: skip


async def follower_lease(patient: Patient) -> Finding | None:
    """Whether a sync service follows MongoDB's changes."""
    if (await following(patient.redis)).holder:
        return None
    return Finding(
        "no sync service holds the lease of the follower",
        "nothing is archived, and what is changed in MongoDB does not reach Redis", "memoryd sync",
    )  # fmt: skip


async def follower_place(patient: Patient) -> Finding | None:
    """Whether the active follower gets on."""
    now = await following(patient.redis)
    age = now.place_age_seconds
    if not now.holder or age is None or age <= limits.HEALTH_LAG_SECONDS:
        return None
    return Finding(
        f"the follower has saved its place {age:.0f} s ago", "what is changed in MongoDB reaches Redis late",
        "memoryd sync status; start sync again when it stays so",
    )  # fmt: skip


async def _lag(patient: Patient, follower: str, consequence: str, mend: str) -> Finding | None:
    entries, seconds = behind(await lags(patient.redis, patient.keys), follower)
    if seconds <= limits.HEALTH_LAG_SECONDS:
        return None
    return Finding(f"{entries} entries wait for the follower {follower}, the oldest for {seconds:.0f} s", consequence, mend)


async def _waits(patient: Patient, stream: str) -> float:
    """For how many seconds the oldest entry of a stream has been there; 0 when it is empty."""
    client: Any = patient.redis
    with hot_errors(f"look at {stream}"):
        first = await client.xrange(stream, count=1)
    return age_of(first[0][0]) if first else 0.0


CHECKS = (
    daemon_answers, requests_waiting, journal_groups, embedding_lag, archive_lag, journal_room, dead_letters, receipts_chained,
    follower_lease, follower_place,
)  # fmt: skip
