"""Clients that are slow, silent, or many keep nobody else from an answer."""

import resource
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain

import pytest

from tests.client import GET, connect, read_answer, request, send
from tests.contract import HELLO
from tests.servers import Gunicorn, eventually, gunicorn
from tests.slow import (
    Behaviour,
    Crowd,
    dribble,
    never_close,
    read_nothing,
    say_nothing,
    stall_a_body,
    stall_a_second_request,
    stay_idle,
)

BEGUN = b"GET /hello HTTP/1.1\r\nHost: x"
NEVER = "3600"  # seconds


def ask_both_ports(server: Gunicorn, times: int) -> set[int]:
    """Ask on a fresh connection each time."""
    answers = [(request(server.port, "GET", "/hello"), server.ask("/livez")) for _ in range(times)]
    return {answer.status for answer in chain(*answers)}


def test_crowds_of_slow_clients_stop_neither_port() -> None:
    crowds: dict[Behaviour, int] = {
        dribble: 1000,
        say_nothing: 700,
        never_close: 20,
        stall_a_body: 20,
    }
    with gunicorn() as server:
        workers = server.workers()
        with Crowd(server.port, crowds) as crowd:
            eventually(crowd.is_here)
            assert ask_both_ports(server, 200) == {200}
        assert server.workers() == workers
    assert not [line for line in server.log() if line["level"] != "info"]


@pytest.mark.parametrize(
    "behaviour",
    [
        dribble,
        never_close,
        say_nothing,
        stall_a_body,
        stall_a_second_request,
        stay_idle,
    ],
)
@pytest.mark.parametrize("port", ["port", "management_port"])
def test_a_slow_client_does_not_hold_the_only_thread(port: str, behaviour: Behaviour) -> None:
    with (
        gunicorn(workers=1, THREADS="1", CLIENT_HEADER_TIMEOUT=NEVER) as server,
        Crowd(getattr(server, port), {behaviour: 10}) as crowd,
    ):
        eventually(crowd.is_here)
        assert ask_both_ports(server, 50) == {200}


@pytest.fixture(scope="module")
def impatient() -> Iterator[Gunicorn]:
    with gunicorn(workers=1, CLIENT_HEADER_TIMEOUT="1") as server:
        yield server


def test_a_head_that_does_not_come_in_time_is_answered_408(impatient: Gunicorn) -> None:
    with connect(impatient.port) as connection:
        connection.sendall(BEGUN)
        answer = read_answer(connection)
        assert (answer.status, answer.body) == (408, b'{"error": "Request Timeout"}')
        assert answer.headers["Connection"] == "close"
        assert connection.recv(1) == b""


def test_a_client_that_says_nothing_is_sent_away_without_a_word(impatient: Gunicorn) -> None:
    with connect(impatient.port) as connection:
        assert connection.recv(1) == b""


def test_a_byte_now_and_then_does_not_put_off_the_end() -> None:
    with (
        gunicorn(workers=1, CLIENT_HEADER_TIMEOUT="2") as server,
        Crowd(server.port, {dribble: 1}) as crowd,
    ):
        eventually(lambda: crowd.came[dribble] == 2)  # it has been sent away


def test_a_bare_lf_is_refused_without_a_wait_for_more(impatient: Gunicorn) -> None:
    assert send(impatient.port, b"GET /hello HTTP/1.1\nHost: x\n\n").status == 400


def test_a_head_without_an_end_is_answered_431(impatient: Gunicorn) -> None:
    with connect(impatient.port) as connection:
        connection.sendall(BEGUN + b"\r\nX: y" * 4000)
        assert read_answer(connection).status == 431


def test_a_client_that_reads_no_answer_holds_no_thread_and_is_sent_away() -> None:
    with (
        gunicorn(workers=1, THREADS="1", CLIENT_HEADER_TIMEOUT="1") as server,
        Crowd(server.management_port, {read_nothing: 3}) as crowd,
    ):
        # Each is sent away, and comes again.
        while crowd.came[read_nothing] < 6:
            assert ask_both_ports(server, 1) == {200}


def test_at_the_limit_the_longest_waiting_gives_way() -> None:
    limit = ("--worker-connections", "50")
    with gunicorn(*limit, workers=1, CLIENT_HEADER_TIMEOUT=NEVER) as server, ExitStack() as clients:
        waiting = [clients.enter_context(connect(server.port)) for _ in range(60)]
        assert ask_both_ports(server, 5) == {200}
        for connection in waiting[:10]:
            assert connection.recv(1) == b""
        # Who has come late still waits, and there is a place for the answers, one after another.
        waiting[-1].sendall(GET)
        assert read_answer(waiting[-1]).body == HELLO


def test_at_the_limit_an_idle_connection_gives_way() -> None:
    limit = ("--worker-connections", "20")
    with gunicorn(*limit, workers=1, CLIENT_HEADER_TIMEOUT=NEVER) as server, ExitStack() as clients:
        idle = [clients.enter_context(connect(server.port)) for _ in range(10)]
        for connection in idle:
            connection.sendall(GET)
            assert read_answer(connection).headers["Connection"] == "keep-alive"
        silent = [clients.enter_context(connect(server.port)) for _ in range(15)]
        assert ask_both_ports(server, 1) == {200}
        assert idle[0].recv(1) == b""
        # A connection that is about to be used is worth more than one that has been.
        silent[0].sendall(GET)
        assert read_answer(silent[0]).body == HELLO


def test_a_worker_without_free_descriptors_lets_the_longest_waiting_go() -> None:
    with gunicorn(workers=1, CLIENT_HEADER_TIMEOUT=NEVER) as server, ExitStack() as clients:
        [worker] = server.workers()
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (50, 50))
        for _ in range(100):
            clients.enter_context(connect(server.port))
        assert ask_both_ports(server, 20) == {200}
        assert server.workers() == [worker]
    assert not [line for line in server.log() if line["level"] != "info"]


def test_clients_that_wait_do_not_hold_a_stop() -> None:
    patience = {"CLIENT_HEADER_TIMEOUT": NEVER, "GRACEFUL_TIMEOUT": NEVER, "KEEPALIVE": NEVER}
    with gunicorn(workers=1, **patience) as server, ExitStack() as clients:
        silent, begun, *idle = (clients.enter_context(connect(server.port)) for _ in range(5))
        begun.sendall(BEGUN)
        for each in idle:
            each.sendall(GET)
            assert read_answer(each).status == 200
        server.signal(signal.SIGTERM)
        # Until they are told that they should close, which they do not.
        for each in idle[:2]:
            each.sendall(GET)
            while read_answer(each).headers["Connection"] == "keep-alive":
                each.sendall(GET)
        assert server.wait() == 0
        assert read_answer(begun).status == 408
        assert [each.recv(1) for each in (silent, *idle)] == [b""] * 4


def test_what_comes_while_others_wait_for_a_stop_is_answered() -> None:
    with gunicorn() as server, connect(server.port) as idle, connect(server.port) as begun:
        idle.sendall(GET)
        read_answer(idle)
        begun.sendall(BEGUN)
        assert ask_both_ports(server, 1) == {200}  # so both have been accepted
        server.signal(signal.SIGTERM)
        server.wait_until(lambda: server.messages("Handling signal: term"))
        begun.sendall(b"\r\n\r\n")
        idle.sendall(GET)
        assert read_answer(begun).body == read_answer(idle).body == HELLO


def test_a_flood_of_nonsense_does_not_fill_the_log(impatient: Gunicorn) -> None:
    before = len(impatient.stdout)
    for _ in range(300):
        assert send(impatient.port, b"nonsense\r\n\r\n").status == 400
    assert len(impatient.stdout) - before < 150
