"""Every verb of the protocol, one module a family: its forms, what is said of their fields, and who carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memoryd.protocol.verbs import (
    agents,
    checkpoints,
    compression,
    episodes,
    events,
    facts,
    feedback,
    forgetting,
    introspection,
    maintenance,
    memories,
    scratch,
    seen,
    sessions,
    sharing,
    together,
    tools,
)
from memoryd.protocol.verbs.verb import Form

FORMS: Mapping[str, Form] = {
    **memories.FORMS,
    **seen.FORMS,
    **feedback.FORMS,
    **events.FORMS,
    **sessions.FORMS,
    **checkpoints.FORMS,
    **facts.FORMS,
    **agents.FORMS,
    **introspection.FORMS,
    **episodes.FORMS,
    **scratch.FORMS,
    **tools.FORMS,
    **together.FORMS,
    **sharing.FORMS,
    **forgetting.FORMS,
    **compression.FORMS,
    **maintenance.FORMS,
}
SAYS: Mapping[str, Any] = {
    **seen.SAYS,
    **feedback.SAYS,
    **sessions.SAYS,
    **checkpoints.SAYS,
    **facts.SAYS,
    **agents.SAYS,
    **introspection.SAYS,
    **episodes.SAYS,
    **scratch.SAYS,
    **tools.SAYS,
    **together.SAYS,
    **sharing.SAYS,
    **forgetting.SAYS,
    **compression.SAYS,
    **maintenance.SAYS,
}
