"""Log on a standard output that is not read, fails, or is not a pipe."""

import fcntl
import json
import os
import pty
import signal
import socket
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.client import DEADLINE, GET, ask_at_once, connect, read_answer
from tests.scrape import Scrape, scrape
from tests.servers import Gunicorn, gunicorn

# A pipe has room for 64 KiB, which is less than 300 lines of the access log.
REQUESTS = 1000


def dropped(samples: Scrape) -> dict[str, float]:
    """Return the number of dropped lines by reason."""
    return {
        dict(series.labels)["reason"]: value
        for series, value in samples.items()
        if series.name == "log_lines_dropped_total"
    }


def send_requests(server: Gunicorn, count: int = REQUESTS) -> None:
    with connect(server.port) as connection:
        for _ in range(count):
            connection.sendall(GET)
            assert read_answer(connection).status == 200


def read_available(fd: int) -> bytes:
    """Return the bytes that a pipe, socket or terminal holds."""
    os.set_blocking(fd, False)
    received = b""
    try:
        while data := os.read(fd, 65536):
            received += data
    except BlockingIOError:
        pass
    return received


@contextmanager
def unread_pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


@contextmanager
def unread_pipe_of_another_user() -> Iterator[tuple[int, int]]:
    """Return a pipe that /proc does not open without the capabilities of the root user."""
    with unread_pipe() as (reading, writing):
        os.fchmod(writing, 0)
        yield reading, writing


WITHOUT_CAPABILITIES = (
    () if os.geteuid() else ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
)


@contextmanager
def unread_socket() -> Iterator[tuple[int, int]]:
    reading, writing = socket.socketpair()
    with reading, writing:
        yield reading.fileno(), writing.fileno()


@contextmanager
def unread_terminal() -> Iterator[tuple[int, int]]:
    reading, writing = pty.openpty()
    attributes = termios.tcgetattr(writing)
    attributes[1] &= ~termios.OPOST  # or else each "\n" becomes "\r\n"
    termios.tcsetattr(writing, termios.TCSANOW, attributes)
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    "unread", [unread_pipe, unread_pipe_of_another_user, unread_socket, unread_terminal]
)
def test_lines_are_dropped_counted_and_reported_while_output_is_not_read(
    unread: Callable[[], Any],
) -> None:
    with (
        unread() as (reading, writing),
        gunicorn(prefix=WITHOUT_CAPABILITIES, stdout=writing) as server,
    ):
        flags = fcntl.fcntl(writing, fcntl.F_GETFL)
        send_requests(server)
        assert dropped(scrape(server))["blocked"] > REQUESTS / 2
        log, sent = read_available(reading), REQUESTS
        while b'"dropped"' not in log:
            send_requests(server, 1)
            sent += 1
            log += read_available(reading)
        # The descriptor is still blocking for the processes that share it.
        assert fcntl.fcntl(writing, fcntl.F_GETFL) == flags
        total = sum(dropped(scrape(server)).values())
        server.stop()
        log += read_available(reading)
    lines = [json.loads(line) for line in log.splitlines()]
    assert sum(line.get("dropped", 0) for line in lines) == total
    assert [line["logger"] for line in lines].count("gunicorn.access") == sent - total


@pytest.mark.parametrize("unread", [unread_pipe, unread_pipe_of_another_user, unread_socket])
def test_no_line_is_dropped_while_output_is_read(unread: Callable[[], Any]) -> None:
    log = bytearray()
    with (
        unread() as (reading, writing),
        gunicorn(prefix=WITHOUT_CAPABILITIES, stdout=writing) as server,
    ):
        os.set_blocking(reading, True)

        def read() -> None:
            while b"Shutting down" not in log:
                log.extend(os.read(reading, 65536))

        reader = threading.Thread(target=read)
        reader.start()
        assert ask_at_once(server.port, 8, 200) == 0
        assert sum(dropped(scrape(server)).values()) == 0
        server.stop()
        reader.join(DEADLINE)
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["logger"] for line in lines].count("gunicorn.access") == 8 * 200


def test_graceful_shutdown_while_output_is_not_read() -> None:
    with unread_pipe() as (_, writing), gunicorn(stdout=writing) as server:
        send_requests(server)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


def test_dropped_lines_are_reported_without_further_requests() -> None:
    with unread_pipe() as (reading, writing), gunicorn(workers=1, stdout=writing) as server:
        send_requests(server)
        log = read_available(reading)
        os.set_blocking(reading, True)
        while b'"dropped"' not in log:
            log += os.read(reading, 65536)


def test_lines_to_full_device_are_counted_as_failed() -> None:
    with Path("/dev/full").open("wb") as full, gunicorn(stdout=full.fileno()) as server:
        send_requests(server, 100)
        assert dropped(scrape(server))["failed"] >= 100


def test_lines_to_terminal_of_another_user_are_counted_as_failed() -> None:
    with unread_terminal() as (_, writing):
        os.fchmod(writing, 0)
        with gunicorn(prefix=WITHOUT_CAPABILITIES, stdout=writing) as server:
            send_requests(server, 100)
            assert dropped(scrape(server))["failed"] >= 100


def test_closed_standard_streams_do_not_affect_requests() -> None:
    closed = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    with gunicorn(prefix=closed) as server:
        send_requests(server, 100)
        assert dropped(scrape(server))["failed"] >= 100


def test_reader_that_closes_pipe_does_not_affect_requests() -> None:
    reading, writing = os.pipe()
    with gunicorn(stdout=writing) as server:
        os.close(writing)
        os.close(reading)
        send_requests(server, 100)
        assert dropped(scrape(server))["failed"] >= 100


def test_file_receives_all_lines(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("earlier\n")
    with file.open("ab") as log, gunicorn(stdout=log.fileno()) as server:
        send_requests(server, 100)
        assert sum(dropped(scrape(server)).values()) == 0
    first, *lines = file.read_text().splitlines()
    assert first == "earlier"
    assert sum(json.loads(line)["logger"] == "gunicorn.access" for line in lines) == 100
