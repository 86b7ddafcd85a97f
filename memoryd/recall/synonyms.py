"""Words that mean the same in one project: a question for one of them asks for the others, too.

Not RediSearch's own synonyms (FT.SYNUPDATE): those are of a whole index, so of all tenants, and they change what is indexed.
These change the question only, of their own project only, and take effect at once for everything that is stored already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memoryd.errors import ConfigError
from memoryd.limits import QUERY_WORDS_MAX, SYNONYM_GROUPS_MAX, SYNONYMS_MAX
from memoryd.model.scope import Scope
from memoryd.model.terms import query_terms

Configured = Mapping[str, Mapping[str, Sequence[Sequence[str]]]]
"""By tenant and project: groups of words or short phrases."""


class Synonyms:
    """The synonyms of every project that has some."""

    def __init__(self, configured: Configured | None = None) -> None:
        """Raises ConfigError for a group that is too large, or says nothing."""
        self._groups: dict[tuple[str, str], list[list[tuple[str, ...]]]] = {}
        for tenant, projects in (configured or {}).items():
            for project, groups in projects.items():
                if len(groups) > SYNONYM_GROUPS_MAX:
                    raise ConfigError(f"MEMORYD_SYNONYMS: {project}: has {len(groups)} groups, the limit is {SYNONYM_GROUPS_MAX}")
                self._groups[tenant, project] = [_group(project, group) for group in groups]

    def with_synonyms(self, scope: Scope, terms: Sequence[str]) -> list[str]:
        """The terms of a question in their order, then what means the same in the scope's project, as far as there is room."""
        asked, added = set(terms), list(terms)
        for group in self._groups.get((scope.tenant, scope.project), ()):
            if any(asked.issuperset(phrase) for phrase in group):
                added += [term for phrase in group for term in phrase]
        return list(dict.fromkeys(added))[:QUERY_WORDS_MAX]


def _group(project: str, group: Sequence[str]) -> list[tuple[str, ...]]:
    phrases = [tuple(query_terms(phrase)) for phrase in group]
    if not 2 <= len(group) <= SYNONYMS_MAX or not all(phrases):
        raise ConfigError(
            f"MEMORYD_SYNONYMS: {project}: expected groups of 2 to {SYNONYMS_MAX} words or phrases",
            hint='for instance {"acme": {"support": [["k8s", "kubernetes"], ["NYC", "New York"]]}}',
        )
    return phrases
