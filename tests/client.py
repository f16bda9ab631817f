"""A client that sends what it is told, to the byte, and reads an answer with a deadline."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import NamedTuple

DEADLINE = 30.0  # seconds, for each wait on a socket

GET = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSING_GET = GET[:-2] + b"Connection: close\r\n\r\n"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    reason: str = ""


@contextmanager
def connect(port: int, deadline: float = DEADLINE) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=deadline) as connection:
        yield connection


def read_answer(connection: socket.socket, method: str = "GET") -> Answer:
    """Read one answer; http.client makes sure that it is framed as it says."""
    response = HTTPResponse(connection, method=method)
    try:
        response.begin()
        body = response.read()
        return Answer(response.status, dict(response.getheaders()), body, response.reason)
    finally:
        response.close()


def send(port: int, message: bytes, method: str = "GET", deadline: float = DEADLINE) -> Answer:
    with connect(port, deadline) as connection:
        connection.sendall(message)
        return read_answer(connection, method)


def request(
    port: int,
    method: str,
    target: str,
    headers: dict[str, str] | None = None,
    deadline: float = DEADLINE,
) -> Answer:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return send(port, "\r\n".join([*lines, "", ""]).encode("latin-1"), method, deadline)


def read_to_end(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


class KeepAliveClient(threading.Thread):
    """Sends GET after GET, each of which is answered or fails, on a connection while it is kept.

    `lost` are the failures on an established connection, that is one with an answer already.
    """

    def __init__(self, port: int, most: float = float("inf")) -> None:
        super().__init__()
        self.port = port
        self.most = most
        self.answered = 0
        self.failed = 0
        self.lost: list[Exception] = []

    @property
    def sent(self) -> int:
        return self.answered + self.failed

    def stop(self) -> None:
        self.most = 0
        self.join(DEADLINE)

    def run(self) -> None:
        while self.sent < self.most:
            try:
                self.converse()
            except (OSError, HTTPException):
                self.failed += 1

    def converse(self) -> None:
        answered_at = float("-inf")
        with connect(self.port) as connection:
            while self.sent < self.most:
                try:
                    connection.sendall(GET)
                    answer = read_answer(connection)
                except (OSError, HTTPException) as error:
                    # A server may close an idle connection (RFC 9112 section 9.3.1), and this one
                    # is idle to it while the client's machine is busy.
                    if time.monotonic() - answered_at < 1:
                        self.lost.append(error)
                    raise
                assert answer.status == 200
                self.answered += 1
                answered_at = time.monotonic()
                if answer.headers.get("Connection") == "close":
                    return


def ask_at_once(port: int, clients: int, requests: int) -> int:
    """Have so many clients send so many requests each; return how many of them all failed."""
    asking = [KeepAliveClient(port, requests) for _ in range(clients)]
    for client in asking:
        client.start()
    for client in asking:
        client.join()
    return sum(client.failed for client in asking)
