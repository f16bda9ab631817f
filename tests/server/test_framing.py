"""What is on the wire of the public port: HTTP/1.1 (RFC 9112), to the byte."""

import json

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
SMUGGLED = CLOSING_GET * 500


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
    body = SMUGGLED * 3
    with connect(service.port) as connection:
        connection.sendall(b"POST /hello HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        answers = read_to_end(connection)
    assert answers.startswith(b"HTTP/1.1 405 ")
    assert answers.count(b"HTTP/1.1") == 1


def test_a_client_that_expects_100_continue_gets_its_answer(service: Gunicorn) -> None:
    head = b"POST /hello HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    assert send(service.port, head + b"hello").status == 405


MALFORMED = {
    "no HTTP": (b"hello\r\n\r\n", 400),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "a method in lower case": (b"get /hello HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no target": (b"GET HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a space in the target": (b"GET /hello world HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a raw byte in the target": (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "another version": (b"GET /hello HTTP/3.0\r\nHost: x\r\n\r\n", 400),
    "a header without a colon": (b"GET /hello HTTP/1.1\r\nHost\r\n\r\n", 400),
    "a space before the colon": (b"GET /hello HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    "an obsolete fold": (b"GET /hello HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
    "a bare LF": (b"GET /hello HTTP/1.1\nHost: x\n\n", 400),
    "a NUL in a header": (b"GET /hello HTTP/1.1\r\nA: \x00\r\n\r\n", 400),
    "two hosts": (b"GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "two lengths": (
        b"POST /hello HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        400,
    ),
    "a length and chunks": (
        b"POST /hello HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a length that is no number": (b"POST /hello HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello", 400),
    "an unknown transfer coding": (
        b"POST /hello HTTP/1.1\r\nTransfer-Encoding: gzipped\r\n\r\nhello",
        501,
    ),
    "an expectation that is unknown": (
        b"GET /hello HTTP/1.1\r\nHost: x\r\nExpect: secret\r\n\r\n",
        417,
    ),
    "a target that is too long": (
        b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        414,
    ),
    "a header that is too long": (
        b"GET /hello HTTP/1.1\r\nA: " + b"a" * 9000 + b"\r\n\r\n",
        431,
    ),
    "too many headers": (b"GET /hello HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
}
REASONS = {
    400: "Bad Request",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
}


@pytest.mark.parametrize(("message", "status"), MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("port", ["port", "management_port"])
def test_what_is_not_http_is_answered_in_json_and_closed(
    service: Gunicorn, port: str, message: bytes, status: int
) -> None:
    with connect(getattr(service, port)) as connection:
        connection.sendall(message + CLOSING_GET)
        head, body = read_to_end(connection).split(b"\r\n\r\n")
    reason = REASONS[status]
    # The whole answer is known: so nothing of the request is in it.
    assert json.loads(body) == {"error": reason}
    lines = head.decode("ascii").split("\r\n")
    assert lines[0] == f"HTTP/1.1 {status} {reason}"
    assert lines[1:-1] == [
        "Content-Type: application/json",
        "Connection: close",
        f"Content-Length: {len(body)}",
    ]
    assert lines[-1].startswith("Date: ")
