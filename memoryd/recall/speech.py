"""Who speaks: the question names somebody, and memories say who said them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from memoryd.model.terms import query_terms
from memoryd.recall.bm25 import Values
from memoryd.recall.pool import Pool


def named(question: str, speakers: Iterable[str]) -> set[str]:
    """The speakers that the question names, by their first or their whole name."""
    first = {name: query_terms(name)[:1] for name in speakers if name}
    asked = set(query_terms(question)) if first else set()
    return {name for name, term in first.items() if not asked.isdisjoint(term)}


def speaker(pool: Pool, who: set[str]) -> Values:
    """1 for what somebody said whom the question names: "What did Ada paint?" is told by Ada, in the first person and
    without her name. What nobody said, a fact or a summary, counts as Ada's when it names her.

    From the metadata, not from the text (speaker-aware retrieval as in Maharana et al., LoCoMo, ACL 2024, section 5).
    """
    own, said_by = np.zeros(len(pool)), pool.layout.said_by
    for name in who & said_by.keys():
        own[said_by[name]] = 1.0
    if who and "" in said_by:
        naming = pool.hits(sorted({query_terms(name)[0] for name in who})).whose
        own[np.intersect1d(naming, said_by[""])] = 1.0
    return own


def first_person(question: str, who: Iterable[str]) -> str:
    """The question as those whom it names would ask it of themselves: "What did I paint?" lies nearer to "I painted a
    sunset" than "What did Ada paint?" does. English forms only; a question in another language stays as it is."""
    for name in sorted({form for one in who for form in (one, one.split()[0])}, key=lambda form: (-len(form), form)):
        any_case = re.escape(name)
        for verb, mine in (("did", "did"), ("does", "do"), ("is", "am"), ("was", "was"), ("has", "have")):
            question = re.sub(rf"\b{verb} {any_case}\b(?!['\u2019])", f"{mine} I", question, flags=re.IGNORECASE)
        question = re.sub(rf"\b{any_case}['\u2019]s\b", "my", question, flags=re.IGNORECASE)
        question = re.sub(rf"\b{any_case}\b", "I", question, flags=re.IGNORECASE)
    return question
