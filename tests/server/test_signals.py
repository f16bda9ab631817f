"""Signals at any moment, closed terminals and killed master processes."""

import os
import pty
import random
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from tests.client import connect, request
from tests.servers import ROOT, Gunicorn, eventually, gunicorn, handles, handles_signals
from tests.shell import ENVIRON

BEHAVIOURS = "tests.fixtureapps.behaviours:application"
# Longer than any deadline of a test.
ENDLESS_REQUEST = b"GET /sleep?100 HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def request_in_flight(server: Gunicorn) -> Iterator[socket.socket]:
    """Send a request that the application does not finish, and wait until it is being served."""
    with connect(server.port) as connection:
        connection.sendall(ENDLESS_REQUEST)
        eventually(lambda: b'busy{listener="public"} 1' in server.ask("/metrics").body)
        yield connection


def is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def have_ended(pids: list[int]) -> bool:
    return not any(
        psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_immediate_shutdown_does_not_wait_for_requests(number: signal.Signals) -> None:
    with gunicorn(BEHAVIOURS, GRACEFUL_TIMEOUT="100") as server, request_in_flight(server):
        server.signal(number)
        assert server.wait() == 0


def test_immediate_shutdown_does_not_wait_for_stopped_worker() -> None:
    with gunicorn(GRACEFUL_TIMEOUT="100") as server:
        os.kill(server.workers()[0], signal.SIGSTOP)
        server.signal(signal.SIGQUIT)
        assert server.wait() == 0


def test_second_sigterm_turns_graceful_into_immediate_shutdown() -> None:
    with gunicorn(BEHAVIOURS, GRACEFUL_TIMEOUT="100") as server, request_in_flight(server):
        server.signal(signal.SIGTERM)
        server.wait_until(lambda: server.messages("Handling signal: term"))
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


def test_workers_killed_during_reload_are_replaced_while_former_ones_drain() -> None:
    with gunicorn(BEHAVIOURS, GRACEFUL_TIMEOUT="100") as server, request_in_flight(server):
        former = server.workers()
        server.signal(signal.SIGHUP)
        server.wait_until_booted(4)
        for pid in set(server.workers()).difference(former):
            os.kill(pid, signal.SIGKILL)
        server.wait_until_booted(6)
        assert request(server.port, "GET", "/hello").status == 200
        server.signal(signal.SIGQUIT)
        assert server.wait() == 0


def test_reload_without_resources_is_completed_later() -> None:
    with gunicorn(workers=1) as server:
        former = server.workers()
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (1, hard))
        server.signal(signal.SIGHUP)
        server.wait_until(lambda: server.messages("Cannot start a worker"))
        assert request(server.port, "GET", "/hello").status == 200
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (hard, hard))
        server.wait_until_booted(2)
        eventually(lambda: have_ended(former))
        assert len(server.workers()) == 1


def test_signals_during_startup_do_not_end_service() -> None:
    with Gunicorn() as server:
        eventually(lambda: handles(server.pid, signal.SIGUSR2))
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            server.signal(number)
        server.wait_until_ready()


def test_shutdown_signals_are_handled_during_reload() -> None:
    with gunicorn(BEHAVIOURS, GRACEFUL_TIMEOUT="100") as server, request_in_flight(server):
        server.signal(signal.SIGHUP)
        server.wait_until_booted(4)
        server.signal(signal.SIGTERM)
        # All workers but the one that serves the request have ended.
        server.wait_until(lambda: len(server.messages("Worker exiting")) == 3)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


def test_sigterm_during_startup_ends_service() -> None:
    rng = random.Random(1)
    for _ in range(6):
        with Gunicorn(GRACEFUL_TIMEOUT="100", PYTHONWARNINGS="") as server:
            with suppress(subprocess.TimeoutExpired):
                # The moment is what varies: no event is awaited.
                server.process.wait(rng.uniform(0.05, 0.7))
            server.signal(signal.SIGTERM)
            # Python itself has no handler in its first milliseconds.
            assert server.wait() in (0, -signal.SIGTERM)
            assert not [line for line in server.stderr if "Traceback" in line]


def test_workers_release_ports_after_master_process_is_killed() -> None:
    with gunicorn(BEHAVIOURS, GRACEFUL_TIMEOUT="100") as server:
        workers = server.workers()
        with request_in_flight(server):
            server.signal(signal.SIGKILL)
            server.process.wait()
            eventually(lambda: is_free(server.port) and is_free(server.management_port))
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: have_ended(workers))


@contextmanager
def in_terminal(*command: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a command as the leader of a session with a terminal of its own."""
    master, slave = pty.openpty()
    program = (
        "import fcntl, os, sys, termios\n"
        "os.setsid()\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "os.execvp(sys.argv[1], sys.argv[1:])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *command],
        cwd=ROOT,
        env=ENVIRON | {"PORT": "0", "MANAGEMENT_PORT": "0", "WEB_CONCURRENCY": "2"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    try:
        yield process, master
    finally:
        process.kill()
        process.wait()


def read_until(terminal: int, text: bytes, count: int) -> bytes:
    """Read until the output has `text` that many times; one read may return several lines."""
    output = b""
    while output.count(text) < count:
        output += os.read(terminal, 65536)
    return output


def processes_of(process: subprocess.Popen[bytes]) -> list[int]:
    return [
        process.pid,
        *(each.pid for each in psutil.Process(process.pid).children(recursive=True)),
    ]


def test_ctrl_c_at_make_run_leaves_no_process_and_no_traceback() -> None:
    with in_terminal("make", "run") as (process, terminal):
        output = read_until(terminal, b"Booting worker", count=2)
        pids = processes_of(process)
        os.write(terminal, b"\x03")
        with suppress(OSError):  # the last process has closed the terminal
            while True:
                output += os.read(terminal, 65536)
        eventually(lambda: have_ended(pids))
        os.close(terminal)
    assert b"Traceback" not in output
    assert len(pids) >= 4


@pytest.mark.parametrize("nohup", [False, True])
def test_service_ends_with_its_terminal_unless_started_by_nohup(*, nohup: bool) -> None:
    prefix = ("nohup",) if nohup else ()
    # A shell is the leader of the session, as usual.
    script = '"$@" > /dev/null 2>&1 & wait'
    command = ("sh", "-c", script, "sh", *prefix, sys.executable, "-m", "app.server")
    with in_terminal(*command) as (shell, terminal):
        eventually(lambda: len(processes_of(shell)) == 4)
        _, *service = processes_of(shell)
        eventually(lambda: all(map(handles_signals, service[1:])))
        os.close(terminal)
        shell.wait()
    if nohup:
        master = psutil.Process(service[0])
        for connection in master.net_connections("tcp"):
            assert request(connection.laddr[1], "GET", "/readyz").status in (200, 404)
        assert [child.pid for child in master.children()] == service[1:]
        master.terminate()
    eventually(lambda: have_ended(service))
