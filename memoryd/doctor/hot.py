"""Checks of what memoryd keeps in Redis: its schema, its indexes and its records."""

from __future__ import annotations

from typing import Any

from memoryd import keys as names
from memoryd.config import EmbedderKind
from memoryd.doctor.patient import Finding, Patient
from memoryd.embed.late import IN_CONTEXT, name_in_context, turns_after
from memoryd.embed.model_name import known_name
from memoryd.hot.answers import id_of
from memoryd.hot.client import hot_errors
from memoryd.hot.journal import backlogs
from memoryd.hot.lag import lags
from memoryd.hot.sizes import sizes
from memoryd.limits import DOCTOR_KEYS_MAX, DOCTOR_SAMPLE
from memoryd_schemas.indexes import KINDS
from memoryd_schemas.redis_apply import fingerprints
from memoryd_schemas.redis_server import text
from memoryd_schemas.redis_state import SCHEMA_VERSION, index_name

RESTART = "start the daemon again: it brings the indexes up to date (`memoryd serve`)"


async def schema_prepared(patient: Patient) -> Finding | None:
    """Whether a daemon has ever prepared this Redis, and no newer one than this."""
    client: Any = patient.redis
    with hot_errors("look at the schema"):
        version = await client.hget(names.SCHEMA, "version")
    if version is None:
        return Finding("this Redis was never prepared", "nothing can be stored or recalled", "memoryd serve")
    if int(version) <= SCHEMA_VERSION:
        return None
    return Finding(
        f"this Redis was written by a newer memoryd (schema {int(version)})", "no daemon of this version starts",
        "pip install --upgrade memoryd",
    )  # fmt: skip


async def bucket_count(patient: Patient) -> Finding | None:
    """Whether the settings know how many buckets there are."""
    state = await patient.state()
    if state is None or state.buckets == patient.settings.buckets:
        return None
    return Finding(
        f"this Redis has {state.buckets} buckets, and MEMORYD_BUCKETS says {patient.settings.buckets}",
        "no daemon starts: it would look for memories in the wrong places", f"export MEMORYD_BUCKETS={state.buckets}",
    )  # fmt: skip


async def indexes_exist(patient: Patient) -> Finding | None:
    """Whether there is an index of every kind."""
    state = await patient.state()
    client: Any = patient.redis
    with hot_errors("list the indexes"):
        there = {text(name) for name in await client.execute_command("FT._LIST")}
    missing = [kind for kind in KINDS if state and index_name(kind, state.vectors) not in there]
    if not missing:
        return None
    return Finding(f"the search index is missing: {', '.join(missing)}", "recall fails, and so does all that searches", RESTART)


async def index_definitions(patient: Patient) -> Finding | None:
    """Whether the indexes are of the form that this version makes."""
    state = await patient.state()
    wanted = fingerprints(state.vectors) if state else {}
    old = [kind for kind, one in wanted.items() if state and state.fingerprints.get(kind) != one]
    if not old:
        return None
    return Finding(f"the search index is of another version: {', '.join(old)}", "queries by newer fields find nothing", RESTART)


async def indexing_failures(patient: Patient) -> Finding | None:
    """Whether there are records that the indexes could not take."""
    state = await patient.state()
    client: Any = patient.redis
    failed = 0
    for kind in KINDS if state else ():
        with hot_errors("look at an index"):
            about = await client.execute_command("FT.INFO", index_name(kind, state.vectors if state else None))
        pairs = about if isinstance(about, dict) else dict(zip(about[::2], about[1::2], strict=False))
        failed += int(pairs.get(b"hash_indexing_failures", 0))
    if not failed:
        return None
    return Finding(
        f"{failed} records could not be indexed", "they are read by their ids, and never recalled",
        "memoryd sync repair (their originals are in MongoDB); redis-cli FT.INFO aether:index:semantic names the last one",
    )  # fmt: skip


async def reindex_unfinished(patient: Patient) -> Finding | None:
    """Whether another model's vectors are being filled in."""
    state = await patient.state()
    if state is None or state.filling is None:
        return None
    return Finding(
        f"vectors of {state.filling.model} are filled beside those that are read",
        "while that goes on, every record is larger; nothing is wrong if somebody is doing it",
        f"memoryd reindex --model {state.filling.model} (goes on where it ended)",
    )


async def vector_model(patient: Patient) -> Finding | None:
    """Whether the settings name the model that the vectors are of."""
    state, settings = await patient.state(), patient.settings
    local = settings.embedder in (EmbedderKind.AUTO, EmbedderKind.ONNX, EmbedderKind.TRANSFORMERS)
    if state is None or state.vectors is None or not local or state.vectors.source:
        return None
    known, stored = known_name(settings.model), state.vectors.model
    wanted = name_in_context(known, settings.embed_turns_after)
    if stored == wanted:
        return None
    before = f"MEMORYD_MODEL={stored.partition(IN_CONTEXT)[0]} MEMORYD_EMBED_TURNS_AFTER={turns_after(stored)}"
    beside = turns_after(stored) == settings.embed_turns_after
    return Finding(
        f"the stored vectors are of {stored}, and the settings say {wanted}", "no daemon starts with it",
        f"memoryd reindex{f' --model {known}' if beside else ''}, or export {before}",
    )  # fmt: skip


async def pending_without_work(patient: Patient) -> Finding | None:
    """Whether memories wait for a vector that nobody is going to make."""
    state = await patient.state()
    if state is None or state.vectors is None:
        return None
    before = (await sizes(patient.redis, patient.keys)).pending or 0
    found = await backlogs(patient.redis, [patient.keys.journal(one) for one in patient.keys.all_buckets()])
    if sum(one.get("embed", 0) for one in found) or not before:
        return None
    pending = (await sizes(patient.redis, patient.keys)).pending or 0  # what was on its way has its vector by now
    if not pending:
        return None
    return Finding(
        f"{pending} memories have no vector, and nothing in the journal will give them one",
        "they are found by their words only", "memoryd sync dead list, then memoryd sync dead retry ID; or memoryd reindex",
    )  # fmt: skip


async def keys_without_end(patient: Patient) -> Finding | None:
    """Whether there are keys that should expire and do not, among some thousands."""
    client: Any = patient.redis
    looked, endless = 0, []
    with hot_errors("look at keys"):
        async for key in client.scan_iter(match="aether:*", count=500):
            looked += 1
            if not key.decode(errors="replace").startswith(names.PERMANENT_PREFIXES) and await client.ttl(key) == -1:
                endless.append(key)
            if looked >= DOCTOR_KEYS_MAX:
                break
    if not endless:
        return None
    kinds = ", ".join(sorted({":".join(key.decode(errors="replace").split(":")[:2]) for key in endless})[:5])
    return Finding(
        f"{len(endless)} keys never expire and should ({kinds})", "they stay for ever, and may outlive a forget",
        "redis-cli EXPIRE KEY 86400 for each (redis-cli --scan --pattern 'aether:*' lists keys)",
    )  # fmt: skip


async def unarchived_records(patient: Patient) -> Finding | None:
    """Whether a sample of the records is in the archive, or on its way there."""
    if any(one.entries for one in await lags(patient.redis, patient.keys) if one.follower == "archive"):
        return None
    ids: list[str] = []
    client: Any = patient.redis
    with hot_errors("take a sample"):
        for kind in names.KINDS:
            answer = await client.execute_command(
                "FT.SEARCH", names.index(kind), "*", "NOCONTENT", "SORTBY", "created_at", "DESC",
                "LIMIT", 0, DOCTOR_SAMPLE, "DIALECT", 2,
            )  # fmt: skip
            ids += [id_of(row) for row in answer[b"results"]]
    archived = await patient.archive.living(ids, with_text=False) if ids else {}
    missing = [one for one in ids if one not in archived]
    if not missing:
        return None
    return Finding(
        f"{len(missing)} of {len(ids)} memories that were looked at are not in MongoDB, and not on their way there",
        "they are lost when Redis is", "memoryd sync repair",
    )  # fmt: skip


CHECKS = (
    indexes_exist, index_definitions, indexing_failures, reindex_unfinished, vector_model,
    pending_without_work, keys_without_end,
)  # fmt: skip
BOTH = (unarchived_records,)
