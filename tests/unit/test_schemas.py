"""The definitions as data: what the indexes select, what they index, and what a fingerprint notices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from memoryd.limits import JOB_RUNS_KEPT_SECONDS, LOGS_KEPT_SECONDS, METRICS_HOURS_SECONDS, TRACES_KEPT_SECONDS
from memoryd.model.episode import FIELDS
from memoryd.model.fact import FIELDS as FACT_FIELDS
from memoryd_schemas.errors import SchemaError, VectorMismatch
from memoryd_schemas.fingerprint import fingerprint
from memoryd_schemas.indexes import KINDS, VectorSettings, definition, redis_indexes
from memoryd_schemas.mongo_apply import COLLECTIONS, collection_definition
from memoryd_schemas.redis_state import RedisState, Vectors, refuse_unfit

VECTOR = VectorSettings(dims=384, algorithm="hnsw", datatype="float32", m=16, ef_construction=200, ef_runtime=150)

PREFIXES = {
    "semantic": ("hash", "aether:memory:semantic:"),
    "episodic": ("hash", "aether:memory:episodic:"),
    "working": ("json", "aether:memory:working:"),
    "agent_state": ("json", "aether:agent:state:"),
    "question": ("hash", "aether:cache:question:"),
}


def create_arguments(kind: str, vector: VectorSettings) -> list[str]:
    """What FT.CREATE is told about the kind's fields."""
    return [str(part) for field in redis_indexes(vector)[kind].redis_fields for part in field.redis_args()]


@pytest.mark.parametrize("kind", KINDS)
def test_each_index_has_its_name_and_selects_its_own_prefix(kind: str) -> None:
    index = redis_indexes(VECTOR)[kind].index
    assert index.name == f"aether:index:{kind}"
    assert (index.storage_type.value, index.prefix) == PREFIXES[kind]


def test_semantic_and_episodic_memories_have_the_same_fields() -> None:
    """A recall asks both indexes one question; what is asked of events only, or of facts, is in one of them."""
    shared = [one for one in definition("episodic", VECTOR)["fields"] if one["name"] not in FIELDS]
    assert [one for one in definition("semantic", VECTOR)["fields"] if one["name"] not in FACT_FIELDS] == shared
    assert set(FIELDS) <= set(redis_indexes(VECTOR)["episodic"].field_names)
    assert set(FACT_FIELDS) <= set(redis_indexes(VECTOR)["semantic"].field_names)


@pytest.mark.parametrize("kind", KINDS)
def test_every_exact_value_is_case_sensitive(kind: str) -> None:
    """Otherwise the tenants "Acme" and "acme" would read each other's memories."""
    tags = [field for field in redis_indexes(VECTOR)[kind].fields.values() if field.type == "tag"]
    assert tags
    assert all(field.attrs.case_sensitive for field in tags)


@pytest.mark.parametrize("kind", KINDS)
def test_every_index_carries_the_scope(kind: str) -> None:
    assert {"tenant", "project", "agent_id"} <= set(redis_indexes(VECTOR)[kind].field_names)


def test_the_vector_field_takes_its_form_from_the_settings() -> None:
    vector = replace(VECTOR, dims=8, datatype="float16", m=32, ef_construction=400)
    attributes = redis_indexes(vector)["semantic"].fields["embedding"].attrs
    assert (attributes.dims, attributes.datatype.value, attributes.m) == (8, "FLOAT16", 32)
    assert (attributes.ef_construction, attributes.ef_runtime) == (400, 150)
    assert attributes.distance_metric.value == "COSINE"


def test_an_exact_index_has_no_graph() -> None:
    arguments = create_arguments("semantic", replace(VECTOR, algorithm="flat"))
    assert "EF_CONSTRUCTION" not in arguments
    assert "FLAT" in " ".join(arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_model_no_index_has_a_vector_field(kind: str) -> None:
    assert all(field["type"] != "vector" for field in definition(kind, None)["fields"])


def test_a_fingerprint_ignores_order_and_notices_values() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(definition("semantic", VECTOR)) != fingerprint(definition("semantic", replace(VECTOR, m=32)))
    assert fingerprint(definition("working", VECTOR)) == fingerprint(definition("working", replace(VECTOR, m=32)))


@pytest.mark.parametrize(
    "other",
    [Vectors("b", VECTOR), Vectors("a", replace(VECTOR, dims=8)), Vectors("a", replace(VECTOR, datatype="float16"))],
)
def test_vectors_of_another_form_are_refused_with_the_way_out(other: Vectors) -> None:
    with pytest.raises(VectorMismatch) as caught:
        refuse_unfit(RedisState(16, Vectors("a", VECTOR)), RedisState(16, other))
    assert "memoryd reindex" in (caught.value.hint or "")


def test_another_tuning_of_the_same_vectors_is_no_mismatch() -> None:
    tuned = Vectors("a", replace(VECTOR, algorithm="flat", m=32, ef_construction=400, ef_runtime=50))
    refuse_unfit(RedisState(16, Vectors("a", VECTOR)), RedisState(16, tuned))


def test_another_number_of_buckets_is_refused() -> None:
    with pytest.raises(SchemaError, match="buckets are fixed once data exists"):
        refuse_unfit(RedisState(16, None), RedisState(32, None))


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("traces", TRACES_KEPT_SECONDS), ("metrics", METRICS_HOURS_SECONDS), ("logs", LOGS_KEPT_SECONDS),
        ("job_runs", JOB_RUNS_KEPT_SECONDS),
    ],
)
def test_what_memoryd_tells_of_itself_goes_when_its_limit_says_so(name: str, seconds: int) -> None:
    lives = [index["options"]["expireAfterSeconds"] for index in collection_definition(name)["indexes"]
             if "expireAfterSeconds" in index.get("options", {})]  # fmt: skip
    assert lives == [seconds]


@pytest.mark.parametrize("name", COLLECTIONS)
def test_every_collection_has_a_validator_and_a_reason_for_each_index(name: str) -> None:
    wanted = collection_definition(name)
    assert wanted["collection"] == name
    assert wanted["validator"]["$jsonSchema"]["bsonType"] == "object"
    indexes: list[dict[str, Any]] = wanted["indexes"]
    assert all(index["why"] for index in indexes)
    assert len({index["name"] for index in indexes}) == len(indexes)
