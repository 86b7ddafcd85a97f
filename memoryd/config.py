"""Configuration: `MEMORYD_*` in the environment, checked once at the start; `memoryd config` explains it."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from memoryd.errors import ConfigError
from memoryd.limits import EMBED_TURNS_AFTER_MAX
from memoryd.model.job import check_times
from memoryd.model.retention import Retention
from memoryd.model.rules import DAY, Rules


class EmbedderKind(StrEnum):
    """Which backend turns text into vectors."""

    AUTO = "auto"
    ONNX = "onnx"
    TRANSFORMERS = "transformers"
    HTTP = "http"
    NONE = "none"


class Kept(StrEnum):
    """Where memoryd itself keeps what it tells of its work, besides what is sent over OTLP; mongo means redis, too."""

    NONE = "none"
    REDIS = "redis"
    MONGO = "mongo"


class LogsKept(StrEnum):
    """Where memoryd itself keeps its log, besides stderr."""

    NONE = "none"
    MONGO = "mongo"


class SummarizerKind(StrEnum):
    """Which backend makes summaries."""

    EXTRACTIVE = "extractive"
    HTTP = "http"
    TRANSFORMERS = "transformers"


class OverflowKept(StrEnum):
    """As what a session's oldest messages go on living in Redis when it is full."""

    MEMORIES = "memories"
    SUMMARIES = "summaries"


class RerankerKind(StrEnum):
    """Which cross-encoder reads question and memory together, where a recall asks for it."""

    NONE = "none"
    HTTP = "http"
    TRANSFORMERS = "transformers"


def _power_of_two(count: int) -> int:
    if count & (count - 1):
        raise ValueError("must be a power of two")
    return count


class Settings(BaseSettings):
    """Everything that can be set, with the default that a laptop needs."""

    model_config = SettingsConfigDict(env_prefix="MEMORYD_", extra="ignore", frozen=True)

    redis_url: str = Field("redis://127.0.0.1:6379", description="Redis Stack 7.4 or Redis 8, database 0")
    redis_password_file: Path | None = Field(
        None, description="a file with Redis's password, e.g. a container's secret"
    )
    mongo_url: str = Field("mongodb://127.0.0.1:27017/?replicaSet=rs0", description="MongoDB 6 or later, a replica set")
    mongo_database: str = Field("aether_memory", description="the archive's database")
    buckets: Annotated[int, Field(ge=1, le=256), AfterValidator(_power_of_two)] = Field(
        16, description="journals and hash tags; fixed once data exists"
    )
    cache_dir: Path = Field(Path.home() / ".cache" / "memoryd", description="downloaded servers and prepared models")

    embedder: EmbedderKind = Field(
        EmbedderKind.AUTO, description="auto | onnx | transformers | http | none (words only)"
    )
    model: str = Field("sentence-transformers/all-MiniLM-L6-v2", description="the embedding model's name or path")
    embed_url: str = Field("", description="base URL of an OpenAI-compatible embeddings endpoint (embedder=http)")
    embed_key: SecretStr = Field(SecretStr(""), description="its bearer key")
    embed_timeout_seconds: float = Field(30.0, gt=0, le=600, description="time limit of one call to it")
    embed_turns_after: int = Field(
        0, ge=0, le=EMBED_TURNS_AFTER_MAX,
        description="events after its own that an event's vector reads, too: it is made again when they come",
    )
    embed_threads: int = Field(1, ge=1, le=64, description="threads of the local model")
    embed_wait_seconds: float = Field(
        0.0, ge=0, le=1, description="how long a call of an idle model waits for others to share it"
    )

    vector_algorithm: str = Field("hnsw", pattern="^(hnsw|flat)$", description="hnsw | flat (exact)")
    vector_type: str = Field(
        "float32", pattern="^(float32|float16)$", description="float32 | float16 (half the memory)"
    )
    vector_m: int = Field(16, ge=4, le=128, description="HNSW: edges of a node")
    vector_ef_construction: int = Field(100, ge=16, le=2000, description="HNSW: width of the search while building")
    vector_ef_runtime: int = Field(150, ge=10, le=2000, description="HNSW: width of the search while asking")

    recall_weights: dict[str, dict[str, float]] = Field(
        {}, description="JSON: weights of recall's signals by profile, its own profiles too (docs/recall.md)"
    )

    reranker: RerankerKind = Field(
        RerankerKind.NONE, description="none | http | transformers: for recalls that ask for it (docs/recall.md)"
    )
    rerank_model: str = Field("", description="the cross-encoder: its name there, its hub id or its path")
    rerank_url: str = Field("", description="base URL of an endpoint with /rerank (reranker=http)")
    rerank_key: SecretStr = Field(SecretStr(""), description="its bearer key")
    rerank_timeout_seconds: float = Field(2.0, gt=0, le=60, description="how long a recall waits for it")

    summarizer: SummarizerKind = Field(
        SummarizerKind.EXTRACTIVE, description="extractive (no model) | http | transformers (docs/compression.md)"
    )
    summarize_model: str = Field("", description="the model that makes summaries: its name there, its hub id or its path")
    summarize_url: str = Field("", description="base URL of an OpenAI-compatible chat endpoint (summarizer=http)")
    summarize_key: SecretStr = Field(SecretStr(""), description="its bearer key")
    summarize_timeout_seconds: float = Field(60.0, gt=0, le=600, description="time limit of one summary, its retries included")

    overflow: OverflowKept = Field(
        OverflowKept.MEMORIES,
        description="what is kept of messages for which a session has no room: memories | summaries (docs/agents-sessions.md)",
    )

    synonyms: dict[str, dict[str, list[list[str]]]] = Field(
        {}, description="JSON: by tenant and project, groups of words that mean the same there (docs/recall.md)"
    )

    traces: Kept = Field(
        Kept.NONE, description="where `memoryd trace` finds spans: none | redis (the latest) | mongo (a week of them, too)"
    )
    metrics: Kept = Field(
        Kept.NONE, description="where metrics are kept: none | redis (time series) | mongo (documents, too) (docs/telemetry.md)"
    )
    logs: LogsKept = Field(LogsKept.NONE, description="where the log is kept besides stderr: none | mongo (for a week)")

    trace_sample: float = Field(
        1.0, ge=0, le=1, description="the share of operations whose spans are sent and kept, besides what failed or was slow"
    )
    trace_slow_milliseconds: float = Field(
        500.0, ge=0, le=3_600_000, description="an operation that takes so long is slow (docs/telemetry.md)"
    )
    trace_stores: bool = Field(
        False, description="true: each command to Redis and MongoDB inside of an operation is a span, too (docs/telemetry.md)"
    )

    trace_redactor: str = Field(
        "",
        description="package.module:function for the text of spans, where there is any; empty: memoryd's (docs/telemetry.md)",
    )

    health_host: str = Field("127.0.0.1", description="the address on which /live, /ready and /metrics are answered")
    health_port: int = Field(0, ge=0, le=65535, description="the daemon's port for them; 0: none (docs/telemetry.md)")
    sync_health_port: int = Field(0, ge=0, le=65535, description="the same of the sync service")
    tiers: dict[str, dict[str, Rules]] = Field(
        {}, description="JSON: by tenant and project (* for all others), when memories change their tier (docs/tiers.md)"
    )

    tier_sweep_seconds: float = Field(600.0, ge=0, le=7 * 24 * 3600, description="how often memories change their tier; 0: never")

    summaries_after_seconds: float = Field(
        0.0, ge=0, le=3650 * DAY, description="a session's events are compressed after so long a quiet (docs/jobs.md); 0: never"
    )
    day_summaries: bool = Field(
        False, description="true: each night every agent's last days get a summary each, those without one (docs/compression.md)"
    )
    retention: dict[str, dict[str, Retention]] = Field(
        {}, description="JSON: by tenant and project (* for all others), what is forgotten by itself (docs/forgetting.md)"
    )
    merge_duplicates: bool = Field(
        False, description="true: the weekly job merges memories that say nearly the same; else it counts (docs/maintenance.md)"
    )
    jobs: Annotated[dict[str, str], AfterValidator(check_times)] = Field(
        {}, description='JSON: when jobs run (UTC), for instance {"retention": "daily 02:30", "verify": "off"} (docs/jobs.md)'
    )

    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG | INFO | WARNING | ERROR")


def load_settings(**overrides: Any) -> Settings:
    """The settings from the environment, `overrides` first. Raises ConfigError that names each wrong variable."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        wrong = "; ".join(f"MEMORYD_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False))
        raise ConfigError(wrong, hint="`memoryd config` lists every setting with its meaning") from None


def hide_password(url: str) -> str:
    """`url` without its password, fit to be shown. A password may hold an @, and Redis's may stand in the query."""
    return re.sub(r"(password=)[^&]*", r"\1…", re.sub(r"//[^/]*@", "//…@", url))
