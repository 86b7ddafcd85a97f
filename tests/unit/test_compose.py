"""docker-compose.yml keeps its promises: loopback only, pinned, watched over, and no secret in any file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
each_service = pytest.mark.parametrize("name", SERVICES)


def otel(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "otel" / name).read_text())
    return config


@each_service
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


@each_service
def test_images_are_pinned_to_a_full_version(name: str) -> None:
    assert re.search(r":\d+\.\d+\.\d+(-[\w.]+)?$", SERVICES[name]["image"])


def test_the_images_we_build_on_are_pinned_and_the_user_is_not_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert bases
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)[-1] not in ("root", "0")


@each_service
def test_a_service_has_a_health_check_or_says_why_not(name: str) -> None:
    service = SERVICES[name]
    assert ("healthcheck" in service) != ("x-no-healthcheck" in service)
    assert "test" in service["healthcheck"] if "healthcheck" in service else len(service["x-no-healthcheck"]) > 20


@each_service
def test_a_service_is_restarted_unless_it_runs_once(name: str) -> None:
    waits = [service.get("depends_on", {}).get(name, {}).get("condition") for service in SERVICES.values()]
    runs_once = "service_completed_successfully" in waits
    assert SERVICES[name]["restart"] == ("no" if runs_once else "unless-stopped")


@each_service
def test_dependencies_exist_and_healthy_ones_can_be(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[needed]


@each_service
def test_secrets_and_volumes_that_are_used_are_declared(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"]


def test_no_secret_is_written_down() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/secrets/" in ignored
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|KEY|TOKEN|SECRET", variable):
                assert value.startswith("/run/secrets/")
            assert not re.search(r"://[^/]*:[^/]*@", str(value))


def test_redis_keeps_everything_and_evicts_nothing() -> None:
    command = SERVICES["redis"]["command"][0]
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert "docker-entrypoint.sh redis-server" in command  # what makes the image load search and JSON


def test_a_trace_finds_its_way_from_memoryd_to_jaeger() -> None:
    collector, jaeger = otel("collector.yaml"), otel("jaeger.yaml")
    assert SERVICES["memoryd"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4318"
    assert collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith(":4318")
    assert collector["exporters"]["otlp_http/jaeger"]["endpoint"] == "http://jaeger:4318"
    assert jaeger["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith(":4318")
    backends = jaeger["extensions"]["jaeger_storage"]["backends"]
    assert jaeger["exporters"]["jaeger_storage_exporter"]["trace_storage"] in backends
    assert jaeger["extensions"]["jaeger_query"]["storage"]["traces"] in backends


@pytest.mark.parametrize("name", ["collector.yaml", "jaeger.yaml"])
def test_every_part_of_a_pipeline_is_declared_and_used(name: str) -> None:
    config = otel(name)
    pipeline = config["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert sorted(pipeline[kind]) == sorted(config[kind])
    assert sorted(config["service"].get("extensions", [])) == sorted(config.get("extensions", {}))
