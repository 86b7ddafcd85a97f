"""Chapter 3: questions about the conversation, and what is recalled for them."""

from __future__ import annotations

from rich.text import Text

from memoryd.demo.stage import Stage
from memoryd.demo.voice import short
from memoryd.exchange import Question
from memoryd.model.results import Hit

SHOWN, LOOKED_AT = 3, 10


async def ask(stage: Stage) -> None:
    """Ask each question and show the best three turns, with the reasons and whether the answer is among them."""
    stage.voice.chapter(
        "Questions",
        "A recall looks by meaning (vectors) and by words (full text), of the turns and of what stands around them. Each "
        "turn it finds says how much each of these gave to its score. The data set knows which turns hold the answer: "
        "they are marked.",
    )
    found = [await _ask(stage, question) for question in stage.conversation.questions]
    if found:
        stage.voice.say(f"{sum(found)} of {len(found)} answers are among the first {SHOWN} turns.")
    else:
        stage.voice.say("The file has no questions whose answers are marked.")


async def _ask(stage: Stage, question: Question) -> bool:
    hits = (await stage.memory.recall(question.question, limit=LOOKED_AT)).hits
    places = [place for place, hit in enumerate(hits, 1) if _answers(hit, question)]
    stage.voice.say(f"“{question.question}”  (the answer: {question.answer})", style="bold")
    stage.voice.table(["score", "why", "turn"], [_row(hit, question) for hit in hits[:SHOWN]])
    if not places:
        stage.voice.say(f"The turn with the answer is not among the first {LOOKED_AT}.")
    elif places[0] > SHOWN:
        stage.voice.say(f"The turn with the answer is in place {places[0]}.")
    return bool(places) and places[0] <= SHOWN


def _answers(hit: Hit, question: Question) -> bool:
    return hit.memory.metadata.get("dia_id") in question.evidence


def _row(hit: Hit, question: Question) -> list[str | Text]:
    why = ", ".join(f"{name} {part.contribution:.2f}" for name, part in hit.why.items())
    said = Text(f"{hit.memory.valid_from:%d %b %Y} · {short(hit.memory.content)}")
    if _answers(hit, question):
        said.append("  ← the answer is here", style="bold green")
    return [f"{hit.score:.2f}", why, said]
