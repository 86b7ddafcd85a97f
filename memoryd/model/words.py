"""Words of a text, in every script."""

from __future__ import annotations

from unicodedata import category, normalize

_ENDS = {code: " " for code in range(128) if not (chr(code).isalnum() or chr(code) == "_")}


def spelled(text: str) -> str:
    """`text` with a space for whatever ends a word. A combining mark does not: Hindi, Thai and é may be written with it."""
    if text.isascii():
        return text.translate(_ENDS)
    return "".join(char if char.isalnum() or char == "_" or category(char)[0] == "M" else " " for char in text)


def words_of(text: str) -> frozenset[str]:
    """The words of a text without regard to case, however its accents are written."""
    return frozenset(spelled(normalize("NFC", text.casefold())).split())
