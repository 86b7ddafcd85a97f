"""`python -m tests.faults --runs 20 --seed 1`: randomised fault runs, each judged. Exit code 1 when one failed.

A seed replays a run's decisions: the shape of the deployment, every fault with its time and length, and what each client
asks in which order. What happens between them is real time, and therefore not the same twice: a failure that hangs on a
race of milliseconds may need several replays (`--repeat`).
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby, repeat
from multiprocessing import get_context

from tests.faults.block import one_by_one, say
from tests.faults.plan import BLOCK, FAULTS, Plan, make_plan


def main() -> None:
    """Runs what the command line asks for."""
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    plans = [
        make_plan(one, aof=options.aof, quick=options.quick, only=options.only)
        for one in range(seed, seed + options.runs)
        for _ in range(options.repeat)
    ]
    started = time.monotonic()
    writes, failed = _side_by_side(plans, options) if options.jobs > 1 else one_by_one(plans, options)
    say(f"{writes} acknowledged writes in {time.monotonic() - started:.0f} s")
    say(f"{len(plans) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def _side_by_side(plans: Sequence[Plan], options: argparse.Namespace) -> tuple[int, int]:
    """Seeds of one shape stay together, on a laboratory of their own in a process of its own."""
    blocks = [list(block) for _, block in groupby(plans, key=lambda plan: plan.seed // BLOCK)]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        counts = list(pool.map(one_by_one, blocks, repeat(options)))
    return sum(writes for writes, _ in counts), sum(failed for _, failed in counts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=(__doc__ or "").partition("\n")[2])
    parser.add_argument("--runs", type=int, default=10, help="how many seeds, one after the other")
    parser.add_argument("--seed", type=int, help="the first seed (default: a random one)")
    parser.add_argument(
        "--aof", choices=("always", "everysec"), default="", help="Redis's fsync policy (default: by seed)"
    )
    parser.add_argument(
        "--only", metavar="FAULT", nargs="+", choices=FAULTS, default=[], help="these faults and no others"
    )
    parser.add_argument("--quick", action="store_true", help="shorter runs on one MongoDB")
    parser.add_argument("--jobs", type=int, default=1, help="laboratories side by side: about one for each free core")
    parser.add_argument("--repeat", type=int, default=1, help="how often each seed is run")
    parser.add_argument("--keep", metavar="FOLDER", help="where the logs of a failed run go")
    return parser.parse_args()


if __name__ == "__main__":
    main()
