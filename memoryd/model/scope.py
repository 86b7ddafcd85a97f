"""Scope: whose memories a request may see. The daemon puts it into every key and every query."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, unquote

import msgspec

from memoryd.errors import BadRequest
from memoryd.limits import NAME_BYTES_MAX

_PLAIN = re.compile(r"[A-Za-z0-9_.-]*")  # names that are their own tags


class Scope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tenant, project, agent, session. An empty agent or session means "all of them" when reading.

    A scope sees what lies inside it: a project scope sees all its agents, an agent sees its own memories only.
    """

    tenant: str
    project: str
    agent: str = ""
    session: str = ""

    def check(self) -> Scope:
        """This scope, if its names can be used. Raises BadRequest."""
        check_name("scope.tenant", self.tenant)
        check_name("scope.project", self.project)
        if self.agent:
            check_name("scope.agent", self.agent)
        if self.session:
            check_name("scope.session", self.session)
        return self

    def narrowed(self, session: str | None) -> Scope:
        """This scope, inside `session`. Raises BadRequest when it is fixed to another session already."""
        if session is None or session == self.session:
            return self
        if self.session:
            raise BadRequest("session: this scope is fixed to another session", field="session")
        check_name("session", session)
        return msgspec.structs.replace(self, session=session)

    def of_agent(self, agent: str | None) -> Scope:
        """This scope, for `agent`. Raises BadRequest when it is fixed to another agent already."""
        if agent is None or agent == self.agent:
            return self
        if self.agent:
            raise BadRequest("agent: this scope is fixed to another agent", field="agent")
        check_name("agent", agent)
        return msgspec.structs.replace(self, agent=agent)

    def holds(self, other: Scope) -> bool:
        """Whether what is stored under `other` lies inside this scope."""
        return (
            (self.tenant, self.project) == (other.tenant, other.project)
            and self.agent in ("", other.agent)
            and self.session in ("", other.session)
        )


def check_name(field: str, name: str) -> str:
    """`name`, if it may be part of a key: 1 to NAME_BYTES_MAX bytes of UTF-8 without control characters."""
    check_unicode(field, name)
    if not name:
        raise BadRequest(f"{field}: is empty, expected a name", field=field)
    if len(name.encode()) > NAME_BYTES_MAX:
        raise BadRequest(f"{field}: is longer than {NAME_BYTES_MAX} bytes", field=field)
    if any(unicodedata.category(char) == "Cc" for char in name):
        raise BadRequest(f"{field}: holds a control character", field=field)
    return name


def check_unicode(field: str, text: str) -> str:
    """`text`, if it can be written as UTF-8 and holds no NUL (which Redis's query parser cannot carry)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{field}: holds half of a surrogate pair, expected valid Unicode", field=field) from None
    if "\0" in text:
        raise BadRequest(f"{field}: holds a NUL character", field=field)
    return text


def to_tag(name: str) -> str:
    """`name` as it stands in keys, tags and channels: percent-encoded, so that no name can hold a separator."""
    return name if _PLAIN.fullmatch(name) else quote(name, safe="").replace("~", "%7E")


def from_tag(tag: str) -> str:
    """The name behind a tag."""
    return unquote(tag) if "%" in tag else tag
