"""memoryd why"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memoryd.cli import options, output
from memoryd.errors import NotFound

if TYPE_CHECKING:
    from memoryd.lifecycle.biography import Biography


@options.scoped
def why(target: options.Target, id: options.MemoryId, json: options.Json = False) -> None:
    """Tell a memory's life: each version and what made it, where it lives now, what was made of it, and how it ended.

    What it says is not shown (`memoryd get`). Also: memoryd tiers explain ID, memoryd trace --memory ID.
    """
    import msgspec

    found = output.run(_read(target, id))
    if json:
        output.print_json(found)
        return
    fields = {name: value for name, value in msgspec.structs.asdict(found).items() if name != "chapters"}
    output.print_fields(fields)
    rows = [[one.recorded_at, one.version, one.op, one.tier, one.agent] for one in found.chapters]
    output.print_table("", ["when (UTC)", "version", "what", "tier", "agent"], rows)


async def _read(target: options.Target, id: str) -> Biography:
    from memoryd.archive.client import open_mongo
    from memoryd.archive.store import Archive
    from memoryd.config import load_settings
    from memoryd.hot.client import open_redis
    from memoryd.hot.records import Records
    from memoryd.keys import Keys
    from memoryd.lifecycle.biography import biography
    from memoryd.model.scope import Scope

    settings = load_settings()
    async with open_redis(target.url) as redis, open_mongo(settings.mongo_url) as mongo:
        records = Records(redis, Keys(settings.buckets), settings.vector_type)
        archive = Archive(mongo[settings.mongo_database])
        found = await biography(records, archive, Scope(target.tenant, target.project), id)
    if found is None:
        raise NotFound(f"{id}: neither store knows it in this project", id=id)
    return found
