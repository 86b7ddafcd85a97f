"""Text as full-text search compares it: the same words of a memory and of a question become the same terms.

Case is folded and accents on Latin, Greek and Cyrillic letters go (`café` meets `cafe`); marks that are part of a letter,
as in Hindi, stay. English words lose their endings (Porter2); other scripts keep whole words, and those that put no
spaces between words become overlapping pairs of characters, as Lucene does it for Chinese, Japanese and Korean.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import Stemmer

from memoryd.limits import QUERY_WORDS_MAX, TERM_CHARS_MAX, TERM_REPEATS_MAX, TERMS_MAX
from memoryd.model.summary import SUMMARY
from memoryd.model.words import spelled


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


# RediSearch's own stop words, which its index would not take: nothing is lost by leaving them out first.
_STOP_WORDS = _set_of(
    "a is the an and are as at be but by for if in into it no not of on or such that their then there these they "
    "this to was will with"
)
# Words of a question that say nothing about its answer.
_QUESTION_WORDS = _set_of(
    "what when where who whom whose which why how did do does has have had i you he she we me my your his her its our "
    "am were been being from about can could would should"
)
# Scripts without spaces between words, and Hangul, whose words change their endings: from Thai to Khmer, kana and Han.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u3400-\u9fff"
    "\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_ACCENTED = re.compile("[A-Za-z\u0370-\u052f][\u0300-\u036f]+")  # a letter, decomposed, and its accents
_POSSESSIVE = re.compile(r"(?<=\w)['\u2019]s\b")  # Ada's is Ada
_INSIDE = re.compile(r"(?<=\w)['\u2019](?=[a-z]{1,2}\b)")  # don't is one word, l'ami are two

_stemmers = threading.local()  # a stemmer is not to be used by two threads at once


def terms(text: str) -> list[str]:
    """The terms of `text` in order, doubles included; stop words are left out."""
    words = [word for word in _words_of(text) if word not in _STOP_WORDS]
    return [stem[:TERM_CHARS_MAX] for stem in _stemmer().stemWords(words)]


def query_terms(text: str) -> list[str]:
    """The terms of a question that can tell memories apart, each once: no question words, unless it has no others."""
    words = [word for word in _words_of(text) if word not in _STOP_WORDS]
    telling = [word for word in words if word not in _QUESTION_WORDS]
    return list(dict.fromkeys(stem[:TERM_CHARS_MAX] for stem in _stemmer().stemWords(telling or words)))[:QUERY_WORDS_MAX]


def bounded(text: str) -> str:
    """The terms of `text` as its record keeps them: equal ones side by side, in the order in which they came first."""
    return side_by_side(dict(list(Counter(terms(text)).items())[:TERMS_MAX]))


def side_by_side(counts: Mapping[str, int]) -> str:
    """Terms, each as often as it counts."""
    return " ".join([term if count == 1 else " ".join([term] * min(count, TERM_REPEATS_MAX)) for term, count in counts.items()])


def terms_of(content: str, metadata: Mapping[str, Any]) -> str:
    """The terms by which a memory is found: its own words; of a summary also those of what it stands for."""
    told = metadata.get(SUMMARY)
    words = told.get("words") if isinstance(told, Mapping) else None
    return found_by(content, words) if isinstance(words, str) else bounded(content)


def found_by(content: str, words: str) -> str:
    """The terms of a summary's record: of its content, and of the `words` that are kept beside it, which are terms already (a
    stem has another stem). Each counts as often as where there are more of it."""
    counts = Counter(terms(content)) | Counter(word[:TERM_CHARS_MAX] for word in words.split())
    return side_by_side(dict(list(counts.items())[:TERMS_MAX]))


def telling_words(text: str) -> dict[str, list[str]]:
    """The words of a text that say something, as they are written there (folded), by their term. Numbers say nothing."""
    found: dict[str, list[str]] = {}
    for word in _words_of(text):
        if word not in _STOP_WORDS and word not in _QUESTION_WORDS and not word.isdecimal():
            found.setdefault(_stemmer().stemWord(word)[:TERM_CHARS_MAX], []).append(word)
    return found


def _words_of(text: str) -> list[str]:
    """The words of `text`, folded, not stemmed."""
    words = spelled(_folded(text)).split()
    return words if text.isascii() else [part for word in words for part in _pairs(word)]


def tells_nothing(term: str) -> bool:
    """Whether a term is one of the words of which every question is full."""
    return term in _EMPTY


def _folded(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    if "'" in folded or "\u2019" in folded:
        folded = _INSIDE.sub("", _POSSESSIVE.sub("", folded))
    if folded.isascii():
        return folded
    decomposed = unicodedata.normalize("NFD", folded)
    return unicodedata.normalize("NFC", _ACCENTED.sub(lambda found: found[0][0], decomposed))


def _pairs(word: str) -> Iterator[str]:
    """The spaced parts of a word as they are, the unspaced ones as overlapping pairs."""
    at = 0
    for run in _UNSPACED.finditer(word):
        if word[at : run.start()]:
            yield word[at : run.start()]
        characters = run[0]
        yield from (one + other for one, other in pairwise(characters)) if len(characters) > 1 else characters
        at = run.end()
    if word[at:]:
        yield word[at:]


def _stemmer() -> Stemmer.Stemmer:
    if not hasattr(_stemmers, "english"):
        _stemmers.english = Stemmer.Stemmer("english")
    return _stemmers.english


_EMPTY = frozenset(_stemmer().stemWords(sorted(_STOP_WORDS | _QUESTION_WORDS)))
