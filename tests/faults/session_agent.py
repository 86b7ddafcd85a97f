"""An agent at work in one session, as a process that can be killed: it says on its standard output what was acknowledged.

`python -m tests.faults.session_agent URL FIRST`: says remark FIRST, FIRST + 1, … until it is ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from typing import Any

import msgspec

from memoryd import connect
from memoryd.errors import HotUnavailable, NoAnswer
from memoryd.protocol.sessions import WorkingMemory

SESSION = "s1"
PACE_SECONDS = 0.02  # an agent, not a flood


async def digest(session: WorkingMemory) -> str:
    """Of all that a session is: every message with every field, and the state."""
    whole = (await session.window(4000)).messages, (await session.get()).value, (await session.get(of="tools")).value
    return hashlib.sha256(msgspec.json.encode(whole)).hexdigest()


async def work(url: str, first: int) -> None:
    """Remarks without end; every fifth also as a variable, every tenth with a checkpoint."""
    async with connect(url, tenant="acme", project="support", agent="scout", timeout_seconds=60) as memory:
        session = memory.working(SESSION)
        number = first
        while True:
            message = {"role": "user", "content": f"remark {number}", "metadata": {"n": number, "half": number / 2}}
            await surely(session.append, message, request_id=f"remark-{number}")
            say(remark=number)
            if number % 5 == 0:
                await surely(session.set, "last", number, request_id=f"last-{number}")
            if number % 10 == 0:
                taken = await surely(session.checkpoint, f"at {number}", request_id=f"checkpoint-{number}")
                say(checkpoint=taken.number, digest=await surely(digest, session))
            number += 1
            await asyncio.sleep(PACE_SECONDS)


async def surely(verb: Any, *args: Any, **more: Any) -> Any:
    """Asks until there is an answer: a request with its id has its effect once."""
    while True:
        try:
            return await verb(*args, **more)
        except (NoAnswer, HotUnavailable):
            await asyncio.sleep(0.1)


def say(**what: Any) -> None:
    """One line."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
