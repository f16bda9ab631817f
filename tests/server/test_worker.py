"""Bodies, responses, persistence, limits and process control of the worker on real servers."""

import json
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException

import psutil
import pytest

from app.worker.listener import QUICK_RESPONSES
from tests.client import (
    CLOSING_GET,
    DEADLINE,
    GET,
    KeepAliveClient,
    connect,
    read_answer,
    read_to_end,
    request,
    send,
)
from tests.contract import HELLO
from tests.scrape import requests, scrape
from tests.servers import Gunicorn, eventually, gunicorn

BEHAVIOURS = "tests.fixtureapps.behaviours:application"
LARGE = b"x" * 100_000


@contextmanager
def behaviours(*arguments: str, **environ: str) -> Iterator[Gunicorn]:
    with gunicorn(BEHAVIOURS, *arguments, workers=1, **environ) as server:
        yield server


@pytest.fixture(scope="module")
def server() -> Iterator[Gunicorn]:
    with behaviours() as server:
        assert request(server.port, "GET", "/raise_limit").status == 200
        yield server


def prove_quick(server: Gunicorn, target: str) -> None:
    """Have the event loop run further requests for `target`, on a busy machine, too."""
    for path in ("/raise_limit", *[target] * QUICK_RESPONSES):
        assert request(server.port, "GET", path).status == 200


def get(target: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: x", *fields, "", ""]).encode()


def post(target: str, *fields: str) -> bytes:
    return get(target, *fields).replace(b"GET", b"POST", 1)


def errors(server: Gunicorn) -> list[object]:
    return [line for line in server.log() if line["level"] == "error"]


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


# Bodies


@pytest.mark.parametrize(
    ("fields", "pieces", "size"),
    [
        (["Content-Length: 5"], [b"hello"], 5),
        (["Content-Length: 5"], [b"he", b"llo"], 5),
        (["Content-Length: 65536"], [b"x" * 65536], 65536),
        (["Content-Length: 100000"], [LARGE], 100_000),
        (["Content-Length: 100000"], [LARGE[:10], LARGE[10:]], 100_000),
        (["Transfer-Encoding: chunked"], [chunked(b"he", b"llo")], 5),
        (["Transfer-Encoding: chunked"], [b"5\r", b"\nhel", b"lo\r\n0", b"\r\n", b"\r\n"], 5),
        (["Transfer-Encoding: chunked"], [b"2;a=b\r\nhe\r\n0\r\nA: b", b"\r\n\r\n"], 2),
        (["Transfer-Encoding: chunked"], [chunked(LARGE, LARGE)], 200_000),
        (
            ["Transfer-Encoding: Chunked"],
            [chunked(LARGE)[:70_000], chunked(LARGE)[70_000:]],
            100_000,
        ),
    ],
    ids=[
        "length",
        "length, two pieces",
        "largest collected length",
        "large length",
        "large length, two pieces",
        "chunks",
        "chunks, five pieces",
        "chunk extension and trailer",
        "large chunks",
        "large chunk, two pieces",
    ],
)
def test_body_reaches_application_and_connection_persists(
    server: Gunicorn, fields: list[str], pieces: list[bytes], size: int
) -> None:
    with connect(server.port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(post("/read", *fields))
        for piece in pieces:
            # A request on another connection takes longer than the delivery of the piece.
            assert server.ask("/livez").status == 200
            connection.sendall(piece)
        answer = read_answer(connection)
        assert json.loads(answer.body) == ["POST", size]
        assert answer.headers["Connection"] == "keep-alive"
        connection.sendall(get("/read"))
        assert json.loads(read_answer(connection).body) == ["GET", 0]


@pytest.mark.parametrize("target", ["/ignore", "/read_10"])
@pytest.mark.parametrize("sent", [LARGE, LARGE[:5000]], ids=["whole", "late"])
def test_unread_large_body_makes_response_announce_close(
    server: Gunicorn, target: str, sent: bytes
) -> None:
    with connect(server.port) as connection:
        connection.sendall(post(target, "Content-Length: 100000") + sent)
        answer = read_answer(connection)
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        # Until the client closes, its data is read, so that no reset destroys the response.
        connection.sendall(LARGE[: 100_000 - len(sent)])
        assert connection.recv(1) == b""


def test_partly_read_small_body_leaves_connection_persistent(server: Gunicorn) -> None:
    with connect(server.port) as connection:
        connection.sendall(post("/read_10", "Content-Length: 60000") + b"x" * 60000 + CLOSING_GET)
        first, second = read_to_end(connection).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert b"Connection: keep-alive" in first
    assert b"Connection: close" in second


@pytest.mark.parametrize("value", ["100-continue", "100-Continue, 100-continue"])
def test_100_continue_is_sent_when_application_reads(server: Gunicorn, value: str) -> None:
    head = ("Content-Length: 5", f"Expect: {value}")
    with connect(server.port) as connection:
        connection.sendall(post("/read", *head))
        interim = b"HTTP/1.1 100 Continue\r\n\r\n"
        assert connection.recv(len(interim), socket.MSG_WAITALL) == interim
        connection.sendall(b"hello")
        answer = read_answer(connection)
        assert (json.loads(answer.body), answer.headers["Connection"]) == (
            ["POST", 5],
            "keep-alive",
        )
    answer = send(server.port, post("/ignore", *head))
    assert (answer.status, answer.headers["Connection"]) == (200, "close")


@pytest.mark.parametrize(
    "message",
    [
        post("/read", "Content-Length: 5") + b"he",
        post("/read", "Content-Length: 100000") + b"he",
        post("/read", "Transfer-Encoding: chunked") + b"5\r\nhe",
        post("/read", "Transfer-Encoding: chunked") + b"ffffff\r\n" + LARGE,
    ],
    ids=["length", "large length", "chunk", "large chunk"],
)
def test_truncated_body_gets_400(server: Gunicorn, message: bytes) -> None:
    with connect(server.port) as connection:
        connection.sendall(message)
        connection.shutdown(socket.SHUT_WR)
        answers = read_to_end(connection)
    assert answers.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answers.count(b"HTTP/1.1") == 1


def test_broken_chunk_of_large_body_gets_400(server: Gunicorn) -> None:
    body = chunked(LARGE).replace(b"\r\n0\r\n", b"\r\nx\r\n")
    answer = send(server.port, post("/read", "Transfer-Encoding: chunked") + body)
    assert (answer.status, answer.headers["Connection"]) == (400, "close")


def test_slow_small_body_gets_408_and_holds_no_thread() -> None:
    with behaviours(THREADS="1", CLIENT_HEADER_TIMEOUT="1") as server, ExitStack() as clients:
        slow = [clients.enter_context(connect(server.port)) for _ in range(5)]
        for connection in slow:
            connection.sendall(post("/read", "Transfer-Encoding: chunked") + b"5\r\n")
        assert request(server.port, "GET", "/sleep?0.01").status == 200
        assert [read_answer(connection).status for connection in slow] == [408] * 5


def test_steadily_dripping_large_body_holds_thread_for_one_deadline() -> None:
    with (
        behaviours("--timeout", "2", THREADS="1") as server,
        connect(server.port) as slow,
        connect(server.port) as other,
    ):
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        slow.sendall(post("/read", "Content-Length: 1000000000"))
        other.sendall(get("/sleep?0.01"))
        started = time.monotonic()
        while not select.select([slow], [], [], 0)[0]:
            slow.sendall(b"x")
            assert time.monotonic() < started + DEADLINE
        assert read_answer(slow).status == 408
        assert read_answer(other).status == 200


def test_truncated_large_body_is_logged_and_counted_as_400() -> None:
    with behaviours() as server, connect(server.port) as connection:
        connection.sendall(post("/read", "Content-Length: 100000"))
        connection.shutdown(socket.SHUT_WR)
        assert read_answer(connection).status == 400
        assert requests(scrape(server))["POST", "", "400"] == 1
        server.wait_until(server.access_log)
        assert [line["status"] for line in server.access_log()] == [400]


# Responses


def test_iterator_is_sent_block_by_block(server: Gunicorn) -> None:
    with connect(server.port) as connection:
        connection.sendall(get("/stream", "Connection: close"))
        received = b""
        while not received.endswith(b"first\r\n"):
            received += connection.recv(4096)
        assert request(server.port, "GET", "/release").status == 200
        assert read_to_end(connection) == b"6\r\nsecond\r\n0\r\n\r\n"


# The first requests run in the thread pool, later ones on the event loop.
repeatedly = pytest.mark.parametrize("repetition", range(6))


@repeatedly
@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/write", 200, b"written"),
        ("/exc_info", 503, b"done"),
        ("/run_event_loop", 200, b"done"),
        ("/cancel", 500, b'{"error": "Internal Server Error"}'),
        ("/spoil_log", 200, b"done"),
    ],
)
def test_response_is_same_in_pool_and_on_event_loop(
    server: Gunicorn,
    target: str,
    status: int,
    body: bytes,
    repetition: int,  # noqa: ARG001 -- see repeatedly
) -> None:
    with connect(server.port) as connection:
        connection.sendall(get(target) + CLOSING_GET)
        first, *second = read_to_end(connection).split(b"HTTP/1.1 ")[1:]
    assert int(first[:3]) == status
    assert body in first
    # After an error, the connection is closed.
    assert len(second) == (target != "/cancel")


@repeatedly
def test_early_hints_precede_response(
    server: Gunicorn,
    repetition: int,  # noqa: ARG001 -- see repeatedly
) -> None:
    with connect(server.port) as connection:
        connection.sendall(get("/early_hints", "Connection: close"))
        hints, response, body = read_to_end(connection).split(b"\r\n\r\n")
    assert hints == b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload"
    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b"done"


@pytest.mark.parametrize(
    "head",
    [
        get("/fail_after_interim_response"),
        post("/fail_after_interim_response", "Content-Length: 100000", "Expect: 100-continue"),
    ],
    ids=["early hints", "100 and early hints"],
)
def test_error_after_interim_response_returns_500(server: Gunicorn, head: bytes) -> None:
    with connect(server.port) as connection:
        connection.sendall(head)
        if head.startswith(b"POST"):
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(LARGE)
        *_, response, body = read_to_end(connection).split(b"\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 500 ")
    assert body == b'{"error": "Internal Server Error"}'


def test_half_closed_client_gets_whole_response_without_error() -> None:
    with behaviours() as server:
        prove_quick(server, "/large")
        with connect(server.port) as connection:
            connection.sendall(get("/large", "Connection: close"))
            connection.shutdown(socket.SHUT_WR)
            assert len(read_to_end(connection)) > 30_000_000
    assert not errors(server)


@repeatedly
def test_content_shorter_than_content_length_closes_connection(
    server: Gunicorn,
    repetition: int,  # noqa: ARG001 -- see repeatedly
) -> None:
    with connect(server.port) as connection:
        connection.sendall(get("/short"))
        assert read_to_end(connection).endswith(b"done")


def test_base_exception_does_not_end_thread() -> None:
    with behaviours(THREADS="1") as server:
        statuses = [request(server.port, "GET", path).status for path in ("/cancel", "/read") * 3]
        assert statuses == [500, 200] * 3


@pytest.mark.parametrize("target", ["/large", "/endless"])
def test_slow_reader_holds_no_thread_longer_than_deadline(target: str) -> None:
    with (
        behaviours(THREADS="1", CLIENT_HEADER_TIMEOUT="1") as server,
        connect(server.port) as slow,
    ):
        slow.sendall(get(target))
        assert request(server.port, "GET", "/sleep?0.01").status == 200
        [worker] = map(psutil.Process, server.workers())
        eventually(
            lambda: slow.getsockname() not in {c.raddr for c in worker.net_connections("tcp")}
        )
    assert not errors(server)


# Persistence and request targets


@pytest.mark.parametrize(
    ("version", "fields", "announced"),
    [
        ("1.1", ["Connection: TE, close"], "close"),
        ("1.1", ["Connection: TE", "Connection: close", "TE: trailers"], "close"),
        ("1.1", ["Connection: Keep-Alive"], "keep-alive"),
        ("1.1", ["Connection: CLOSE"], "close"),
        ("1.1", ["Connection: upgrade"], "keep-alive"),
        ("1.0", ["Connection: keep-alive, TE"], "keep-alive"),
        ("1.0", ["Connection: close, keep-alive"], "close"),
        ("1.0", [], "close"),
        ("1.2", [], "keep-alive"),
    ],
)
def test_connection_persists_as_requested_and_announced(
    server: Gunicorn, version: str, fields: list[str], announced: str
) -> None:
    with connect(server.port) as connection:
        connection.sendall(get("/read", *fields).replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
        answer = read_answer(connection)
        assert answer.headers["Connection"] == announced
        connection.sendall(CLOSING_GET)
        assert bool(read_to_end(connection)) == (announced == "keep-alive")


def test_later_minor_version_gets_version_of_server(server: Gunicorn) -> None:
    with connect(server.port) as connection:
        connection.sendall(CLOSING_GET.replace(b"HTTP/1.1", b"HTTP/1.9"))
        assert read_to_end(connection).startswith(b"HTTP/1.1 200 OK\r\n")


def test_request_line_of_8000_bytes_is_accepted(server: Gunicorn) -> None:
    assert send(server.port, get("/" + "a" * 7985, "Connection: close")).status == 200


def test_authority_of_absolute_target_replaces_host(server: Gunicorn) -> None:
    assert request(server.port, "GET", "http://y:1/host").body == b"y:1"


@pytest.mark.parametrize("stray", [b"\r\n", b"\r"])
def test_stray_line_end_leaves_connection_idle(stray: bytes) -> None:
    with behaviours(CLIENT_HEADER_TIMEOUT="1") as server, connect(server.port) as idle:
        idle.sendall(GET + stray)
        assert read_answer(idle).status == 200
        with connect(server.port) as silent:
            assert silent.recv(1) == b""  # so the time for a header section is over
        idle.sendall(b"\r\n"[len(stray) :] + GET)
        assert read_answer(idle).status == 200


# Limits


def test_connection_limit_with_busy_connections_delays_newcomer_until_one_is_done() -> None:
    with (
        behaviours("--worker-connections", "10", THREADS="10") as server,
        ExitStack() as clients,
    ):
        busy = [clients.enter_context(connect(server.port)) for _ in range(10)]
        for connection in busy:
            connection.sendall(get("/sleep?1", "Connection: close"))
        assert server.ask("/livez").status == 200
        assert not select.select(busy, [], [], 0)[0]
        assert request(server.port, "GET", "/read").status == 200
        assert [read_answer(connection).status for connection in busy] == [200] * 10


def test_connection_is_evicted_only_for_newcomer() -> None:
    with gunicorn("--worker-connections", "10", workers=1) as server, ExitStack() as clients:
        idle = [clients.enter_context(connect(server.port)) for _ in range(10)]
        for connection in idle:
            connection.sendall(GET)
            assert read_answer(connection).headers["Connection"] == "keep-alive"
        assert select.select(idle, [], [], 0.5)[0] == []
        assert request(server.port, "GET", "/hello").status == 200
        assert select.select(idle, [], [], 0.5)[0] == [idle[0]]


def test_evicting_busy_keep_alive_connections_keeps_worker_and_serves_all() -> None:
    with gunicorn("--worker-connections", "40", workers=1) as server:
        workers = server.workers()
        clients = [KeepAliveClient(server.port) for _ in range(64)]
        for client in clients:
            client.start()
        try:
            answers = [request(server.port, "GET", "/hello").body for _ in range(20)]
        finally:
            for client in clients:
                client.stop()
        assert answers == [HELLO] * 20
        assert server.workers() == workers
        assert all(client.answered for client in clients)
        assert sum(len(c.lost) for c in clients) < 0.01 * sum(c.answered for c in clients)
    assert not errors(server)


def test_thread_that_cannot_be_started_leaves_requests_to_others() -> None:
    with behaviours(THREADS="16") as server, ExitStack() as clients:
        [worker] = server.workers()
        # Less than the stack of a thread.
        limit = psutil.Process(worker).memory_info().vms + 4_000_000
        resource.prlimit(worker, resource.RLIMIT_AS, (limit, limit))
        connections = [clients.enter_context(connect(server.port)) for _ in range(16)]
        for connection in connections:
            connection.sendall(get("/sleep?0.01"))
        assert [read_answer(connection).status for connection in connections] == [200] * 16
        assert server.workers() == [worker]
        assert len(server.messages("1 of 16 threads: can't start new thread")) in (1, 2)


def test_busy_threads_block_neither_management_port_nor_quick_paths() -> None:
    with behaviours(THREADS="2") as server, ExitStack() as clients:
        prove_quick(server, "/read")
        for _ in range(10):
            clients.enter_context(connect(server.port)).sendall(get("/sleep?30"))
        answers = [
            answer.status
            for _ in range(20)
            for answer in (server.ask("/metrics"), request(server.port, "GET", "/read"))
        ]
        assert answers == [200] * 40
        server.signal(signal.SIGQUIT)
        assert server.wait() == 0


# Process control


def test_hung_event_loop_gets_worker_replaced() -> None:
    with behaviours("--timeout", "2") as server:
        prove_quick(server, "/hang_on_event_loop")
        with pytest.raises((OSError, HTTPException)):
            request(server.port, "GET", "/hang_on_event_loop")
        server.wait_until_booted(2)
        assert server.messages("WORKER TIMEOUT")
        assert request(server.port, "GET", "/read").status == 200


def test_request_longer_than_timeout_keeps_worker() -> None:
    with behaviours("--timeout", "2") as server:
        workers = server.workers()
        assert request(server.port, "GET", "/sleep?4").status == 200
        assert server.workers() == workers


def test_graceful_shutdown_waits_for_in_flight_request() -> None:
    with behaviours() as server, connect(server.port) as connection:
        connection.sendall(get("/sleep?1"))
        server.wait_until(lambda: server.ask("/livez").status == 200)
        server.signal(signal.SIGTERM)
        answer = read_answer(connection)
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert server.wait() == 0
    assert not errors(server)


def test_graceful_shutdown_waits_for_slow_upload_and_download() -> None:
    with (
        behaviours() as server,
        connect(server.port) as upload,
        connect(server.port) as download,
    ):
        upload.sendall(post("/read", "Content-Length: 5") + b"h")
        download.sendall(get("/large", "Connection: close"))
        received = download.recv(1)
        server.signal(signal.SIGTERM)
        # Longer than idle connections are kept.
        assert select.select([upload], [], [], 3)[0] == []
        upload.sendall(b"ello")
        assert json.loads(read_answer(upload).body) == ["POST", 5]
        assert len(received + read_to_end(download)) > 30_000_000
        assert server.wait() == 0


def test_half_closed_connection_does_not_delay_shutdown() -> None:
    with behaviours(GRACEFUL_TIMEOUT="3600") as server:
        with connect(server.port) as connection:
            connection.sendall(get("/read") + get("/sleep?0.01", "Connection: close"))
            connection.shutdown(socket.SHUT_WR)
            assert read_to_end(connection).count(b"HTTP/1.1 200 OK") == 2
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


def test_workers_exit_when_master_is_killed() -> None:
    with behaviours() as server:
        [worker] = server.workers()
        os.kill(server.pid, signal.SIGKILL)
        eventually(lambda: not psutil.pid_exists(worker))
