"""The conversation that the demo remembers: the first one of a LoCoMo file, and the questions about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from memoryd.errors import BadRequest
from memoryd.exchange import BadItem, Item, Question, questions, read

DATA_SET = Path("../shared/data/locomo/locomo_dev.json")
QUESTIONS = 5
SINGLE_HOP, ADVERSARIAL = 4, 5


@dataclass(frozen=True)
class Conversation:
    """Its turns in order as arguments of `store`, and the questions to ask."""

    name: str
    turns: list[Item]
    unusable: int
    questions: list[Question]


def default_file() -> Path:
    """The LoCoMo data set where it lies beside this repository, else the conversation that memoryd brings along."""
    return DATA_SET if DATA_SET.is_file() else Path(str(files("memoryd") / "demo_data" / "conversation.json"))


def first_conversation(path: Path) -> Conversation:
    """The first conversation of the file. Raises BadRequest when it holds none."""
    name = next((item["project"] for item in read(path, format="locomo") if not isinstance(item, BadItem)), None)
    if name is None:
        raise BadRequest(f"{path.name}: holds no conversation that can be used")
    found = list(read(path, format="locomo", conversation=name))
    turns = [item for item in found if not isinstance(item, BadItem)]
    return Conversation(name, turns, len(found) - len(turns), _chosen(questions(path, name), turns))


def _chosen(asked: Sequence[Question], turns: Sequence[Item]) -> list[Question]:
    """The same five each time, spread over those that single turns answer; where these are few, over all answered."""
    known = {turn["metadata"]["dia_id"] for turn in turns}
    answered = [one for one in asked if one.evidence and known.issuperset(one.evidence) and one.category != ADVERSARIAL]
    simple = [one for one in answered if one.category == SINGLE_HOP]
    many = simple if len(simple) >= QUESTIONS else answered
    return [many[number * len(many) // QUESTIONS] for number in range(QUESTIONS)] if len(many) > QUESTIONS else many
