"""What the demo has done, and so what every store must hold at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from memoryd.model.results import Receipt, Stored


@dataclass
class Ledger:
    """The memories that were acknowledged, with the content and the version that they must have now."""

    turns: int = 0  # of the conversation
    turns_acknowledged: int = 0
    alive: dict[str, tuple[str, int]] = field(default_factory=dict)
    forgotten: dict[str, int] = field(default_factory=dict)

    def stored(self, kept: Stored, content: str) -> None:
        """A store was acknowledged. One that was reinforced keeps its version."""
        self.alive[kept.id] = (content, kept.version)

    def edited(self, memory_id: str, content: str) -> None:
        """A memory's content was changed, whoever did it: that is one version more."""
        _, version = self.alive[memory_id]
        self.alive[memory_id] = (content, version + 1)

    def forgot(self, receipt: Receipt) -> None:
        """A memory is gone, with all its versions."""
        del self.alive[receipt.id]
        self.forgotten[receipt.id] = receipt.version

    @property
    def versions(self) -> set[str]:
        """The ids of all documents that `versions` must hold."""
        return {f"{memory_id}:{number}" for memory_id, (_, last) in self.alive.items() for number in range(1, last + 1)}
