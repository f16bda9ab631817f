"""What is on the wire of the public port: HTTP/1.1 (RFC 9112), to the byte."""

import pytest

from tests.client import CLOSING_GET, GET, connect, read_answer, read_to_end, send
from tests.contract import HELLO
from tests.servers import Gunicorn


def test_a_connection_is_kept_alive(service: Gunicorn) -> None:
    with connect(service.port) as connection:
        for _ in range(3):
            connection.sendall(GET)
            answer = read_answer(connection)
            assert answer.body == HELLO
            assert answer.headers["Connection"] == "keep-alive"


@pytest.mark.parametrize("target", [b"/hello", b"/"])
def test_nothing_follows_the_headers_of_a_head(service: Gunicorn, target: bytes) -> None:
    with connect(service.port) as connection:
        connection.sendall(b"HEAD " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n" + CLOSING_GET)
        first, second, body = read_to_end(connection).split(b"\r\n\r\n")
    assert b"Content-Length: 2" in first
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == HELLO


def test_requests_in_a_pipeline_are_answered_in_order(service: Gunicorn) -> None:
    missing = b"GET /missing HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(service.port) as connection:
        connection.sendall(GET + missing + GET + CLOSING_GET)
        answers = read_to_end(connection).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"404", b"200", b"200"]


def test_http_1_0_is_answered_and_closed(service: Gunicorn) -> None:
    with connect(service.port) as connection:
        connection.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
        head, body = read_to_end(connection).split(b"\r\n\r\n")
    assert b"Connection: close" in head
    assert body == HELLO


def test_connection_close_is_obeyed(service: Gunicorn) -> None:
    with connect(service.port) as connection:
        connection.sendall(CLOSING_GET)
        assert read_to_end(connection).endswith(b"\r\n\r\n" + HELLO)


# A body that looks like requests, should anyone take it for some.
SMUGGLED = CLOSING_GET * 50


@pytest.mark.parametrize(
    "framed_body",
    [
        b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
        b"Transfer-Encoding: chunked\r\n\r\n"
        + b"%x;extension=1\r\n%s\r\n" % (len(SMUGGLED), SMUGGLED) * 2
        + b"0\r\nTrailing: x\r\n\r\n",
    ],
    ids=["with its length", "in chunks"],
)
def test_a_body_that_nobody_reads_is_passed_over(service: Gunicorn, framed_body: bytes) -> None:
    with connect(service.port) as connection:
        connection.sendall(b"POST /hello HTTP/1.1\r\nHost: x\r\n" + framed_body)
        assert read_answer(connection).status == 405
        connection.sendall(CLOSING_GET)
        assert read_to_end(connection).count(b"HTTP/1.1 200 OK") == 1


def test_a_body_too_long_to_pass_over_ends_the_connection(service: Gunicorn) -> None:
    body = SMUGGLED * 30
    with connect(service.port) as connection:
        connection.sendall(
            b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        answers = read_to_end(connection)
    assert answers.startswith(b"HTTP/1.1 405 ")
    assert answers.count(b"HTTP/1.1") == 1


def test_a_client_that_expects_100_continue_gets_its_answer(service: Gunicorn) -> None:
    head = b"POST /hello HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    assert send(service.port, head + b"hello").status == 405
