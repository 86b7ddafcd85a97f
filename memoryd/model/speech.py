"""Who said a memory, and how it reads beside what was said before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def speaker_of(metadata: Mapping[str, Any]) -> str:
    """The speaker that the metadata name (`speaker`, or the `name` of a message's author), on one line; empty when none."""
    for field in ("speaker", "name"):
        name = metadata.get(field)
        if isinstance(name, str) and name.strip():
            return " ".join(name.split())
    return ""


def said(content: str, speaker: str) -> str:
    """The content with its speaker before it, once."""
    return content if not speaker or content.startswith(f"{speaker}:") else f"{speaker}: {content}"


def own_words(content: str, speaker: str) -> str:
    """The content without its speaker; all of it where nothing else is left."""
    return content.removeprefix(f"{speaker}:").strip() or content if speaker else content
