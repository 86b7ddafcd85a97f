"""The configured summariser, opened: loading a model waits for its first summary."""

from __future__ import annotations

from memoryd.config import Settings, SummarizerKind
from memoryd.summarize.extractive import Extractive
from memoryd.summarize.protocol import Summarizer


def open_summarizer(settings: Settings) -> Summarizer:
    """The one that `settings` name. Raises ConfigError."""
    match settings.summarizer:
        case SummarizerKind.HTTP:
            from memoryd.summarize.chat import Chat

            return Chat.of(settings)
        case SummarizerKind.TRANSFORMERS:
            from memoryd.summarize.pipeline import Local

            return Local.of(settings)
        case SummarizerKind.EXTRACTIVE:
            return Extractive()
