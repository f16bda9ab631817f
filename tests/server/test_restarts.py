"""Orderly restarts: what was sent on an established connection is answered."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from tests.client import KeepAliveClient
from tests.servers import Gunicorn, eventually, gunicorn


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
            client.stop()


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
    assert [client.failed for client in clients] == [0] * 8


def test_recycled_workers_lose_nothing() -> None:
    with gunicorn("--max-requests", "100") as server, keep_alive_clients(server) as clients:
        server.wait_until_booted(8)
        wait_for_answers(clients)
    assert [client.failed for client in clients] == [0] * 8


def test_a_stop_loses_nothing_on_an_established_connection() -> None:
    with gunicorn() as server, keep_alive_clients(server) as clients:
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert [client.lost for client in clients] == [[]] * 8
    assert not [line for line in server.log() if line["level"] in ("warning", "error")]
