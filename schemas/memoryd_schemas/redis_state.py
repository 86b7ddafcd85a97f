"""What a Redis says of its own schema, kept beside the data in one hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT

from memoryd_schemas.errors import SchemaError, VectorMismatch
from memoryd_schemas.indexes import SLOTS, WITH_VECTORS, VectorSettings, alias_of
from memoryd_schemas.redis_server import text

SCHEMA_VERSION = 1
SETTINGS = tuple(setting.name for setting in fields(VectorSettings))
NAMES = ("model", "slot", "source", *SETTINGS)
FINGERPRINT = "fingerprint:"  # + kind: of the index definition that was applied last
FILLING = "filling:"  # before each of the names: of the vectors that are filled beside the others


@dataclass(frozen=True)
class Vectors:
    """Where a store's vectors come from, how they are kept, and in which of the two slots of a record.

    `source` says how to open the model, as JSON; it is empty for the model that the configuration names.
    """

    model: str
    settings: VectorSettings
    slot: str = SLOTS[0]
    source: str = ""

    def __str__(self) -> str:
        """What makes two vectors comparable; the number type counts, because hashes hold raw bytes."""
        return f"{self.model}, {self.settings.dims} dimensions, {self.settings.datatype}"


@dataclass(frozen=True)
class RedisState:
    """The schema that a Redis was brought to; `vectors` is None in a store that knows words only."""

    buckets: int
    vectors: Vectors | None
    filling: Vectors | None = None
    """What is filled beside them, to take their place."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    version: int = SCHEMA_VERSION


def index_name(kind: str, vectors: Vectors | None) -> str:
    """The index behind a kind's alias: one for each slot, where a kind has vectors at all."""
    return index_of(kind, vectors.slot if vectors else SLOTS[0])


def index_of(kind: str, slot: str) -> str:
    """The same, of a slot."""
    return f"{alias_of(kind)}:{SLOTS.index(slot) + 1}" if kind in WITH_VECTORS else alias_of(kind)


async def load_state(client: Redis, state_key: str) -> RedisState | None:
    """The state, or None on a Redis that memoryd has not used yet."""
    stored = {text(name): text(value) for name, value in (await client.hgetall(state_key)).items()}
    if "version" not in stored:  # or emptied, while somebody was about to write one of the other fields
        return None
    if int(stored["version"]) > SCHEMA_VERSION:  # before anything else is read: its other fields may mean something new
        raise _newer(stored["version"])
    prints = {n.removeprefix(FINGERPRINT): value for n, value in stored.items() if n.startswith(FINGERPRINT)}
    return RedisState(int(stored["buckets"]), _vectors(stored), _vectors(stored, FILLING), prints, int(stored["version"]))


async def save_state(client: Redis, state_key: str, state: RedisState) -> None:
    """Write the whole state in one command."""
    mapping: dict[FieldT, EncodableT] = {"version": state.version, "buckets": state.buckets}
    if state.vectors:
        mapping |= fields_of(state.vectors)
    if state.filling:
        mapping |= fields_of(state.filling, FILLING)
    mapping |= {f"{FINGERPRINT}{kind}": value for kind, value in state.fingerprints.items()}
    await client.hset(state_key, mapping=mapping)


async def drop_vectors(client: Redis, state_key: str) -> None:
    """Drop from the state where the vectors come from, so that the next `apply_redis` accepts another model.

    The vectors in the records are the caller's: take them away before that apply, because Redis leaves a record
    with a vector of another length out of the index altogether, its words included.
    """
    await client.hdel(state_key, *NAMES, *(f"{FILLING}{name}" for name in NAMES))


def refuse_unfit(stored: RedisState, wanted: RedisState) -> None:
    """Raises when data of the form `wanted` cannot live beside what is stored."""
    if stored.buckets != wanted.buckets:
        raise SchemaError(
            f"this Redis was set up with {stored.buckets} buckets and the configuration says {wanted.buckets}: "
            "buckets are fixed once data exists",
            hint=f"set MEMORYD_BUCKETS={stored.buckets}, or use an empty Redis",
        )
    if stored.vectors and wanted.vectors and str(stored.vectors) != str(wanted.vectors):
        raise VectorMismatch(
            f"the stored vectors are {stored.vectors}; the configuration says {wanted.vectors}",
            hint="run `memoryd reindex` to compute all vectors again, or configure the stored model",
        )


def _vectors(stored: Mapping[str, str], prefix: str = "") -> Vectors | None:
    found = {name: stored[key] for name in NAMES if (key := f"{prefix}{name}") in stored}
    if "model" not in found:
        return None
    numbers = {name: int(found[name]) for name in ("dims", "m", "ef_construction", "ef_runtime")}
    settings = VectorSettings(algorithm=found["algorithm"], datatype=found["datatype"], **numbers)
    return Vectors(found["model"], settings, found.get("slot", SLOTS[0]), found.get("source", ""))


def fields_of(vectors: Vectors, prefix: str = "") -> dict[FieldT, EncodableT]:
    """The state's fields about these vectors."""
    values = {"model": vectors.model, "slot": vectors.slot, "source": vectors.source, **asdict(vectors.settings)}
    return {f"{prefix}{name}": value for name, value in values.items()}


def _newer(version: str) -> SchemaError:
    return SchemaError(
        f"this Redis was written by a newer memoryd (schema {version}; this one knows up to {SCHEMA_VERSION})",
        hint="upgrade this memoryd",
    )
