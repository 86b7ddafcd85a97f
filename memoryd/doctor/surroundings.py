"""Checks of what is around memoryd on this machine: settings, files, the model, and those who look at it."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from memoryd.config import EmbedderKind, Settings
from memoryd.doctor.patient import Finding, Patient

# Read by the commands and by the MCP server, besides the settings.
OTHER_VARIABLES = frozenset({
    "MEMORYD_TENANT", "MEMORYD_PROJECT", "MEMORYD_AGENT", "MEMORYD_SESSION", "MEMORYD_INSIGHT_URL", "MEMORYD_LEASE_TOKEN",
})  # fmt: skip
CONNECT_SECONDS = 2.0
DISK_BYTES_MIN = 1_000_000_000  # a model and its making


async def unknown_settings(patient: Patient) -> Finding | None:
    """Whether a variable is set that nobody reads."""
    known = {f"MEMORYD_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    unknown = sorted(name for name in patient.environment if name.startswith("MEMORYD_") and name not in known)
    if not unknown:
        return None
    meant = difflib.get_close_matches(unknown[0], known, 1)
    return Finding(
        f"nobody reads {', '.join(unknown)}", "what it was to change keeps its default",
        f"unset {unknown[0]}" + (f"; export {meant[0]}=…" if meant else "") + " (`memoryd config` lists all)",
    )  # fmt: skip


async def cache_folder(patient: Patient) -> Finding | None:
    """Whether models can be kept."""
    folder = patient.settings.cache_dir
    try:
        await asyncio.to_thread(_try_to_write, folder)
    except OSError as error:
        return Finding(
            f"MEMORYD_CACHE_DIR ({folder}) cannot be written: {error.strerror}", "no model can be prepared there",
            f"mkdir -p {folder}, or name a folder that can be written in MEMORYD_CACHE_DIR",
        )  # fmt: skip
    return None


async def cache_disk(patient: Patient) -> Finding | None:
    """Whether there is room for a model."""
    with contextlib.suppress(OSError):  # the check before this one says so
        free = shutil.disk_usage(_existing(patient.settings.cache_dir)).free
        if free < DISK_BYTES_MIN:
            return Finding(
                f"{free / 1e9:.1f} GB are free where models are kept", "a model cannot be prepared or exported",
                f"make room, or name a larger disk in MEMORYD_CACHE_DIR: df -h {patient.settings.cache_dir}",
            )  # fmt: skip
    return None


async def model_prepared(patient: Patient) -> Finding | None:
    """Whether the local model is there."""
    from memoryd.embed.prepare import find_prepared

    if patient.settings.embedder not in (EmbedderKind.AUTO, EmbedderKind.ONNX):
        return None
    if await asyncio.to_thread(find_prepared, patient.settings):
        return None
    return Finding(
        f"the model {patient.settings.model} is not prepared on this machine",
        "a daemon that starts here has to fetch it first, which takes a minute and the network", "memoryd model prepare",
    )  # fmt: skip


async def embedding_endpoint(patient: Patient) -> Finding | None:
    """Whether the endpoint that embeds is there."""
    settings = patient.settings
    if settings.embedder is not EmbedderKind.HTTP or await _listens(settings.embed_url):
        return None
    return Finding(
        "nobody listens at MEMORYD_EMBED_URL", "memories get no vectors; they are found by their words",
        "curl -v \"$MEMORYD_EMBED_URL/models\" shows why",
    )  # fmt: skip


async def telemetry_endpoint(patient: Patient) -> Finding | None:
    """Whether what spans and metrics are sent to is there."""
    names = [f"OTEL_EXPORTER_OTLP_{part}ENDPOINT" for part in ("", "TRACES_", "METRICS_")]
    deaf = [name for name in names if (url := patient.environment.get(name)) and not await _listens(url)]
    if not deaf:
        return None
    return Finding(
        f"nobody listens at {deaf[0]}", "spans and metrics are dropped; memories are served",
        f"start the collector (docker compose up --detach collector), or unset {deaf[0]}",
    )  # fmt: skip


async def health_pages(patient: Patient) -> Finding | None:
    """Whether the pages that are configured are answered."""
    settings = patient.settings
    ports = {"MEMORYD_HEALTH_PORT": settings.health_port, "MEMORYD_SYNC_HEALTH_PORT": settings.sync_health_port}
    silent = [name for name, port in ports.items() if port and not await _listens(f"http://{settings.health_host}:{port}")]
    if not silent:
        return None
    return Finding(
        f"nobody answers at {silent[0]}", "probes take the service for dead, and Prometheus gets no metrics",
        f"start {'memoryd serve' if silent[0] == 'MEMORYD_HEALTH_PORT' else 'memoryd sync'} with {silent[0]} set as here",
    )  # fmt: skip


async def _listens(url: str) -> bool:
    parts = urlsplit(url if "//" in url else f"http://{url}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _try_to_write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, path = tempfile.mkstemp(dir=folder, prefix=".doctor-")
    os.close(descriptor)
    Path(path).unlink()


def _existing(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.exists())


CHECKS = (
    unknown_settings, cache_folder, cache_disk, model_prepared, embedding_endpoint, telemetry_endpoint, health_pages,
)  # fmt: skip
