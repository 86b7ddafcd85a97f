"""Where a server comes from: it runs already at a URL, or it is a program that we start."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Given:
    """A server that someone else runs."""

    url: str
    origin: str


@dataclass(frozen=True)
class Program:
    """A server that we can start, with the arguments that belong to the installation (modules)."""

    command: tuple[str, ...]
    origin: str
