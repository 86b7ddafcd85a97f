"""Runs every check, those first that others stand on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from memoryd.doctor import hot, mongo, redis_server, service, surroundings
from memoryd.doctor.patient import Check, Finding, Patient
from memoryd.errors import MemorydError
from memoryd.limits import DOCTOR_CHECK_SECONDS


class Found(msgspec.Struct, frozen=True):
    """A finding, and which check has found it."""

    check: str
    finding: str
    consequence: str
    mend: str


class Examination(msgspec.Struct, frozen=True):
    """What came of all checks."""

    checked: int
    findings: list[Found]
    unchecked: dict[str, str]
    """Checks that could not look, and why."""


# Where one of these finds something, what comes after it could find nothing but its consequences.
REDIS: Sequence[Sequence[Check]] = (
    [redis_server.redis_answers], [redis_server.redis_database], redis_server.CHECKS, [hot.schema_prepared], [hot.bucket_count],
    (*hot.CHECKS, *service.CHECKS),
)  # fmt: skip
MONGO: Sequence[Sequence[Check]] = ([mongo.mongo_answers], mongo.CHECKS)
BOTH: Sequence[Check] = (*hot.BOTH, *mongo.BOTH)
CHECKS: Sequence[Check] = (*surroundings.CHECKS, *(one for step in (*REDIS, *MONGO) for one in step), *BOTH)


async def examine(patient: Patient) -> Examination:
    """Every check that can look. One at a time: a doctor is no load."""
    findings: list[Found] = []
    unchecked: dict[str, str] = {}

    async def run(checks: Sequence[Check]) -> bool:
        """Whether all of them found nothing."""
        before = len(findings) + len(unchecked)
        for check in checks:
            try:
                async with asyncio.timeout(DOCTOR_CHECK_SECONDS):
                    finding = await check(patient)
            except TimeoutError:
                unchecked[name_of(check)] = f"no answer within {DOCTOR_CHECK_SECONDS:g} s"
            except MemorydError as error:
                unchecked[name_of(check)] = error.message
            except Exception as error:  # a managed server that tells less than others must not silence the other checks
                unchecked[name_of(check)] = f"it failed ({type(error).__name__})"
            else:
                findings.extend([_found(check, finding)] if finding else [])
        return len(findings) + len(unchecked) == before

    async def in_steps(steps: Sequence[Sequence[Check]]) -> bool:
        """Runs the steps; what one alone stands for has to be well for those after it. Whether all could run."""
        for number, step in enumerate(steps):
            if not await run(step) and len(step) == 1:
                later = [name_of(one) for after in steps[number + 1 :] for one in after]
                unchecked.update(dict.fromkeys(later, f"see {name_of(step[0])}"))
                return False
        return True

    await run(surroundings.CHECKS)
    redis, archive = await in_steps(REDIS), await in_steps(MONGO)
    if redis and archive:
        await run(BOTH)
    else:
        unchecked.update(dict.fromkeys(map(name_of, BOTH), "it looks at both stores"))
    return Examination(len(CHECKS) - len(unchecked), findings, unchecked)


def name_of(check: Check) -> str:
    """What a check is called: its function."""
    return check.__name__.replace("_", "-")


def _found(check: Check, finding: Finding) -> Found:
    return Found(name_of(check), finding.finding, finding.consequence, finding.mend)
