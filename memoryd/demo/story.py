"""The story in its order: servers, a conversation, questions, one memory's life from its birth to its end, the count."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from rich.console import Console

from memoryd.demo.ask import ask
from memoryd.demo.conversation import default_file, first_conversation
from memoryd.demo.count import count
from memoryd.demo.edit import edit
from memoryd.demo.forget import forget
from memoryd.demo.journey import journey
from memoryd.demo.remember import remember
from memoryd.demo.servers import open_stage
from memoryd.demo.stage import TENANT, Stage
from memoryd.demo.twice import twice
from memoryd.demo.voice import Voice
from memoryd.errors import BadRequest
from memoryd.local.up import stopped_by_signals


async def tell(console: Console, file: Path | None, keep: Path | None) -> bool | None:
    """Tell it; whether all that was counted is right, None when a stop signal ended it before.

    The data is kept in `keep`, or in a folder that is removed. Raises MemorydError.
    """
    voice, started = Voice(console), perf_counter()
    conversation = first_conversation(file or default_file())
    right = None
    with _folder(keep) as data, stopped_by_signals(Console(stderr=True)):
        async with open_stage(voice, data, conversation) as stage:
            right = await _chapters(stage)
        voice.say(f"Everything is stopped. It took {perf_counter() - started:.0f} s.")
    if keep and right is not None:
        voice.say(f"The data is in {keep}; to go on with it: memoryd up --data {keep}")
        voice.say(f'and in another terminal: memoryd recall --tenant {TENANT} --project {conversation.name} "…"')
    return right


async def _chapters(stage: Stage) -> bool:
    await remember(stage)
    await ask(stage)
    memory = await journey(stage)
    await edit(stage, memory)
    await twice(stage)
    left = await forget(stage, memory)
    return await count(stage, left)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        if keep.exists() and any(keep.iterdir()):
            raise BadRequest(
                "--keep: the folder is not empty", hint="the demo counts all that is there: name a new folder"
            )
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="memoryd-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
