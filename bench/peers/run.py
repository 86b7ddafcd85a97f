"""What other people's retrieval finds of the same evidence, with the same turns, the same embedding model, and real servers.

    python -m bench.peers.run PATH/locomo_dev.json [--mem0 PYTHON] [--langgraph PYTHON] [--json FILE]

redisvl runs in this Python; mem0 and LangGraph in one that has them (`pip install mem0ai "redisvl<0.9"`; `pip install
langgraph langgraph-checkpoint-redis`), because their pins fight ours. Each gets the texts that `memoryd import`
stores, and the vectors that the daemon's model gives of them and of the questions, each text alone. It is asked as its own
documentation asks, inside the conversation, and scored like memoryd (bench/evidence.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.evidence import LOCOMO_DEV_SHA256, Answer, load, means, present, score, table
from bench.harness import own_servers
from bench.peers import work
from memoryd.config import load_settings
from memoryd.embed import open_embedder
from memoryd.exchange import BadItem, read
from memoryd.limits import RECALL_LIMIT_MAX

HERE = Path(__file__).parent
BATCH = 64


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    asked = load(arguments.data)
    turns = [one for one in read(arguments.data) if not isinstance(one, BadItem)]
    embedder = await open_embedder(load_settings())
    assert embedder is not None, "a peer without vectors is no comparison"
    vectors = await _embedded(embedder, [*(one["content"] for one in turns), *(one.text for one in asked)])
    items = [
        work.Item(one["project"], one["session"], one["metadata"]["dia_id"], one["content"], vector)
        for one, vector in zip(turns, vectors, strict=False)
    ]
    questions = [work.Asked(one.project, one.text, vector) for one, vector in zip(asked, vectors[len(turns) :], strict=True)]
    scripts = {"redisvl_hybrid": arguments.redisvl, "mem0_add": arguments.mem0, "langgraph_store": arguments.langgraph}
    lines: dict[str, list[dict[str, Any]]] = {}
    for script, python in scripts.items():
        if not python:
            print(f"skipped: {script} needs a Python that has it (see --help)", file=sys.stderr)
            continue
        async with own_servers() as servers:
            given = work.Work(items, questions, servers.redis_url, RECALL_LIMIT_MAX)
            found = await asyncio.to_thread(_answers, script, python, given)
        if found is None:
            print(f"failed: {script}", file=sys.stderr)
            continue
        for peer, answers in found.items():
            lines[peer] = [score(one, _answer(turns_)) for one, turns_ in zip(asked, answers, strict=True)]
            print(table({peer: means(lines[peer])}), flush=True)
    await embedder.close()
    return {"recall": {peer: means(one) for peer, one in lines.items()}, "lines": lines}


async def _embedded(embedder: Any, texts: list[str]) -> Any:
    rows = [await embedder.embed(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
    return np.concatenate(rows)


def _answers(script: str, python: str, given: work.Work) -> dict[str, work.Turns] | None:
    """What a peer answers; None when it fails: the others go on."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work.save(folder, given)
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
        if subprocess.run([python, str(HERE / f"{script}.py"), name], check=False, env=environment).returncode:
            return None
        answers: dict[str, work.Turns] = json.loads((folder / "answers.json").read_text())
        return answers


def _answer(turns: list[str]) -> Answer:
    return Answer(turns, [f"session_{one.partition(':')[0].removeprefix('D')}" for one in turns])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--redisvl", metavar="PYTHON", default=sys.executable, help="a Python that has redisvl; '' to skip it")
    parser.add_argument("--mem0", metavar="PYTHON", help="a Python that has mem0ai")
    parser.add_argument("--langgraph", metavar="PYTHON", help="a Python that has langgraph-checkpoint-redis")
    parser.add_argument("--json", type=Path, help="everything, each question's turns included")
    arguments = parser.parse_args()
    if not present(arguments.data, LOCOMO_DEV_SHA256):
        return
    results = asyncio.run(run(arguments))
    print(table(results["recall"]))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
