"""One run after the other, each told in a line; in a module of its own, because other processes import it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from tests.faults.plan import Plan
from tests.faults.run import Verdict
from tests.faults.series import Series


def one_by_one(plans: Sequence[Plan], options: argparse.Namespace) -> tuple[int, int]:
    """Runs each; how many writes were acknowledged, and how many runs failed."""
    return asyncio.run(_run_all(plans, options))


async def _run_all(plans: Sequence[Plan], options: argparse.Namespace) -> tuple[int, int]:
    writes, failed = 0, 0
    async with Series(keep=options.keep) as series:
        for plan in plans:
            verdict = await series.run(plan)
            _say(verdict, options)
            writes += verdict.writes
            failed += bool(verdict.wrong)
    return writes, failed


def _say(verdict: Verdict, options: argparse.Namespace) -> None:
    plan, shape = verdict.plan, verdict.plan.shape
    faults = " ".join(map(str, plan.faults)) + (" flush" if plan.flush else "")
    say(
        f"seed {plan.seed}  {shape}  {verdict.writes} writes  [{faults}]  {verdict.seconds:.1f} s  "
        f"{'FAILED' if verdict.wrong else 'ok'}"
    )
    if verdict.wrong:
        for one in verdict.wrong[:20]:
            say(f"    {one}")
        more = f" --aof {shape.aof}" + (" --quick" if options.quick else "")
        more += f" --only {' '.join(options.only)}" if options.only else ""
        say(f"    replay: python -m tests.faults --runs 1 --seed {plan.seed}{more}")


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
