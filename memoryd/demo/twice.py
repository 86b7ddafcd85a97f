"""Chapter 6: the same fact twice is one memory; in another scope it is another memory."""

from __future__ import annotations

from memoryd.demo.stage import Stage
from memoryd.model.results import Stored

FACT = "The lighthouse keeper answers letters on Thursdays only."
ELSEWHERE = "another-project"


async def twice(stage: Stage) -> None:
    """Store one fact two times here and once in another project."""
    stage.voice.chapter(
        "The same fact again, and somewhere else",
        "A fact's id is made of its scope, its type and its words, so storing it twice meets itself: the memory is "
        "reinforced. Another project is another scope, and sees nothing of this one.",
    )
    rows = []
    for spelling in (FACT, f"  {FACT.replace(' ', '  ')} "):
        kept = await stage.memory.store(spelling, type="fact")
        accesses = (await stage.memory.get(kept.id)).access_count
        rows.append(_row(stage.conversation.name, kept, accesses))
        stage.ledger.stored(kept, FACT)
    async with stage.connect(project=ELSEWHERE) as other:
        kept = await other.store(FACT, type="fact")
        stage.ledger.stored(kept, FACT)
        rows.append(_row(ELSEWHERE, kept, (await other.get(kept.id)).access_count))
        seen = len((await other.recall(FACT, limit=10)).hits)
    stage.voice.table(["project", "outcome", "id", "version", "accesses"], rows)
    stage.voice.say(f"A recall in “{ELSEWHERE}” finds {seen} memory: its own. Of the conversation it sees nothing.")


def _row(project: str, kept: Stored, accesses: int) -> list[str | int]:
    return [project, kept.outcome, kept.id, kept.version, accesses]
