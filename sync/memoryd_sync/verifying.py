"""Both stores compared whole: what `memoryd sync verify` prints, and what a weekly job counts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from memoryd.archive.documents import DocumentArchive
from memoryd.clock import SystemClock
from memoryd.config import Settings
from memoryd.hot.documents import Documents
from memoryd.stores import open_both
from memoryd_sync.documents import DocumentComparison, DocumentReconciler
from memoryd_sync.follower import SETTLE_SECONDS
from memoryd_sync.projector import Projector
from memoryd_sync.reconcile import Comparison, Difference, Progress, Reconciler
from memoryd_sync.sound import Soundness, Unsound
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.sync")


@dataclass(frozen=True)
class Looked:
    """A look at everything, and what was wrong then."""

    unsound: list[Unsound]
    comparison: Comparison
    differing: list[Difference]
    documents: DocumentComparison

    @property
    def wrong(self) -> int:
        """How much is."""
        return len(self.unsound) + len(self.differing) + len(self.documents.behind)


async def compare(
    unsound: list[Unsound], reconciler: Reconciler, documents: DocumentReconciler, *,
    progress: Progress = lambda _: None,
) -> Looked:  # fmt: skip
    """A whole comparison, and what still differs a moment later; of documents, which the archive lacks then. `unsound` was
    found before: each record by itself."""
    comparison = await reconciler.compare(progress=progress)
    behind = await documents.compare()
    if not comparison.differences and not behind.behind:
        return Looked(unsound, comparison, [], behind)
    await asyncio.sleep(SETTLE_SECONDS)  # what was only on its way has arrived by then
    differing = await reconciler.still_differing(comparison.differences)
    return Looked(unsound, comparison, differing, await documents.compare() if behind.behind else behind)


async def verify(settings: Settings) -> dict[str, int]:
    """The comparison as a job: how much was looked at, and how much differs. Nothing is changed."""
    async with open_both(settings) as (records, archive, model):
        projector = Projector(records, archive, SystemClock())
        projector.model = model
        documents = DocumentReconciler(Documents(records.redis, records.keys), DocumentArchive(archive))
        unsound = await Soundness(records, archive, projector).look()
        looked = await compare(unsound, Reconciler(records, archive, projector), documents)
    if looked.wrong:
        log.warning("verify.differs", count=looked.wrong, next="memoryd sync verify, then memoryd sync repair")
    differences = looked.wrong - len(unsound)
    return {"memories": looked.comparison.archived, "differences": differences, "unsound": len(unsound)}
