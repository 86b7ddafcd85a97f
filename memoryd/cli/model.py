"""memoryd model"""

from __future__ import annotations

from typing import Annotated

import typer

from memoryd.cli import options, output
from memoryd.errors import MemorydError

app = typer.Typer(help="The embedding model on this machine.", no_args_is_help=True)


@app.callback()
def model() -> None:
    """The embedding model on this machine."""


@app.command("prepare")
def prepare(
    int8: Annotated[
        bool, typer.Option("--int8", help="Make its int8 form too, a quarter as large, if it is as good on real text.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Get the configured model ready, once: the lightest way that this machine has, and never a CUDA build unasked."""
    from memoryd.config import EmbedderKind, load_settings
    from memoryd.embed.model_name import INT8, original_of

    try:
        settings = load_settings()
        if settings.embedder not in (EmbedderKind.AUTO, EmbedderKind.ONNX):
            typer.echo(f"nothing to prepare for MEMORYD_EMBEDDER={settings.embedder}", err=True)
            return
        if int8 and original_of(settings.model) is None:
            settings = settings.model_copy(update={"model": settings.model + INT8})
        from memoryd.embed.prepare import prepare as make_ready

        prepared = make_ready(settings, say=lambda sentence: typer.echo(sentence, err=True))
    except MemorydError as error:
        output.fail(error)
    if int8:
        typer.echo(f"to use it: MEMORYD_MODEL={settings.model}; for a Redis that has vectors, `memoryd reindex` first", err=True)
    if json:
        output.print_json(
            {"model": prepared.model, "dims": prepared.dims, "bytes": prepared.bytes, "origin": prepared.origin}
        )
