"""What each signal weighs, by the kind of question. See docs/recall.md for how they were found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from memoryd.errors import BadRequest, ConfigError
from memoryd.model.memory import MemoryType

SIGNALS = ("words", "neighbours", "session", "expansion", "speaker", "meaning", "when", "recency", "importance", "feedback")


@dataclass(frozen=True)
class Profile:
    """Weights by signal. `standard`: signals are standardised over the candidates before they are weighted."""

    name: str
    weights: Mapping[str, float]
    standard: bool = True


CONVERSATION = Profile(
    "conversation",  # learned by bench/fit_recall.py
    {
        "words": 0.17, "neighbours": 0.25, "session": 0.58, "expansion": 0.1, "speaker": 1.15, "meaning": 0.73, "when": 4.39,
        "feedback": 1.0,
    },
)
FACTS = Profile(  # chosen: a fact stands for itself, so neither neighbours nor a session speak for it
    "facts", {"words": 0.6, "meaning": 1.0, "importance": 0.1, "recency": 0.1, "feedback": 0.5}
)
RECENT = Profile(  # chosen: similarity + recency + importance, each on its own scale from 0 to 1
    "recent", {"words": 0.2, "meaning": 0.5, "recency": 0.2, "importance": 0.1, "feedback": 0.1}, standard=False
)


class Profiles:
    """The built-in profiles, and those of the configuration, which may replace them."""

    def __init__(self, configured: Mapping[str, Mapping[str, float]] | None = None) -> None:
        """Raises ConfigError for a signal that does not exist."""
        self._known = {one.name: one for one in (CONVERSATION, FACTS, RECENT)}
        for name, weights in (configured or {}).items():
            if unknown := sorted(set(weights) - set(SIGNALS)):
                raise ConfigError(
                    f"MEMORYD_RECALL_WEIGHTS: {name}: {', '.join(unknown)} is no signal", hint=f"one of {', '.join(SIGNALS)}"
                )
            standard = self._known[name].standard if name in self._known else True
            self._known[name] = Profile(name, dict(weights), standard)

    def choose(self, name: str, types: tuple[MemoryType, ...]) -> Profile:
        """The profile of that name; without one, `facts` where no events are asked for. Raises BadRequest."""
        if not name:
            name = "conversation" if not types or MemoryType.EPISODIC in types else "facts"
        if name not in self._known:
            raise BadRequest(f"profile: is not one of {', '.join(self._known)}", field="profile")
        return self._known[name]
