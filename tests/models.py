"""The real embedding model, made ready once on this machine and shared by every test that needs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from memoryd.config import load_settings
from memoryd.embed.prepare import prepare


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """The prepared default model's folder. The first run on a machine takes a minute and a download."""
    return prepare(load_settings(), say=_tell).path


def _tell(sentence: str) -> None:
    """To stderr, so that a first run which takes a minute is not silent."""
    sys.stderr.write(f"{sentence}\n")
