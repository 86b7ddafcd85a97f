"""Whether a summary may stand for what it was made of. Pure: it is asked before anything is stored or moved.

A model may answer nothing, a refusal, somebody's error page, or an essay on something else; the caller's memories are not
to be hidden behind any of these.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence, Set
from itertools import chain, zip_longest

from memoryd.limits import CONTENT_BYTES_MAX, SUMMARY_WORDS_BYTES_MAX, SUMMARY_WORDS_MAX, TERM_REPEATS_MAX
from memoryd.model.terms import found_by, side_by_side, tells_nothing, terms
from memoryd.summarize.extractive import sentences_of
from memoryd.summarize.protocol import Passage

SHARE_MAX = 0.5  # of the characters that it stands for: what is hardly shorter is not worth a detour to the archive
FAITHFUL_MIN = 0.5  # of its own words that the passages have: a paraphrase has most of them, an invention few
REACHED_MIN = 0.9  # of the passages that say something: a query made of one must meet the summary
QUERY_TERMS = 5  # of a query made of a passage: its rarest ones
TELLING_MIN = 3  # a passage with fewer telling terms ("Wow, great!") answers no question
_NO_SUMMARY = re.compile(
    r"\W*(error\b|exception\b|traceback \(|<!doctype|<html|[{\[]\s*[\"']?(error|detail|message)\b|"
    r"(i'?m|i am|we'?re|we are)?\s*(very |so )?sorry\b|i (cannot|can't|can ?not|am unable|won't)\b|as an? (ai|language model)\b|"
    r"(internal server error|bad gateway|service unavailable|gateway time-?out|too many requests|unauthorized|forbidden|"
    r"rate limit|quota exceeded|model .{0,60}not found|invalid api key)\b|here (is|are) the (error|traceback)|null$|none$|n/a$)",
    re.IGNORECASE,
)


def judge(text: str, passages: Sequence[Passage], words: str = "") -> str:
    """Why the summary must not stand for the passages; empty when it may. `words` are those it is found by besides: what
    reaches it is asked of the very terms that its record will have."""
    size = sum(len(one.text) for one in passages)
    if not text.strip():
        return "it is empty"
    if len(text) > size * SHARE_MAX or len(text.encode()) > CONTENT_BYTES_MAX:
        return f"it is not shorter: {len(text)} characters for {size}"
    if _is_error(text, passages):
        return "it is an error or a refusal, not a summary"
    own, theirs = _telling(text), set().union(*(_telling(one.text) for one in passages))
    if not own:
        return "it says nothing"
    if (share := len(own & theirs) / len(own)) < FAITHFUL_MIN:
        return f"it speaks of something else: {share:.0%} of its words are theirs"
    reached, asked = _reached(set(found_by(text, words).split()), passages)
    if asked and reached < asked * REACHED_MIN:
        return f"what it stands for could not be found any more: queries made of {reached} of {asked} memories reach it"
    return ""


def words_for(text: str, passages: Sequence[Passage]) -> str:
    """The terms by which a summary is found besides its own: those of all passages and the names of who speaks, each as often
    as there are passages with it, where its own text has it less often.

    Where there is no room for all, the rarest of each passage are the first, so that none goes without.
    """
    held, known = _spread(passages), Counter(terms(text))
    names = (term for name in dict.fromkeys(one.speaker for one in passages) for term in terms(name))
    turns = zip_longest(*(_rarest(one, held) for one in passages))
    found: dict[str, int] = {}
    room = SUMMARY_WORDS_BYTES_MAX
    for term in dict.fromkeys(chain(names, (term for turn in turns for term in turn if term))):
        count = min(max(held[term], 1), TERM_REPEATS_MAX)
        size = count * (len(term.encode()) + 1)
        if count > known[term] and size <= room and len(found) < SUMMARY_WORDS_MAX:
            found[term], room = count, room - size
    return side_by_side(found)


def _reached(own: Set[str], passages: Sequence[Passage]) -> tuple[int, int]:
    """How many of the passages that say something a query made of them would lead from, and how many these are."""
    held = _spread(passages)
    queries = [_rarest(one, held)[:QUERY_TERMS] for one in passages if len(_telling(one.text)) >= TELLING_MIN]
    return sum(2 * len(own & set(query)) >= len(query) for query in queries), len(queries)


def _rarest(one: Passage, held: Counter[str]) -> list[str]:
    return sorted(_telling(one.text), key=lambda term: (held[term], -len(term), term))


def _spread(passages: Sequence[Passage]) -> Counter[str]:
    return Counter(term for one in passages for term in _telling(one.text))


def _telling(text: str) -> set[str]:
    return {term for term in terms(text) if not tells_nothing(term)}


def _is_error(text: str, passages: Sequence[Passage]) -> bool:
    if not _NO_SUMMARY.match(text):
        return False
    first = next(iter(sentences_of(text)), "")
    return not any(first in one.text for one in passages)  # somebody's own words, kept
