"""`python -m app`: what a learner sees."""

import os
import signal
import socket
from errno import EADDRINUSE

import pytest

from tests.client import request
from tests.contract import HELLO
from tests.servers import Server, learners_server


def test_it_says_where_it_serves() -> None:
    with learners_server() as (server, port):
        assert server.stdout == [f"Serving on port {port}..."]
        assert request(port, "GET", "/hello").body == HELLO


def test_ctrl_c_ends_it_cleanly() -> None:
    with learners_server() as (server, _):
        server.signal(signal.SIGINT)
        assert server.wait() == 0
    assert server.stderr == []


def traced(target: str, method: str = "GET", **headers: str) -> list[str]:
    with learners_server("--trace") as (server, port):
        request(port, method, target, headers)
        server.wait_until(lambda: server.stdout[-1].startswith("the application returns"))
        return server.stdout[2:]


def test_a_trace_walks_through_the_request() -> None:
    walk = traced("/hello?name=x%20y", **{"X-Greeting": "hi"})
    headers = [("Content-Type", "application/json"), ("Content-Length", "20")]
    assert walk[0] == "GET, path '/hello', query 'name=x%20y'"
    assert walk[1] == "the server calls application(environ, start_response), environ being"
    assert walk[-2] == f"the application calls start_response('200 OK', {headers})"
    assert walk[-1] == f"the application returns [{HELLO!r}]"
    environ = dict(line.strip().split(" = ", 1) for line in walk[2:-2])
    assert environ["PATH_INFO"] == "'/hello'"
    assert environ["QUERY_STRING"] == "'name=x%20y'"
    assert environ["HTTP_X_GREETING"] == "'hi'"
    assert environ["wsgi.version"] == "(1, 0)"


def test_a_trace_shows_that_a_head_has_no_body() -> None:
    assert traced("/missing", "HEAD")[-1] == "the application returns []"


@pytest.mark.parametrize(
    "header",
    ["Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "X-Auth-Token", "X-Secret"],
)
def test_a_trace_masks_secrets(header: str) -> None:
    walk = traced("/hello", **{header: "hunter2"})
    assert f"    HTTP_{header.upper().replace('-', '_')} = ***" in walk
    assert not any("hunter2" in line for line in walk)


def test_a_trace_shows_no_variable_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:hunter2@proxy")
    monkeypatch.setenv("MY_PASSWORD", "hunter2")
    assert not any("hunter2" in line for line in traced("/hello"))


def test_a_trace_is_not_forged_by_a_request() -> None:
    walk = traced("/%0athe%20application%20returns%20%5B%5D")
    assert walk[0] == r"GET, path '/\nthe application returns []', query ''"


def run(*arguments: str) -> tuple[int, list[str]]:
    with Server("app", *arguments) as server:
        return server.wait(), server.stderr


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, errors = run("--port", str(port))
    in_use = OSError(EADDRINUSE, os.strerror(EADDRINUSE))
    assert (code, errors) == (1, [f"Cannot serve on port {port}: {in_use}"])


@pytest.mark.parametrize(
    ("port", "code", "error"),
    [
        ("http", 2, "invalid int value: 'http'"),
        ("", 2, "invalid int value: ''"),
        ("-1", 1, "port must be 0-65535"),
        ("65536", 1, "port must be 0-65535"),
    ],
)
def test_a_bad_port_is_refused(port: str, code: int, error: str) -> None:
    exit_code, errors = run(f"--port={port}")
    assert exit_code == code
    assert error in errors[-1]
