"""Replicas, large settings and IPv6 networks in compose."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client import KeepAliveClient, ask_at_once, request
from tests.container.stack import Stack
from tests.docker import Container, docker
from tests.promql import ANSWERED
from tests.scrape import scrape, value
from tests.servers import ROOT, eventually

CLIENTS = 4  # of each replica


def override(directory: Path, configuration: dict[str, Any]) -> tuple[Path]:
    """Write a compose file; JSON is a subset of YAML."""
    file = directory / "override.yml"
    file.write_text(json.dumps(configuration))
    return (file,)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack("hello-wsgi-scale").up("--scale=app=3") as stack:
        yield stack


@pytest.fixture
def load(stack: Stack) -> Iterator[dict[str, list[KeepAliveClient]]]:
    """Run clients of each replica, by the name of its container."""
    clients = {
        replica.name: [KeepAliveClient(replica.port) for _ in range(CLIENTS)]
        for replica in stack.containers("app")
    }
    started = [client for of_replica in clients.values() for client in of_replica]
    for client in started:
        client.start()
    try:
        eventually(lambda: all(client.answered > 10 for client in started))
        yield clients
    finally:
        for client in started:
            client.stop()


def test_prometheus_scrapes_every_replica(stack: Stack) -> None:
    eventually(lambda: stack.query('sum(up{job="hello-wsgi"})') == [3])


def test_killed_replica_loses_requests_in_flight_only(
    stack: Stack, load: dict[str, list[KeepAliveClient]]
) -> None:
    killed, *others = load
    docker("kill", killed)
    # Docker's DNS no longer has the container.
    eventually(lambda: sorted(stack.query(ANSWERED["Instances A"])) == [-1, 1, 1])
    stack.compose("up", "--detach", "--wait", "--scale=app=3", "app")
    for client in load[killed]:
        client.stop()
        # A client has one request in flight.
        assert len(client.lost) <= 1
    for name in others:
        for client in load[name]:
            client.stop()
            assert client.failed == 0


def test_recreated_and_removed_replicas_lose_no_request(
    stack: Stack, load: dict[str, list[KeepAliveClient]]
) -> None:
    stack.compose("up", "--detach", "--wait", "--scale=app=2", "--force-recreate", "app")
    eventually(lambda: stack.query('sum(up{job="hello-wsgi"})') == [2])
    assert not set(load) & {replica.name for replica in stack.containers("app")}
    for client in (client for of_replica in load.values() for client in of_replica):
        client.stop()
        # Later connections to the published port are refused.
        assert client.lost == []


def test_large_thread_pools_serve_200_connections(tmp_path: Path) -> None:
    environment = {"WEB_CONCURRENCY": 4, "THREADS": 32}
    files = override(tmp_path, {"services": {"app": {"environment": environment}}})
    with Stack("hello-wsgi-threads", files=files).up("app") as stack:
        app = stack.container("app")
        assert ask_at_once(app.port, clients=200, requests=20) == 0
        assert value(scrape(app), "gunicorn_workers_spawned_total") == 4
        # The engine may read the log too slowly, so that lines are dropped with a warning.
        messages = [line.get("message", "") for line in app.log()]
        assert not [message for message in messages if "can't start new thread" in message]


def ipv6_address(container: Container) -> str:
    [network] = container.inspect()["NetworkSettings"]["Networks"].values()
    return str(network["GlobalIPv6Address"])


@pytest.fixture
def prometheus_with_aaaa(tmp_path: Path) -> Path:
    """Copy the build context of Prometheus, to look up AAAA records."""
    directory = tmp_path / "prometheus"
    shutil.copytree(ROOT / "deploy/prometheus", directory)
    file = directory / "prometheus.yml"
    file.write_text(file.read_text().replace("type: A\n", "type: AAAA\n"))
    return directory


@pytest.mark.parametrize("ipv4", [True, False], ids=["dual stack", "IPv6 only"])
def test_ipv6_network_is_served_and_scraped(
    tmp_path: Path, prometheus_with_aaaa: Path, *, ipv4: bool
) -> None:
    network = {"enable_ipv4": ipv4, "enable_ipv6": True}
    services = {
        "app": {"environment": {"HOST": "::"}},
        "prometheus": {"build": str(prometheus_with_aaaa)},
    }
    files = override(tmp_path, {"services": services, "networks": {"default": network}})
    with Stack("hello-wsgi-ipv6", files=files).up() as stack:
        container = stack.container("app")
        url = f"http://[{ipv6_address(container)}]:8000/hello"
        program = f"import urllib.request as u; print(u.urlopen('{url}').read().decode())"
        assert container.python(program) == '{"message": "hello"}'
        if ipv4:
            assert request(container.port, "GET", "/hello").status == 200
        query = (
            "promtool",
            "query",
            "instant",
            "http://localhost:9090",
            'sum(up{job="hello-wsgi"})',
        )
        eventually(lambda: "=> 1 @" in stack.compose("exec", "-T", "prometheus", *query))
