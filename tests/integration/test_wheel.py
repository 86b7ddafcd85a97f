"""The wheel, alone in an empty environment, is a client: light to install, quick to import, and it works."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from memoryd.hot import scripts
from tests.integration.commands import clean_environment
from tests.world import World

IMPORT_SECONDS_MAX = 0.3
DAEMON_ONLY = ("pymongo", "redisvl", "torch", "numpy", "onnxruntime", "pydantic_settings", "structlog", "mcp", "motor")
UNUSED = ("pydantic", "typer", "rich")  # the command's; a client in an agent's process does not load them
PACKAGES = {"memoryd", "memoryd_schemas", "memoryd_sync", "memoryd_telemetry"}

CLIENT = """
import asyncio, json, sys
import memoryd

async def main():
    async with memoryd.connect(sys.argv[1], tenant="acme", project="support", agent="scout") as memory:
        kept = await memory.store("Ada prefers tea to coffee.", type="fact")
        found = [hit.memory.id for hit in await memory.recall("What does Ada prefer?")]
        one = await memory.get(kept.id)
    from importlib.util import find_spec
    print(json.dumps({
        "content": one.content, "found": found == [kept.id], "home": memoryd.__file__,
        "installed": [name for name in sys.argv[2].split(",") if find_spec(name)],
        "loaded": [name for name in sys.argv[3].split(",") if name in sys.modules],
    }))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def wheel(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    here = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    pip("wheel", str(pytestconfig.rootpath), "--no-deps", *here, "--wheel-dir", str(folder))
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel and what it depends on, and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    pip("--python", str(folder), "install", str(wheel))
    return folder / "bin" / "python"


def pip(*words: str) -> None:
    """Runs this interpreter's pip."""
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    said = subprocess.run([sys.executable, "-m", "pip", *quiet, *words], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr


def elsewhere(python: Path) -> dict[str, str]:
    """An environment in which nothing of this checkout can be found."""
    environment = {name: value for name, value in clean_environment().items() if not name.startswith("PYTHON")}
    return {**environment, "PATH": f"{python.parent}{os.pathsep}{environment['PATH']}"}


def test_it_holds_the_four_packages_with_their_data(wheel: Path) -> None:
    """Scripts, definitions and the demo's conversation are read at run time; tests belong to the checkout."""
    names = set(zipfile.ZipFile(wheel).namelist())
    folders = {name.partition("/")[0] for name in names}

    assert {folder for folder in folders if not folder.endswith(".dist-info")} == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    expected = {path.name for path in Path(scripts.__file__).parent.glob("lua/*.lua")}
    assert {name.rpartition("/")[2] for name in names if name.startswith("memoryd/") and name.endswith(".lua")} == expected
    assert {"memoryd/insight/queries.toml", "memoryd_schemas/redis/flip.lua"} <= names
    for folder, ending in (("redis", ".yaml"), ("mongo", ".json"), ("protocol", ".json")):
        assert [name for name in names if name.startswith(f"memoryd_schemas/{folder}/") and name.endswith(ending)]
    assert "memoryd/demo_data/conversation.json" in names
    assert [name for name in names if "test" in name or "__pycache__" in name] == []


async def test_alone_it_is_a_working_client(world: World, python: Path, tmp_path: Path) -> None:
    """It stores, recalls and gets, from another folder, with nothing of the daemon's installed."""
    child = await asyncio.create_subprocess_exec(
        python, "-I", "-c", CLIENT, world.settings.redis_url, ",".join(DAEMON_ONLY), ",".join(UNUSED),
        cwd=tmp_path, env=elsewhere(python), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(child.communicate(), 120)

    assert (child.returncode, err) == (0, b"")
    said = json.loads(out)
    assert (said["content"], said["found"]) == ("Ada prefers tea to coffee.", True)
    assert (said["installed"], said["loaded"]) == ([], [])
    assert str(python.parent.parent) in said["home"]


async def test_alone_it_has_the_command_too(world: World, python: Path, tmp_path: Path) -> None:
    """The client's verbs work; the daemon's say what to install."""

    async def memoryd(*words: str) -> tuple[int | None, bytes, bytes]:
        child = await asyncio.create_subprocess_exec(
            python.parent / "memoryd", *words, cwd=tmp_path, env=elsewhere(python),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return await ended(child)

    code, out, err = await memoryd("store", "Ada prefers tea.", "--json", "--url", world.settings.redis_url)
    assert (code, err) == (0, b"")
    code, out, err = await memoryd("get", json.loads(out)["id"], "--url", world.settings.redis_url)
    assert (code, b"Ada prefers tea." in out) == (0, True)
    for words in (
        ["serve"],
        ["config"],
        ["sync"],
        ["up"],
        ["export"],
        ["demo"],
        ["reindex", "--yes"],
        ["model", "prepare"],
    ):
        code, out, err = await memoryd(*words)
        assert (code, out) == (1, b""), words
        assert b"pip install 'memoryd[daemon]'" in err, words
        assert b"Traceback" not in err, words


async def ended(child: asyncio.subprocess.Process) -> tuple[int | None, bytes, bytes]:
    """Exit code and both outputs of a process that ends by itself."""
    out, err = await asyncio.wait_for(child.communicate(), 120)
    return child.returncode, out, err


def test_importing_it_costs_little(python: Path, tmp_path: Path) -> None:
    """Every process of an agent pays for it; torch, pymongo and pydantic load only where they are used."""
    package = import_seconds(python, tmp_path, "import memoryd")
    client = import_seconds(python, tmp_path, "import memoryd; memoryd.connect")
    sys.stdout.write(f"import memoryd: {package:.3f} s; with memoryd.connect: {client:.3f} s\n")

    assert package < IMPORT_SECONDS_MAX
    assert client < 2 * IMPORT_SECONDS_MAX  # redis-py and asyncio are most of it


def import_seconds(python: Path, folder: Path, statement: str) -> float:
    """Of the processor, without the interpreter's own start; the best of five: what a machine that does nothing else takes."""
    timed = f"import time; start = time.process_time(); {statement}; print(time.process_time() - start)"
    command = [str(python), "-I", "-c", timed]
    runs = [
        subprocess.run(command, cwd=folder, env=elsewhere(python), capture_output=True, text=True, check=True)
        for _ in range(5)
    ]
    return min(float(run.stdout) for run in runs)
