"""The service and the Prometheus that `docker compose up` starts."""

from collections.abc import Iterator
from functools import partial
from threading import Event, Thread
from typing import Any

import pytest

from tests.client import ask_at_once, request
from tests.container.conftest import Report
from tests.container.stack import Stack
from tests.docker import Container, docker
from tests.promql import (
    ALERTING,
    ALERTS,
    ANSWERED,
    NO_DATA_IF_HEALTHY,
    RECORDING_RULES,
    selectors,
)
from tests.scrape import scrape, value
from tests.servers import eventually

PROJECT = "hello-wsgi-e2e"
CLIENTS, REQUESTS = 32, 200
MEMORY = 128 * 1024 * 1024


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(PROJECT).up() as stack:
        yield stack


@pytest.fixture
def app(stack: Stack) -> Container:
    return stack.container("app")


@pytest.fixture
def traffic(app: Container) -> Iterator[None]:
    """Ask ten times a second, as long as a test runs."""
    stopped = Event()

    def ask() -> None:
        while not stopped.wait(0.1):
            request(app.port, "GET", "/hello")

    thread = Thread(target=ask)
    thread.start()
    yield
    stopped.set()
    thread.join()


def test_both_are_healthy(stack: Stack, app: Container) -> None:
    assert app.health() == "healthy"
    assert stack.container("prometheus").health() == "healthy"


def test_the_targets_are_up(stack: Stack) -> None:
    def targets() -> dict[str, tuple[str, str]]:
        active = stack.api("targets")["activeTargets"]
        return {each["scrapePool"]: (each["health"], each["lastError"]) for each in active}

    eventually(lambda: targets() == {"hello-wsgi": ("up", ""), "prometheus": ("up", "")})


def test_the_rules_are_loaded_and_work(stack: Stack) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in stack.api("rules")["groups"] for rule in group["rules"]]

    eventually(lambda: {rule["health"] for rule in rules()} == {"ok"})
    recorded = [rule["record"] for rule in RECORDING_RULES]
    alerts = [rule["alert"] for rule in ALERTS]
    assert sorted(rule["name"] for rule in rules()) == sorted(recorded + alerts)


def test_a_rate_follows_the_requests_and_a_count_is_exact(stack: Stack, app: Container) -> None:
    requests = 'http_server_request_duration_seconds_count{http_request_method="HEAD"}'
    rate = f"sum(rate({requests}[1m]))"
    # It is there before the first request.
    eventually(lambda: stack.query(rate) == [0])
    for _ in range(30):
        request(app.port, "HEAD", "/hello")
    eventually(lambda: stack.query(f"sum({requests})") == [30])
    eventually(lambda: stack.query(rate)[0] > 0)


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize("name", sorted(ANSWERED.keys() - NO_DATA_IF_HEALTHY))
def test_query_of_rules_and_dashboard_returns_data(stack: Stack, name: str) -> None:
    eventually(lambda: stack.query(ANSWERED[name]))


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize("expression", ALERTING.values(), ids=ALERTING)
def test_what_an_alert_watches_is_there(stack: Stack, expression: str) -> None:
    for selector in selectors(expression):
        eventually(partial(stack.query, selector.partition(" offset ")[0]))


def test_the_service_lives_within_its_limits_under_load(app: Container, report: Report) -> None:
    host = app.inspect()["HostConfig"]
    assert (host["Memory"], host["NanoCpus"]) == (MEMORY, 1_000_000_000)
    assert ask_at_once(app.port, CLIENTS, REQUESTS) == 0
    stats = app.stats()
    report(f"after {CLIENTS * REQUESTS} requests: {stats['MemUsage']}, {stats['PIDs']} pids")
    assert value(scrape(app), "gunicorn_workers_spawned_total") == 2
    state = app.inspect()["State"]
    assert (state["OOMKilled"], state["Health"]["Status"]) == (False, "healthy")


@pytest.mark.parametrize(
    ("command", "alert", "undo"),
    [
        ("pause", "HelloWsgiTargetDown", ("unpause",)),
        ("stop", "HelloWsgiTargetAbsent", ("up", "--detach", "--wait", "--no-recreate")),
    ],
)
def test_alert_is_pending_without_service(
    stack: Stack, command: str, alert: str, undo: tuple[str, ...]
) -> None:
    assert alert not in stack.alerts()
    stack.compose(command, "app")
    try:
        eventually(lambda: alert in stack.alerts())
        assert stack.alerts()[alert]["state"] == "pending"
    finally:
        stack.compose(*undo, "app")


def test_down_leaves_nothing(stack: Stack) -> None:
    belongs = f"--filter=label=com.docker.compose.project={PROJECT}"

    def left() -> list[str]:
        return [
            docker(kind, "ls", "--quiet", *every, belongs)
            for kind, every in (("container", ["--all"]), ("network", []), ("volume", []))
        ]

    assert all(left())
    stack.down()
    assert left() == ["", "", ""]
