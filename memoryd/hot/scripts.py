"""The atomic steps: one Python function for each script in `lua/`, same name, typed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, TypeAlias

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from memoryd.hot.codec import Encoded
from memoryd.limits import EVENTS_KEPT_MAX, EVENTS_TTL_SECONDS, FSYNC_TIMEOUT_SECONDS

_LUA = files("memoryd.hot") / "lua"
_LIMITS = f"local EVENTS_KEPT_MAX, EVENTS_TTL_SECONDS = {EVENTS_KEPT_MAX}, {EVENTS_TTL_SECONDS}\n"
_COMMON = _LIMITS + (_LUA / "common.lua").read_text()

Call: TypeAlias = tuple[Sequence[str], Sequence[Encoded]]
"""KEYS and ARGV."""


class Script:
    """One script, run by its digest and loaded on first use (also after a restart of Redis)."""

    def __init__(self, name: str, *shared: str) -> None:
        self.source = _COMMON + "".join((_LUA / f"{one}.lua").read_text() for one in (*shared, name))
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, redis: Redis, keys: Sequence[str], args: Sequence[Encoded]) -> Any:
        """The script's answer, in one round trip once it is loaded."""
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await redis.eval(self.source, len(keys), *keys, *args)

    async def many(
        self,
        redis: Redis,
        calls: Sequence[Call],
        *,
        first: Sequence[Sequence[Encoded]] = (),
        then: Sequence[Encoded] = (),
    ) -> list[Any]:
        """The answers to many calls in one round trip; raises the first error of a call, after all have run.

        `first` are commands that run before them, and must not fail.
        `then` is a command to run after them on the same connection (WAITAOF counts only that connection's writes). Its
        answer comes last, an error of it as an exception: one answer, or two where Redis had to be sent the script.
        """
        answers = await self.each(redis, calls, first=first, then=then)
        for answer in answers[: len(calls)]:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def one_by_one(self, redis: Redis, calls: Sequence[Call]) -> list[Any]:
        """The same for who is in no hurry, in a round trip each: Redis does all that one client has sent before it hears the
        others, and each of these has the index take in a record anew."""
        return [await self(redis, keys, args) for keys, args in calls]

    async def each(
        self,
        redis: Redis,
        calls: Sequence[Call],
        *,
        first: Sequence[Sequence[Encoded]] = (),
        then: Sequence[Encoded] = (),
    ) -> list[Any]:
        """The same, with an exception in the place of an answer that a call had none of."""
        answers = await self._pipelined(redis, calls, "EVALSHA", self.sha, first, then)
        unknown = [index for index, one in enumerate(answers[: len(calls)]) if isinstance(one, NoScriptError)]
        if unknown:
            again = await self._pipelined(redis, [calls[index] for index in unknown], "EVAL", self.source, (), then)
            for index, answer in zip(unknown, again, strict=False):
                answers[index] = answer
            answers += again[len(unknown) :]
        return answers

    async def durably(
        self,
        redis: Redis,
        keys: Sequence[str],
        args: Sequence[Encoded],
        *,
        first: Sequence[Sequence[Encoded]] = (),
        fsync: bool,
    ) -> tuple[Any, bool]:
        """The script's answer; with `fsync` also whether Redis has it on its disk by then. `first` as in `many`."""
        if not fsync and not first:
            return await self(redis, keys, args), True
        answers = await self.many(redis, [(keys, args)], first=first, then=waitaof() if fsync else ())
        return answers[0], not fsync or fsynced(answers[1:])

    async def _pipelined(
        self,
        redis: Redis,
        calls: Sequence[Call],
        command: str,
        script: str,
        first: Sequence[Sequence[Encoded]],
        then: Sequence[Encoded],
    ) -> list[Any]:
        async with redis.pipeline(transaction=False) as pipe:
            for one in first:
                pipe.execute_command(*one)
            for keys, args in calls:
                pipe.execute_command(command, script, len(keys), *keys, *args)
            if then:
                pipe.execute_command(*then)
            answers = list(await pipe.execute(raise_on_error=False))
        for answer in answers[: len(first)]:
            if isinstance(answer, Exception):
                raise answer
        return answers[len(first) :]


def waitaof() -> tuple[Encoded, ...]:
    """The command that waits for Redis's disk."""
    return ("WAITAOF", 1, 0, int(FSYNC_TIMEOUT_SECONDS * 1000))


def fsynced(answers: Sequence[Any]) -> bool:
    """Whether that command was answered in time, each time that it was asked."""
    # Redis answers an error when the append-only file is off, and [0, …] when the time ran out.
    return all(isinstance(one, list) and int(one[0]) >= 1 for one in answers)


store = Script("store")
update = Script("update")
share = Script("share")
forget = Script("forget")
leave_receipt = Script("leave_receipt")
move = Script("move")
put_away = Script("put_away")
lighten = Script("lighten")
use = Script("use")
survey = Script("survey")
attach = Script("attach")
project = Script("project")
refollow = Script("refollow")
hear = Script("hear")
later = Script("later")
judge = Script("judge")
unembed = Script("unembed")
fill = Script("fill")
settle = Script("settle")
clear_slot = Script("clear_slot")
rejournal = Script("rejournal")
raise_version = Script("raise_version")
kept_events = Script("kept_events")
advance = Script("advance", "journals")
backlog = Script("backlog")
added = Script("added")
claim = Script("claim")
save_place = Script("save_place")
lease = Script("lease")
fence = Script("fence")
document = Script("document", "documents")
end_document = Script("end_document", "documents")
restore_document = Script("restore_document", "documents")
rejournal_document = Script("rejournal_document", "documents")
session_open = Script("session_open", "documents", "sessions")
session_append = Script("session_append", "documents", "sessions")
session_look = Script("session_look", "documents", "sessions")
session_state = Script("session_state", "documents", "sessions")
session_recalled = Script("session_recalled", "documents", "sessions")
session_checkpoint = Script("session_checkpoint", "documents", "sessions")
session_rollback = Script("session_rollback", "documents", "sessions")
session_rest = Script("session_rest")
session_leave = Script("session_leave", "documents", "sessions")
session_end = Script("session_end", "documents", "sessions")
session_forget = Script("session_forget", "documents", "sessions")
session_rejournal = Script("session_rejournal", "documents", "sessions")
tool_claim = Script("tool_claim", "tools")
tool_look = Script("tool_look", "tools")
tool_settle = Script("tool_settle", "tools")
tool_invalidate = Script("tool_invalidate", "tools")
scratch_set = Script("scratch_set", "scratch")
scratch_increment = Script("scratch_increment", "scratch")
scratch_push = Script("scratch_push", "scratch")
scratch_pop = Script("scratch_pop", "scratch")
scratch_delete = Script("scratch_delete", "scratch")
episode = Script("episode", "log")
fact = Script("fact")
task_lease = Script("task_lease")
take_over = Script("take_over", "journals")
channel_publish = Script("channel_publish")
gap = Script("gap")
