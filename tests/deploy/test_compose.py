"""Does docker-compose.yml fit the service's settings, and what it mounts?"""

import re

import pytest
import yaml

from app.settings import Settings
from tests.promql import load
from tests.servers import ROOT

TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
DEFAULTS = Settings.from_environ({})

by_service = pytest.mark.parametrize("service", SERVICES)


def test_only_the_public_port_is_for_other_machines() -> None:
    published = [port for service in SERVICES.values() for port in service["ports"]]
    everywhere = [port for port in published if not port.startswith("127.0.0.1:")]
    assert everywhere == [f"{DEFAULTS.port}:{DEFAULTS.port}"]


def test_prometheus_asks_the_management_port_of_the_service() -> None:
    [config, _] = load("prometheus.yml")["scrape_configs"]
    assert config["static_configs"] == [{"targets": [f"app:{DEFAULTS.management_port}"]}]
    assert "app" in SERVICES


def test_a_stop_has_time_to_drain() -> None:
    seconds = int(SERVICES["app"]["stop_grace_period"].removesuffix("s"))
    assert seconds > DEFAULTS.graceful_timeout


def test_what_the_alerts_look_back_on_is_kept() -> None:
    [retention] = re.findall(r"retention\.time=(\d+)d", TEXT)
    rules = (ROOT / "deploy/prometheus/rules/recording.yml").read_text()
    assert int(retention) > max(map(int, re.findall(r"\[(\d+)d\]", rules)))


def test_nothing_has_to_be_set() -> None:
    assert "$" not in TEXT
    assert "env_file" not in TEXT


@by_service
def test_an_image_has_a_tag_that_stays(service: str) -> None:
    assert re.fullmatch(r".+:(dev|v?\d+\.\d+\.\d+)", SERVICES[service]["image"])


@pytest.mark.parametrize("service", ["app", "prometheus"])
def test_a_root_is_read_only(service: str) -> None:
    assert SERVICES[service]["read_only"] is True


@by_service
def test_no_service_has_or_gets_privileges(service: str) -> None:
    assert SERVICES[service]["cap_drop"] == ["ALL"]
    assert SERVICES[service]["security_opt"] == ["no-new-privileges:true"]


@by_service
def test_what_is_mounted_is_there_and_is_not_written(service: str) -> None:
    for volume in SERVICES[service].get("volumes", []):
        source, _, mode = volume.partition(":")
        if source.startswith("."):
            assert (ROOT / source).exists()
            assert mode.endswith(":ro")
