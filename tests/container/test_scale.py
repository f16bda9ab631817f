"""Replicas, large settings and IPv6 networks in compose."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client import KeepAliveClient, ask_at_once, request
from tests.container.stack import Stack
from tests.docker import Container, docker
from tests.scrape import scrape, value
from tests.servers import eventually

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
        assert {line["level"] for line in app.log()} == {"info"}


def ipv6_address(container: Container) -> str:
    [network] = container.inspect()["NetworkSettings"]["Networks"].values()
    return str(network["GlobalIPv6Address"])


@pytest.mark.parametrize("ipv4", [True, False], ids=["dual stack", "IPv6 only"])
def test_service_listens_on_ipv6_network(tmp_path: Path, *, ipv4: bool) -> None:
    network = {"enable_ipv4": ipv4, "enable_ipv6": True}
    app = {"environment": {"HOST": "::"}}
    files = override(tmp_path, {"services": {"app": app}, "networks": {"default": network}})
    with Stack("hello-wsgi-ipv6", files=files).up("app") as stack:
        container = stack.container("app")
        url = f"http://[{ipv6_address(container)}]:8000/hello"
        program = f"import urllib.request as u; print(u.urlopen('{url}').read().decode())"
        assert container.python(program) == '{"message": "hello"}'
        if ipv4:
            assert request(container.port, "GET", "/hello").status == 200
