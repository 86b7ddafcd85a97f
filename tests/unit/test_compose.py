"""docker-compose.yml keeps its promises: loopback only, pinned, watched over, and no secret in any file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from memoryd_telemetry import names
from memoryd_telemetry.metrics import prometheus_name

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
    assert re.search(r":v?\d+\.\d+\.\d+(-[\w.]+)?$", SERVICES[name]["image"])


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
    assert "redis-check-aof --fix" in command  # docs/decisions/0021
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


# --- Prometheus and Grafana -------------------------------------------------------------------------------------------
def series() -> set[str]:
    """Every name that Prometheus gets from memoryd."""
    found = set()
    for metric in names.METRICS:
        name = prometheus_name(metric)
        found |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if metric.kind == "histogram" else {name}
    return found


def labels() -> set[str]:
    """Every label: our attributes, as Prometheus writes them."""
    values = [value for value in vars(names).values() if isinstance(value, str)]
    return {value.replace(".", "_") for value in values if value.startswith("memoryd.")}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "otel" / "grafana" / "memoryd.json").read_text())
    return found


def alerts() -> list[dict[str, Any]]:
    return [rule for group in otel("alerts.yaml")["groups"] for rule in group["rules"]]


QUERIES = [
    *[target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])],
    *[rule["expr"] for rule in alerts()],
]


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_names_metrics_and_labels_that_there_are(query: str) -> None:
    """A metric that was renamed leaves a panel empty and an alert silent, and nobody notices."""
    used = set(re.findall(r"\bmemoryd_\w+", query))
    known = used & series()
    assert used - series() - labels() == set()
    assert known or query.startswith("up{")
    assert query.count("(") == query.count(")")


def test_every_metric_is_looked_at_by_somebody_or_said_to_be_a_detail() -> None:
    """In the dashboard, or by an alert."""
    details = {
        names.FEEDBACK, names.TOOL_RESULT_AGE, names.SEEN_LOOKS, names.LEASES, names.CHANNEL_MESSAGES, names.QUERY_CACHE_LOOKS,
        names.TEXTS_WITHHELD,
    }  # fmt: skip
    text = " ".join(QUERIES)
    assert {one.name for one in names.METRICS if prometheus_name(one) not in text} == {one.name for one in details}


def test_the_panels_have_a_place_of_their_own_and_the_data_source_that_is_provisioned() -> None:
    panels = dashboard()["panels"]
    places = {
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    }
    assert len(places) == sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in panels)
    assert len({panel["id"] for panel in panels}) == len(panels)
    [source] = otel("grafana/datasource.yaml")["datasources"]
    assert {panel["datasource"]["uid"] for panel in panels if "datasource" in panel} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"


def test_an_alert_says_what_it_means_and_where_to_look() -> None:
    rules = alerts()
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 10
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert len(rule["annotations"]["description"]) > 30
        assert rule["annotations"]["summary"]


def test_prometheus_fetches_from_where_both_services_answer() -> None:
    config = otel("prometheus.yaml")
    targets = {job["job_name"]: job["static_configs"][0]["targets"][0] for job in config["scrape_configs"]}
    for job, (service, variable) in {
        "memoryd": ("memoryd", "MEMORYD_HEALTH_PORT"), "memoryd-sync": ("sync", "MEMORYD_SYNC_HEALTH_PORT"),
    }.items():  # fmt: skip
        assert targets[job] == f"{service}:{SERVICES[service]['environment'][variable]}"
        assert "ports" not in SERVICES[service], "it is not for the world"
    assert config["rule_files"] == [
        volume.split(":")[1] for volume in SERVICES["prometheus"]["volumes"] if "alerts" in volume
    ]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (it comes with Prometheus) is not on PATH")
@pytest.mark.parametrize("command", [["check", "config", "prometheus.yaml"], ["test", "rules", "alerts_test.yaml"]])
def test_prometheus_itself_takes_the_configuration_and_wakes_each_alert(command: list[str], tmp_path: Path) -> None:
    for name in ("prometheus.yaml", "alerts.yaml", "alerts_test.yaml"):
        text = (ROOT / "otel" / name).read_text()
        (tmp_path / name).write_text(text.replace("/etc/prometheus/alerts.yaml", str(tmp_path / "alerts.yaml")))
    checked = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
