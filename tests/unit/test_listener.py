"""Which requests run on the event loop."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from app.worker.listener import MAX_QUICK_PATHS, QUICK, Listener
from tests.unit.test_parser import config


@pytest.fixture
def listener() -> Iterator[Listener]:
    worker: Any = SimpleNamespace(cfg=config(), log=None, client_header_timeout=5)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        listener = Listener(worker, sock)
        yield listener
        listener.loop.close()


def get(path: str) -> Any:
    return SimpleNamespace(method="GET", path=path)


def test_path_is_quick_after_three_quick_responses(listener: Listener) -> None:
    for expected in (False, False, False, True):
        assert listener.is_quick(get("/")) == expected
        listener.learn(get("/"), QUICK / 2)
    assert not listener.is_quick(get("/other"))


def test_slow_response_makes_path_slow_at_once(listener: Listener) -> None:
    for _ in range(9):
        listener.learn(get("/"), QUICK / 2)
    listener.learn(get("/"), QUICK)
    assert not listener.is_quick(get("/"))


def test_number_and_size_of_quick_paths_are_bounded(listener: Listener) -> None:
    for number in range(2 * MAX_QUICK_PATHS):
        listener.learn(get(f"/{number}"), 0)
        listener.learn(get(f"/{number}" + "x" * 1000), 0)
    assert len(listener.quick) <= MAX_QUICK_PATHS
    assert sum(len(path) for _, path in listener.quick) < 10 * MAX_QUICK_PATHS
