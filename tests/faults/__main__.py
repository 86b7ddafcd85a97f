"""`python -m tests.faults --runs 20 --seed 1`: randomised fault runs, each judged. Exit code 1 when one failed.

A seed replays a run's decisions: the shape of the deployment, every fault with its time and length, and what each client
asks in which order. What happens between them is real time, and therefore not the same twice: a failure that hangs on a
race of milliseconds may need several replays (`--repeat`).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence

from tests.faults.plan import FAULTS, Plan, make_plan
from tests.faults.run import Verdict
from tests.faults.series import Series


def main() -> None:
    """Runs what the command line asks for."""
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    plans = [
        make_plan(one, aof=options.aof, quick=options.quick, only=options.only)
        for one in range(seed, seed + options.runs)
        for _ in range(options.repeat)
    ]
    sys.exit(asyncio.run(_run_all(plans, options)))


async def _run_all(plans: Sequence[Plan], options: argparse.Namespace) -> int:
    started, writes, failed = time.monotonic(), 0, 0
    async with Series(keep=options.keep) as series:
        for plan in plans:
            verdict = await series.run(plan)
            _say(verdict, options)
            writes += verdict.writes
            failed += bool(verdict.wrong)
    _print(f"{writes} acknowledged writes in {time.monotonic() - started:.0f} s")
    _print(f"{len(plans) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _say(verdict: Verdict, options: argparse.Namespace) -> None:
    plan, shape = verdict.plan, verdict.plan.shape
    faults = " ".join(map(str, plan.faults)) + (" flush" if plan.flush else "")
    _print(
        f"seed {plan.seed}  {shape.aof} mongo×{shape.members} daemon×{shape.daemons} sync×{shape.syncs}  "
        f"{verdict.writes} writes  [{faults}]  {verdict.seconds:.1f} s  {'FAILED' if verdict.wrong else 'ok'}"
    )
    if verdict.wrong:
        for one in verdict.wrong[:20]:
            _print(f"    {one}")
        more = f" --aof {shape.aof}" + (" --quick" if options.quick else "")
        more += f" --only {' '.join(options.only)}" if options.only else ""
        _print(f"    replay: python -m tests.faults --runs 1 --seed {plan.seed}{more}")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


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
    parser.add_argument("--repeat", type=int, default=1, help="how often each seed is run")
    parser.add_argument("--keep", metavar="FOLDER", help="where the logs of a failed run go")
    return parser.parse_args()


if __name__ == "__main__":
    main()
