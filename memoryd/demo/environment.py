"""What the demo's processes find in their environment: the demo's settings instead of the developer's."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from memoryd.demo.spans import EXPORT_SECONDS


@contextmanager
def environment(endpoint: str) -> Iterator[None]:
    """For the block, spans go to `endpoint` quickly, metrics nowhere; then the environment is as it was."""
    before = dict(os.environ)
    _become(_ours(before, endpoint))
    try:
        yield
    finally:
        _become(before)


def _ours(before: Mapping[str, str], endpoint: str) -> dict[str, str]:
    kept = {name: value for name, value in before.items() if not name.startswith("OTEL_")}
    if "MEMORYD_REDIS_URL" not in kept:
        kept.pop("MEMORYD_REDIS_PASSWORD_FILE", None)  # it opens another Redis than the one we start
    if "MEMORYD_MONGO_URL" in kept:
        kept["MEMORYD_MONGO_DATABASE"] = f"memoryd_demo_{secrets.token_hex(4)}"
    for name in ("NO_PROXY", "no_proxy"):  # the exporter would send loopback's spans through a proxy
        kept[name] = ",".join(filter(None, (before.get(name), "127.0.0.1")))
    return kept | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": str(round(EXPORT_SECONDS * 1000)),
        "OTEL_METRICS_EXPORTER": "none",
    }


def _become(variables: Mapping[str, str]) -> None:
    for name in set(os.environ) - set(variables):
        del os.environ[name]
    os.environ.update(variables)
