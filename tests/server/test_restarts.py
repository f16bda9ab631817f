"""Orderly restarts: what was sent on an established connection is answered."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPException

from tests.client import DEADLINE, connect, read_answer
from tests.servers import Gunicorn, eventually, gunicorn

GET = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"


class KeepAliveClient(threading.Thread):
    """Sends request after request on a connection, and opens another when told to close it."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.stopped = False
        self.answered = 0
        self.lost: list[Exception] = []
        self.refused: list[Exception] = []

    def run(self) -> None:
        while not self.stopped:
            try:
                self.converse()
            except (OSError, HTTPException) as error:
                self.refused.append(error)

    def converse(self) -> None:
        with connect(self.port) as connection:
            connection.sendall(GET)
            answer = read_answer(connection)
            # From here on the connection is established.
            while answer.headers["Connection"] == "keep-alive" and not self.stopped:
                self.answered += 1
                answered_at = time.monotonic()
                try:
                    connection.sendall(GET)
                    answer = read_answer(connection)
                except (OSError, HTTPException) as error:
                    # A server may close a connection that was idle (RFC 9112 section 9.3.1), as
                    # this one is to it if the client's machine is busy.
                    if time.monotonic() - answered_at < 1:
                        self.lost.append(error)
                    return


@contextmanager
def keep_alive_clients(server: Gunicorn) -> Iterator[list[KeepAliveClient]]:
    clients = [KeepAliveClient(server.port) for _ in range(8)]
    for client in clients:
        client.start()
    try:
        wait_for_answers(clients)
        yield clients
    finally:
        for client in clients:
            client.stopped = True
        for client in clients:
            client.join(DEADLINE)


def wait_for_answers(clients: list[KeepAliveClient], count: int = 20) -> None:
    """Wait until each client has got some more answers."""
    goals = [client.answered + count for client in clients]
    eventually(lambda: all(c.answered >= goal for c, goal in zip(clients, goals, strict=True)))


def have_gone(server: Gunicorn, workers: set[int]) -> bool:
    return workers.isdisjoint(server.workers())


def test_two_reloads_lose_nothing() -> None:
    with gunicorn() as server, keep_alive_clients(server) as clients:
        for reload in (1, 2):
            before = set(server.workers())
            server.signal(signal.SIGHUP)
            server.wait_until_booted(2 + 2 * reload)
            eventually(partial(have_gone, server, before))
            wait_for_answers(clients)
    assert [client.lost for client in clients] == [[]] * 8
    assert [client.refused for client in clients] == [[]] * 8


def test_a_stop_loses_nothing_on_an_established_connection() -> None:
    with gunicorn() as server, keep_alive_clients(server) as clients:
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert [client.lost for client in clients] == [[]] * 8
    assert not [line for line in server.log() if line["level"] in ("warning", "error")]
