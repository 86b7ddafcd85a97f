"""Every verb of the protocol, one module a family: its forms, what is said of their fields, and who carries it out."""

from __future__ import annotations

from collections.abc import Mapping

from memoryd.protocol.verbs import events, memories
from memoryd.protocol.verbs.verb import Form

FORMS: Mapping[str, Form] = {**memories.FORMS, **events.FORMS}
