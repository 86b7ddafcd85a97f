"""Runs one after the other, on a laboratory that lives as long as it is healthy and of the right shape."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults.lab import Lab
from tests.faults.plan import Plan
from tests.faults.run import Verdict, run

RUNS_MAX = 16  # then the stores have grown so much that looking at them takes longer than a new laboratory


class Series:
    """`keep` names a folder for the logs of what failed."""

    def __init__(self, *, keep: str | None = None) -> None:
        self._keep = Path(keep) if keep else None
        self._lab: Lab | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def run(self, plan: Plan) -> Verdict:
        """One run, on the laboratory of the run before where that will do."""
        if self._lab and (self._lab.shape != plan.shape or self._lab.runs >= RUNS_MAX):
            await self._close()
        if self._lab is None:
            self._lab = await Lab(plan.shape).__aenter__()
        try:
            verdict = await run(self._lab, plan)
        except Exception as error:  # a long series goes on after what nobody thought of
            verdict = Verdict(plan, 0, 0, 0.0, [f"laboratory: {type(error).__name__}: {error}"])
        if verdict.wrong:
            self._save_logs(plan)
            await self._close()
        return verdict

    def _save_logs(self, plan: Plan) -> None:
        if self._keep and self._lab:
            shutil.copytree(self._lab.data / "logs", self._keep / f"seed-{plan.seed}", dirs_exist_ok=True)

    async def _close(self) -> None:
        if self._lab is not None:
            await self._lab.__aexit__(None, None, None)
            self._lab = None
