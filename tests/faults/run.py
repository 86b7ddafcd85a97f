"""One run: clients work while faults happen; then everything is healed, drained, and judged."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from memoryd import MemoryClient, connect
from memoryd.archive.foreign import is_edited
from memoryd.errors import BadRequest, MemorydError
from memoryd.keys import REQUESTS
from tests.faults.faults import inflict
from tests.faults.lab import Lab
from tests.faults.look import BATCH, look
from tests.faults.model import Model
from tests.faults.person import Person
from tests.faults.plan import SESSION, Plan
from tests.faults.vectors import misread
from tests.faults.workload import Worker, read

DRAIN_SECONDS = 180
TELL_SECONDS = 1.0  # in which a process that does not go on says where it stands
ANSWER_SECONDS = 10  # a client repeats the request then, with the same id


@dataclass
class Verdict:
    """The outcome of one run."""

    plan: Plan
    writes: int
    kills: int
    seconds: float
    wrong: list[str]


async def run(lab: Lab, plan: Plan) -> Verdict:
    """Carries out a plan on a healthy laboratory."""
    started = time.monotonic()
    model = Model(always=plan.shape.aof == "always", on_fsync=lab.fsync_was_confirmed)
    lab.trouble.clear()
    await lab.place_on_disk()
    tenant = f"t{plan.seed}-{lab.runs}"  # a repeat must not meet the request ids of the run before
    async with AsyncExitStack() as stack:
        connected = [await stack.enter_async_context(_client(lab, plan, tenant)) for _ in range(plan.clients + 2)]
        known: list[str] = []
        workers = [Worker(plan, number, client, model, known) for number, client in enumerate(connected[2:])]
        person = Person(plan, connected[1], lab.archive, model, known)
        stop = asyncio.Event()
        reader = asyncio.create_task(read(connected[0], model, known, plan.random("reader"), stop))
        faults = asyncio.gather(*(inflict(lab, model, one) for one in plan.faults))
        work = asyncio.gather(person.run(), *(one.run() for one in workers))
        for one in (reader, faults, work):
            stack.callback(one.cancel)  # nothing goes on after what went wrong
        await faults
        await lab.heal()
        await work
        stop.set()
        await reader
    wrong = await drained(lab)
    await lab.try_refused_again()
    wrong = wrong or await drained(lab)
    if plan.flush and not wrong:
        await lab.redis.flushall()
        wrong = await drained(lab)
    evidence = await look(lab, tenant)
    evidence.other += [*wrong, *lab.trouble, *await misread(lab, tenant)]
    lab.runs += 1
    judged = model.judge(evidence)
    return Verdict(plan, model.writes, len(model.kills), time.monotonic() - started, judged)


def _client(lab: Lab, plan: Plan, tenant: str) -> MemoryClient:
    session = SESSION if plan.in_context else ""
    return connect(
        lab.redis_url, tenant=tenant, project="lab", agent="a", session=session, timeout_seconds=ANSWER_SECONDS
    )


async def drained(lab: Lab) -> list[str]:
    """Waits until nothing is on its way and both stores tell one story; what still differs in the end."""
    until = time.monotonic() + DRAIN_SECONDS
    left = ["not looked at"]
    while time.monotonic() < until:
        try:
            await lab.age_pending()
            left = await _left(lab)
            if not left:
                return []
        except MemorydError as error:
            left = [f"{error.code} while looking"]
        except Exception as error:  # a Redis that was just emptied has no groups yet
            left = [f"{type(error).__name__} while looking"]
        await asyncio.sleep(0.1)
    lab.ask_for_tasks()
    await asyncio.sleep(TELL_SECONDS)
    return [f"never drained: {one}" for one in left]


async def _left(lab: Lab) -> list[str]:
    """What is still on its way, or differs."""
    redis: Any = lab.redis
    left = []
    for stream in [REQUESTS, *(lab.keys.journal(bucket) for bucket in lab.keys.all_buckets())]:
        groups = await redis.xinfo_groups(stream)
        pending = sum(group["pending"] for group in groups)
        if (length := await redis.xlen(stream)) or pending:
            has = [f"{group['name'].decode()} {group['pending']} pending, {group['lag']} unread" for group in groups]
            left.append(f"{stream} has {length} entries: {'; '.join(has)}")
    return left or await _edits(lab) or await differences(lab)


async def _edits(lab: Lab) -> list[str]:
    """What a person has written, and the follower has not come to. What it has given up waits for an operator."""
    given_up = {one.id for one in await lab.dead_letters().list()}
    async for documents in lab.archive.batches({"seal": {"$exists": True}, "tombstone": {"$ne": True}}, BATCH):
        for document in documents:
            with contextlib.suppress(BadRequest, KeyError, ValueError, TypeError):  # a dead letter
                if document["_id"] not in given_up and is_edited(document):
                    return [f"an edit of {document['_id']} that is not followed"]
    return []


async def differences(lab: Lab) -> list[str]:
    """Where the two stores do not tell one story."""
    comparison = await lab.reconciler().compare()
    left = [f"difference: {one.place.memory_id} {one.kind}" for one in comparison.differences]
    uneven = [bucket for bucket, (hot, archived) in comparison.digests.items() if hot != archived]
    return left + [f"digest: bucket {bucket} differs" for bucket in uneven]
