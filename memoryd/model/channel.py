"""Messages of a project's channels."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec

from memoryd.errors import BadRequest

POSITION = re.compile(r"\d{1,20}-\d{1,20}")


class ChannelMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent has said to its project."""

    position: str
    """Where it stands: read on behind it."""
    number: int
    """Counts the channel's messages. A jump says that some are gone: the channel keeps the newest, and forgets."""
    agent: str
    session: str
    at: datetime
    data: Any
    traceparent: str = ""
    """The span that published it; empty where nothing was traced."""


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is acknowledged."""

    position: str
    number: int


class MessagePage(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a channel, in order."""

    messages: list[ChannelMessage]
    next: str
    """The position to go on behind."""
    more: bool = False


def check_position(after: str) -> str:
    """A position, or '' for the beginning. Raises BadRequest."""
    if after and not POSITION.fullmatch(after):
        raise BadRequest("after: is not a position of a channel", field="after")
    return after
