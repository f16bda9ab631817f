"""`python -m app.healthcheck`: exit code 0 or 1, and one line."""

import socket
from collections.abc import Callable
from threading import Thread

import pytest

from tests.client import DEADLINE
from tests.servers import Gunicorn, Server, gunicorn


def check(**environ: str) -> tuple[int, list[str], list[str]]:
    with Server("app.healthcheck", **environ) as process:
        code = process.wait()
    return code, process.stdout, process.stderr


def check_of(answer: Callable[[socket.socket], object]) -> tuple[int, list[str], list[str]]:
    """Check a server that does `answer` with the first connection."""

    def serve() -> None:
        with listener.accept()[0] as connection:
            connection.settimeout(DEADLINE)
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        thread = Thread(target=serve)
        thread.start()
        try:
            return check(MANAGEMENT_PORT=str(listener.getsockname()[1]))
        finally:
            thread.join(DEADLINE)


def test_a_service_that_answers_is_ready(service: Gunicorn) -> None:
    result = check(MANAGEMENT_PORT=str(service.management_port))
    assert result == (0, ["/readyz answers 200"], [])


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 -- it is the image's setting
def test_a_service_that_listens_everywhere_is_ready(host: str) -> None:
    with gunicorn(HOST=host) as server:
        assert check(HOST=host, MANAGEMENT_PORT=str(server.management_port))[0] == 0


def test_a_proxy_is_not_asked(service: Gunicorn) -> None:
    port = str(service.management_port)
    assert check(MANAGEMENT_PORT=port, http_proxy="http://127.0.0.1:1")[0] == 0


def test_what_refuses_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    code, stdout, [line] = check(MANAGEMENT_PORT=str(port))
    assert (code, stdout) == (1, [])
    assert line.startswith("not ready: ConnectionRefusedError")


def test_what_does_not_answer_in_time_is_not_ready() -> None:
    # The check gives up first: its end closes the connection.
    assert check_of(lambda connection: [*iter(lambda: connection.recv(4096), b"")]) == (
        1,
        [],
        ["not ready: TimeoutError('timed out')"],
    )


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\nmore\r\n\r\n"])
def test_what_does_not_speak_http_is_not_ready(answer: bytes) -> None:
    code, stdout, stderr = check_of(lambda connection: connection.sendall(answer))
    assert (code, stdout, len(stderr)) == (1, [], 1)


def test_a_service_that_answers_with_an_error_is_not_ready() -> None:
    answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    result = check_of(lambda connection: connection.sendall(answer))
    assert result == (1, ["/readyz answers 503"], [])


def test_a_bad_setting_is_not_ready() -> None:
    code, stdout, [line] = check(MANAGEMENT_PORT="http")
    assert (code, stdout) == (1, [])
    assert "MANAGEMENT_PORT='http' is not allowed: it must be an integer, 0 to 65535" in line
