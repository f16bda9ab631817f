"""The two ports are apart, whatever a request claims."""

import pytest

from tests.client import request, send
from tests.contract import HELLO, NOT_FOUND
from tests.servers import Gunicorn

MANAGED = ["/metrics", "/livez", "/readyz"]


@pytest.fixture
def forgeries(service: Gunicorn) -> list[dict[str, str]]:
    port = str(service.management_port)
    return [
        {"Host": f"localhost:{port}"},
        {"X-Forwarded-Port": port, "X-Forwarded-Host": f"localhost:{port}"},
        {"Forwarded": f'host="localhost:{port}";proto=https'},
        {"Server-Port": port, "SERVER_PORT": port, "HTTP_SERVER_PORT": port},
        {"SCRIPT_NAME": "/metrics", "PATH_INFO": "/metrics"},
        {"X-Original-URL": "/metrics", "X-Rewrite-URL": "/metrics"},
    ]


def test_no_header_opens_the_management_port(
    service: Gunicorn, forgeries: list[dict[str, str]]
) -> None:
    for headers in forgeries:
        fields = {"Host": "localhost"} | headers
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        for target in MANAGED:
            message = f"GET {target} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode()
            answer = send(service.port, message)
            assert (answer.status, answer.body) == (404, NOT_FOUND), headers
        answer = send(service.port, f"GET /hello HTTP/1.1\r\n{head}\r\n".encode())
        assert (answer.status, answer.body) == (200, HELLO), headers


def test_an_absolute_target_does_not_open_the_management_port(service: Gunicorn) -> None:
    target = f"http://localhost:{service.management_port}/metrics"
    assert request(service.port, "GET", target).status == 404


def test_the_management_port_does_not_serve_the_application(service: Gunicorn) -> None:
    answer = service.ask("/hello")
    assert (answer.status, answer.body) == (404, NOT_FOUND)


@pytest.mark.parametrize("target", MANAGED)
def test_the_management_port_allows_get_and_head(service: Gunicorn, target: str) -> None:
    get, head, post = (service.ask(target, method) for method in ("GET", "HEAD", "POST"))
    assert (get.status, head.status, post.status) == (200, 200, 405)
    assert get.headers["Content-Type"] == head.headers["Content-Type"]
    assert int(get.headers["Content-Length"]) == len(get.body)
    assert head.body == b""
    assert post.headers["Allow"] == "GET, HEAD"
    assert post.body == b'{"error": "Method Not Allowed"}'
