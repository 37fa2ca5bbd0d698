"""What docker-compose.yml gives each container: every setting that it needs, and no secret that it does not."""

import re
from typing import Any

import pytest
import yaml

from login_pipeline.settings import SETTING_NAMES, SettingName, variable
from login_pipeline_tests import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
# Settings of the embedded services, which run beside a checkout.
NOT_FOR_CONTAINERS = {"local_dir"}
MASKING = {"masking_method", "masking_key", "masking_key_source"}


def environment(service: str) -> dict[str, str]:
    return dict(SERVICES[service].get("environment", {}))


def passwords(service: str) -> set[str]:
    return set(re.findall(r"POSTGRES_\w*PASSWORD", str(environment(service))))


@pytest.mark.parametrize("service", ["dagster-daemon", "worker", "maintenance", "metrics"])
@pytest.mark.parametrize("name", sorted(set(SETTING_NAMES) - NOT_FOR_CONTAINERS))
def test_setting_of_the_env_file_reaches_the_containers_that_use_it(name: SettingName, service: str) -> None:
    if (
        (name.startswith("maintenance_database_") and service != "maintenance")
        or (name == "redis_url" and service in {"maintenance", "metrics"})
        or (name in MASKING and service in {"dagster-daemon", "metrics"})
    ):
        assert variable(name) not in environment(service)
    elif name.startswith("database_") and service == "maintenance":
        of_maintenance = variable(name).replace("LOGIN_", "LOGIN_MAINTENANCE_")
        assert environment(service)[variable(name)] == environment(service)[of_maintenance]
    else:
        assert re.search(rf"\$\{{{variable(name)}\b", environment(service)[variable(name)])


def test_every_variable_that_the_compose_file_reads_is_in_the_example() -> None:
    read = set(re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    assert {name for name in read if not re.search(rf"^(# )?{name}=", EXAMPLE, re.MULTILINE)} == set()


def test_an_image_is_built_by_one_service_only() -> None:
    built = [service["image"] for service in SERVICES.values() if "build" in service]
    assert len(built) == len(set(built))
    assert {service["image"] for service in SERVICES.values() if service["image"].endswith(":local")} == set(built)


def test_each_process_has_its_own_password_only() -> None:
    assert passwords("dagster-daemon") == passwords("worker") == passwords("metrics") == {"POSTGRES_RUN_PASSWORD"}
    assert passwords("dagster-webserver") == {"POSTGRES_UI_PASSWORD"}
    assert passwords("prepare") == passwords("maintenance") == {"POSTGRES_MAINTENANCE_PASSWORD"}
    assert passwords("localstack") == passwords("redis") == set()
    of_redis = {name for name in SERVICES if "REDIS_PASSWORD" in str(environment(name))}
    assert of_redis == {"redis", "dagster-daemon", "worker"}


def test_the_web_server_has_no_masking_key_no_credentials_and_no_way_to_table_and_redis() -> None:
    assert set(environment("dagster-webserver")) == {
        "LOGIN_DAGSTER_DATABASE_URL",
        "PGPASSWORD",
        "LOGIN_REDIS_URL",
        "LOGIN_MAX_CONCURRENT_RUNS",
        "LOGIN_SENSOR_ENABLED",
        "LOGIN_VISIBILITY_TIMEOUT",
        "LOGIN_LOG_FORMAT",
    }
    assert "secrets" not in SERVICES["dagster-webserver"]


def test_what_serves_the_metrics_has_no_masking_key() -> None:
    assert not {variable("masking_key"), variable("masking_key_source")} & set(environment("metrics"))
    assert "secrets" not in SERVICES["metrics"]


def test_workers_can_be_added() -> None:
    assert not {"container_name", "hostname", "ports"} & set(SERVICES["worker"])


def test_a_checkout_that_only_its_owner_can_read_is_enough() -> None:
    mounted = [volume for service in SERVICES.values() for volume in service.get("volumes", ())]
    # LocalStack's entry point is root, and may read any file; what others read is copied and made readable.
    assert [volume for volume in mounted if volume.startswith("./")] == [
        "./deploy/localstack/create-queues.sh:/etc/localstack/init/ready.d/create-queues.sh:ro"
    ]


@pytest.mark.parametrize("service", [name for name in SERVICES if "ports" in SERVICES[name]])
def test_a_port_is_on_loopback_and_can_be_changed(service: str) -> None:
    (port,) = SERVICES[service]["ports"]
    assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+_PORT:-\d+\}:\d+", port)
