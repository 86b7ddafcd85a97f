"""Both stores compared whole: what `memoryd sync verify` prints, and what a weekly job counts."""

from __future__ import annotations

import asyncio

from memoryd.archive.documents import DocumentArchive
from memoryd.clock import SystemClock
from memoryd.config import Settings
from memoryd.hot.documents import Documents
from memoryd.stores import open_both
from memoryd_sync.documents import DocumentComparison, DocumentReconciler
from memoryd_sync.follower import SETTLE_SECONDS
from memoryd_sync.projector import Projector
from memoryd_sync.reconcile import Comparison, Difference, Progress, Reconciler
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.sync")


async def compare(
    reconciler: Reconciler, documents: DocumentReconciler, *, progress: Progress = lambda _: None
) -> tuple[Comparison, list[Difference], DocumentComparison]:
    """A whole comparison, and what still differs a moment later; of documents, which the archive lacks then."""
    comparison = await reconciler.compare(progress=progress)
    behind = await documents.compare()
    if not comparison.differences and not behind.behind:
        return comparison, [], behind
    await asyncio.sleep(SETTLE_SECONDS)  # what was only on its way has arrived by then
    differing = await reconciler.still_differing(comparison.differences)
    return comparison, differing, await documents.compare() if behind.behind else behind


async def verify(settings: Settings) -> dict[str, int]:
    """The comparison as a job: how much was looked at, and how much differs. Nothing is changed."""
    async with open_both(settings) as (records, archive, model):
        projector = Projector(records, archive, SystemClock())
        projector.model = model
        documents = DocumentReconciler(Documents(records.redis, records.keys), DocumentArchive(archive))
        comparison, differing, behind = await compare(Reconciler(records, archive, projector), documents)
    count = len(differing) + len(behind.behind)
    if count:
        log.warning("verify.differs", count=count, next="memoryd sync verify, then memoryd sync repair")
    return {"memories": comparison.archived, "differences": count}
