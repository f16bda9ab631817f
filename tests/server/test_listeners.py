"""Listeners configured by arguments, systemd and the environment."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.client import CLOSING_GET, Answer, read_answer, request
from tests.contract import HELLO, NOT_FOUND
from tests.servers import Gunicorn, gunicorn


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def over_unix_socket(path: Path, message: bytes) -> Answer:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        connection.sendall(message)
        return read_answer(connection)


def assert_serves(server: Gunicorn, public: list[int], management: int) -> None:
    """Check that each port serves its application and not the other one."""
    for port in public:
        assert request(port, "GET", "/hello").body == HELLO
        assert request(port, "GET", "/metrics").body == NOT_FOUND
    assert request(management, "GET", "/readyz").status == 200
    assert request(management, "GET", "/hello").body == NOT_FOUND
    assert {line["level"] for line in server.log()} <= {"info", "warning"}
    assert server.stderr == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--bind", "127.0.0.1:{public}"],
        ["--bind", "127.0.0.1:{public}", "--bind", "127.0.0.1:{other}"],
        ["--bind", "127.0.0.1:{public}", "--bind", "127.0.0.1:{management}"],
        ["--bind", "127.0.0.1:{management}", "--bind", "127.0.0.1:{public}"],
        ["--reuse-port"],
        ["--reuse-port", "--bind", "127.0.0.1:{public}", "--bind", "127.0.0.1:{management}"],
        ["--preload"],
        ["--reload"],
        ["--workers", "3"],
        ["--threads", "1"],
        ["--worker-class", "gthread"],
        ["--worker-class", "sync"],
        ["--worker-class", "sync", "--threads", "1"],
    ],
    ids=" ".join,
)
def test_management_application_is_served_only_on_management_port(arguments: list[str]) -> None:
    ports = {name: free_port() for name in ("public", "other", "management")}
    arguments = [argument.format(**ports) for argument in arguments]
    settings: dict[str, Any] = {
        "PORT": str(ports["public"]),
        "MANAGEMENT_PORT": str(ports["management"]),
    }
    with gunicorn(*arguments, **settings) as server:
        public = {*server.ports(), ports["public"]} - {ports["management"]}
        assert_serves(server, list(public), ports["management"])


def test_arguments_are_read_from_environment() -> None:
    port = free_port()
    arguments = f"--bind 127.0.0.1:{port} --workers 3"
    with gunicorn(GUNICORN_CMD_ARGS=arguments, workers=3, WEB_CONCURRENCY="1") as server:
        assert_serves(server, [port], server.management_port)


@pytest.mark.parametrize("worker_class", ["app.worker.Worker", "gthread", "sync"])
def test_host_field_does_not_open_management_application_on_unix_socket(
    tmp_path: Path, worker_class: str
) -> None:
    path = tmp_path / "socket"
    binds = ("--bind", f"unix:{path}", "--bind", "127.0.0.1:0")
    with gunicorn(*binds, "--worker-class", worker_class) as server:
        assert over_unix_socket(path, CLOSING_GET).body == HELLO
        public, management = server.ports()
        message = CLOSING_GET.replace(b"/hello", b"/metrics")
        message = message.replace(b"localhost", f"x:{management}".encode())
        assert over_unix_socket(path, message).body == NOT_FOUND
        assert_serves(server, [public], management)
    assert not path.exists()


@pytest.mark.parametrize("replaced", [False, True])
def test_missing_unix_socket_does_not_affect_shutdown(tmp_path: Path, *, replaced: bool) -> None:
    path = tmp_path / "socket"
    with gunicorn("--bind", f"unix:{path}") as server:
        path.unlink()
        if replaced:
            path.mkdir()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


@contextmanager
def listening_sockets(count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]


def at_descriptors(sockets: list[socket.socket]) -> dict[str, Any]:
    """Return options that pass the sockets as descriptors 3, 4, ... as systemd does.

    LISTEN_PID is the process id of the shell, and of the service that replaces it.
    """
    moves = " ".join(f"{number}<&{sock.fileno()}" for number, sock in enumerate(sockets, 3))
    prefix = ("bash", "-c", f'LISTEN_PID=$$ exec "$@" {moves}', "bash")
    return {"prefix": prefix, "pass_fds": [sock.fileno() for sock in sockets]}


@pytest.mark.parametrize("passed_management", [False, True])
@pytest.mark.parametrize("systemd", [False, True])
def test_passed_sockets_are_served(*, passed_management: bool, systemd: bool) -> None:
    with listening_sockets(1 + passed_management) as sockets:
        ports = [sock.getsockname()[1] for sock in sockets]
        management = ports[1] if passed_management else free_port()
        options = at_descriptors(sockets) | {"MANAGEMENT_PORT": str(management)}
        arguments: list[str] = []
        if systemd:
            options["LISTEN_FDS"] = str(len(sockets))
        else:
            for number, _ in enumerate(sockets, 3):
                arguments += ["--bind", f"fd://{number}"]
        with gunicorn(*arguments, **options) as server:
            assert_serves(server, ports[:1], management)


@pytest.mark.parametrize(
    ("arguments", "settings", "error"),
    [
        ([], {"PORT": "{taken}"}, "cannot listen on 127.0.0.1:{taken}: "),
        ([], {"MANAGEMENT_PORT": "{taken}"}, "cannot listen on 127.0.0.1:{taken}: "),
        ([], {"HOST": "192.0.2.1"}, "cannot listen on 192.0.2.1:0: "),
        (["--bind", "fd://77"], {}, "cannot listen on fd://77: "),
        (["--bind", "fd://0"], {}, "cannot listen on fd://0: "),
        (["--bind", "unix:/nonexistent/socket"], {}, "cannot listen on /nonexistent/socket: "),
        (["--bind", "unix:/etc/passwd"], {}, "cannot listen on /etc/passwd: "),
        (["--bind", "127.0.0.1:abc"], {}, "'abc' is not a valid port number."),
        (["--bind", "127.0.0.1:65536"], {}, "cannot listen on 127.0.0.1:65536: "),
        (["--bind", ":99"], {"MANAGEMENT_PORT": "99"}, "--bind: expected a port other than MANAGE"),
        (["--reuse-port"], {}, "--reuse-port: expected TCP addresses and ports other than 0"),
        (["--reuse-port"], {"PORT": "{taken}"}, "cannot listen on 127.0.0.1:{taken}: "),
    ],
)
def test_unusable_listener_aborts_startup_with_one_line_error(
    arguments: list[str], settings: dict[str, Any], error: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        taken = sock.getsockname()[1]
        settings = {name: value.format(taken=taken) for name, value in settings.items()}
        # gunicorn leaves the socket to the garbage collector, which is a ResourceWarning.
        with Gunicorn(*arguments, PYTHONWARNINGS="", **settings) as server:
            assert server.wait() == 1
    [line] = server.stderr
    assert line.startswith("hello-wsgi: " + error.format(taken=taken))
    assert server.stdout == []


def test_environment_of_shell_does_not_affect_requests() -> None:
    environ: dict[str, Any] = {
        "SCRIPT_NAME": "/prefix",
        "http_proxy": "http://192.0.2.1",
        "HTTP_HOST": "evil",
    }
    environ |= {"SERVER_PORT": "1", "PATH_INFO": "/metrics", "REQUEST_METHOD": "POST"}
    with gunicorn(**environ) as server:
        assert_serves(server, [server.port], server.management_port)
