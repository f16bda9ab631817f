"""docker-compose.yml and the Dockerfiles of its services, compared with the service's settings."""

import re
from pathlib import Path

import pytest
import yaml

from app.settings import Settings
from tests.promql import load
from tests.servers import ROOT

TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
DOCKERFILES = [ROOT / "Dockerfile", *sorted(ROOT.glob("deploy/*/Dockerfile"))]
DEFAULTS = Settings.from_environ({})
LARGEST = {"WEB_CONCURRENCY": "256", "THREADS": "256"}

by_service = pytest.mark.parametrize("service", SERVICES)


def test_only_public_port_is_published_to_other_machines() -> None:
    published = [port for service in SERVICES.values() for port in service["ports"]]
    everywhere = [port for port in published if not port.startswith("127.0.0.1:")]
    assert everywhere == [f"${{PUBLISHED_PORT:-{DEFAULTS.port}}}:{DEFAULTS.port}"]


def test_variables_have_defaults() -> None:
    assert re.findall(r"\$.", TEXT) == ["${"] * len(re.findall(r"\$\{\w+:-\w+\}", TEXT))
    assert "env_file" not in TEXT


def test_prometheus_discovers_management_port_of_every_replica() -> None:
    [config, _] = load("prometheus.yml")["scrape_configs"]
    [discovery] = config["dns_sd_configs"]
    assert set(discovery["names"]) <= SERVICES.keys()
    assert (discovery["type"], discovery["port"]) == ("A", DEFAULTS.management_port)


def test_grace_period_exceeds_graceful_timeout() -> None:
    seconds = int(SERVICES["app"]["stop_grace_period"].removesuffix("s"))
    assert seconds > DEFAULTS.graceful_timeout


def test_pids_limit_allows_largest_settings() -> None:
    settings = Settings.from_environ(LARGEST)
    # A worker has a main thread and, for each port, an event loop thread and a thread pool.
    threads = settings.web_concurrency * (1 + 2 * (settings.threads + 1))
    limits = SERVICES["app"]["deploy"]["resources"]["limits"]
    # The master process and health checks also count.
    assert limits["pids"] >= threads + 100


def test_retention_covers_error_budget() -> None:
    [retention] = re.findall(r"retention\.time=(\d+)d", TEXT)
    assert int(retention) > 30


def test_up_works_without_registry_once_image_is_built() -> None:
    assert SERVICES["app"]["pull_policy"] == "never"


@by_service
def test_service_mounts_no_files_of_client(service: str) -> None:
    # A remote engine has no access to these files, nor has the user of a container after umask 077.
    mounts = SERVICES[service].get("volumes", [])
    assert all(re.match(r"[a-z-]+:/", mount) for mount in mounts)


@by_service
def test_logging_driver_exists_in_docker_and_podman(service: str) -> None:
    logging = SERVICES[service]["logging"]
    assert logging["driver"] == "json-file"
    assert logging["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_dockerfile_avoids_options_that_podman_rejects(dockerfile: Path) -> None:
    instructions = dockerfile.read_text().replace("\\\n", "")
    assert not re.search(r"^HEALTHCHECK .*--start-interval", instructions, re.MULTILINE)


@pytest.mark.parametrize("dockerfile", DOCKERFILES[1:], ids=lambda path: path.parent.name)
def test_base_image_has_full_version(dockerfile: Path) -> None:
    assert re.search(r"^FROM \S+:v?\d+\.\d+\.\d+( AS \w+)?$", dockerfile.read_text(), re.MULTILINE)


@pytest.mark.parametrize("service", ["app", "prometheus"])
def test_root_file_system_is_read_only(service: str) -> None:
    assert SERVICES[service]["read_only"] is True


@by_service
def test_service_has_no_privileges(service: str) -> None:
    assert SERVICES[service]["cap_drop"] == ["ALL"]
    assert SERVICES[service]["security_opt"] == ["no-new-privileges:true"]
