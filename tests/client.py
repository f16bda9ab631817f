"""A client that sends what it is told, to the byte, and reads an answer with a deadline."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import NamedTuple

DEADLINE = 30.0  # seconds, for each wait on a socket


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    reason: str = ""


@contextmanager
def connect(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as connection:
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


def send(port: int, message: bytes, method: str = "GET") -> Answer:
    with connect(port) as connection:
        connection.sendall(message)
        return read_answer(connection, method)


def request(port: int, method: str, target: str, headers: dict[str, str] | None = None) -> Answer:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return send(port, "\r\n".join([*lines, "", ""]).encode("latin-1"), method)


def read_to_end(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))
