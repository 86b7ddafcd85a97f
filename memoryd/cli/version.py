"""memoryd --version"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import typer

from memoryd import __version__

# What a bug report needs first. The base install has no more than the first three.
LIBRARIES = (
    "redis", "msgspec", "opentelemetry-api", "opentelemetry-sdk", "hiredis", "redisvl", "pymongo", "numpy", "onnxruntime",
    "tokenizers", "zstandard", "mcp",
)  # fmt: skip


def show(asked: bool) -> None:
    """Prints memoryd's version, Python's and those of its main libraries, one a line, and ends the command."""
    if not asked:
        return
    typer.echo(f"memoryd {__version__}")
    typer.echo(f"Python {platform.python_version()}")
    for name in LIBRARIES:
        typer.echo(f"{name} {_installed(name)}")
    raise typer.Exit


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
