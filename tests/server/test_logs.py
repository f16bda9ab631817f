"""The log of the real service: one JSON object a line, on stdout, and nothing else."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.client import connect, read_to_end, request
from tests.servers import Gunicorn, gunicorn

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"Traceparent: 00-{TRACE_ID}-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def service() -> Iterator[Gunicorn]:
    """Serve these tests alone, which wait for each line that they cause."""
    with gunicorn() as server:
        yield server


@pytest.fixture
def logged(service: Gunicorn) -> Any:
    """Send a message to the public port, return the line of the access log."""

    def log_of(message: bytes) -> dict[str, Any]:
        before = len(service.access_log())
        with connect(service.port) as connection:
            connection.sendall(message)
            read_to_end(connection)
        service.wait_until(lambda: len(service.access_log()) > before)
        [line] = service.access_log()[before:]
        return line

    return log_of


def get(target: str, *headers: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def test_a_request_is_a_line_with_these_fields(logged: Any) -> None:
    line = logged(get("/hello?a=b", "User-Agent: probe/1.0", TRACEPARENT))
    assert datetime.fromisoformat(line.pop("time")).utcoffset() == timedelta(0)
    assert 0 < line.pop("duration") < 30
    assert line == {
        "level": "info",
        "logger": "gunicorn.access",
        "remote": "127.0.0.1",
        "method": "GET",
        "path": "/hello",
        "query": "a=b",
        "status": 200,
        "bytes": 20,
        "user_agent": "probe/1.0",
        "trace_id": TRACE_ID,
    }


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-00f067aa0ba902b7-01",
        f"ff-{TRACE_ID}-00f067aa0ba902b7-01",
        f"00-{TRACE_ID}-00f067aa0ba902b7-01-extra",
        f"00-{TRACE_ID}-00f067aa0ba902b7",
        f'"}}{TRACE_ID}',
    ],
)
def test_a_traceparent_that_is_not_valid_is_not_logged(logged: Any, traceparent: str) -> None:
    assert logged(get("/hello", f"Traceparent: {traceparent}"))["trace_id"] is None


def test_two_traceparents_are_none(logged: Any) -> None:
    assert logged(get("/hello", TRACEPARENT, TRACEPARENT))["trace_id"] is None


def test_no_header_claims_another_client(logged: Any) -> None:
    line = logged(get("/hello", "X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9"))
    assert line["remote"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/%0a%7B%22level%22:%22error%22%7D", "/%0a%7B%22level%22:%22error%22%7D", ""),
        ('/","status":200,"x":"', '/","status":200,"x":"', ""),
        ('/?"}\\n{"level":"error"}', "/", '"}\\n{"level":"error"}'),
        ("/%00%1b[2J", "/%00%1b[2J", ""),
    ],
)
def test_a_target_forges_nothing(logged: Any, target: str, path: str, query: str) -> None:
    line = logged(get(target))
    assert (line["path"], line["query"], line["status"]) == (path, query, 404)


def test_a_user_agent_forges_nothing(logged: Any, service: Gunicorn) -> None:
    agent = '"}\t{"level":"error"} \x85 \xe9 \\'
    assert logged(get("/hello", f"User-Agent: {agent}"))["user_agent"] == agent
    assert service.stdout[-1].isascii()


def test_the_longest_line_fits_into_one_write_to_a_pipe(logged: Any, service: Gunicorn) -> None:
    target = "/" + '"' * 1900 + "?" + "\\" * 1900
    line = logged(get(target, f"User-Agent: {'é' * 8000}", TRACEPARENT))
    assert line["path"] == "/" + '"' * 255
    assert len(service.stdout[-1]) < 4096


def test_requests_on_the_management_port_are_not_logged(service: Gunicorn) -> None:
    before = len(service.access_log())
    for target in ("/livez", "/metrics", "/missing"):
        service.ask(target)
    request(service.port, "GET", "/last")
    service.wait_until(lambda: len(service.access_log()) > before)
    assert [line["path"] for line in service.access_log()[before:]] == ["/last"]


def test_what_is_not_http_is_a_warning_and_forges_nothing(service: Gunicorn) -> None:
    before = len(service.log())
    with connect(service.port) as connection:
        connection.sendall(b'GET /"}\n{"level":"critical"} HTTP/1.1\r\n\r\n')
        read_to_end(connection)
    service.wait_until(lambda: len(service.log()) > before)
    [line] = service.log()[before:]
    assert set(line) == {"time", "level", "logger", "message"}
    assert line["level"] == "warning"
    assert line["message"].startswith("Invalid request from ip=127.0.0.1")


def test_a_healthy_service_says_nothing_above_info() -> None:
    with gunicorn() as server:
        assert request(server.port, "GET", "/hello").status == 200
        assert request(server.port, "HEAD", "/hello").status == 200
        server.stop()
    assert {line["level"] for line in server.log()} == {"info"}
    assert server.stderr == []


@pytest.fixture(scope="module")
def raising() -> Iterator[Gunicorn]:
    with gunicorn("tests.fixtureapps.raising:application") as server:
        yield server


def test_an_application_that_raises_answers_500_and_logs_the_traceback(raising: Gunicorn) -> None:
    answer = request(raising.port, "GET", "/hello?q")
    assert (answer.status, answer.reason) == (500, "Internal Server Error")
    assert answer.body == b'{"error": "Internal Server Error"}'
    assert answer.headers["Content-Type"] == "application/json"
    raising.wait_until(raising.access_log)
    [error] = [line for line in raising.log() if line["level"] == "error"]
    assert error["message"] == "Error handling request GET /hello?q"
    assert error["traceback"].startswith("Traceback (most recent call last):\n")
    assert error["traceback"].endswith("RuntimeError: a fault at /hello\nwith a secret")
    [line] = raising.access_log()
    assert (line["status"], line["path"], line["query"]) == (500, "/hello", "q")
