"""How the service starts and ends: its settings, its ports, its files."""

import os
import resource
import signal
import subprocess
import sys
from contextlib import ExitStack

import psutil
import pytest

from tests.client import GET, connect, read_answer, request, send
from tests.servers import ROOT, Gunicorn, Server, gunicorn


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("PORT", "http", "an integer, 0 to 65535"),
        ("WEB_CONCURRENCY", "two", "an integer, 1 to 256"),
        ("LOG_LEVEL", "loud\nand clear", "debug, info, warning, error, critical"),
    ],
)
def test_a_bad_setting_ends_the_start_with_one_line(name: str, value: str, allowed: str) -> None:
    with Server("app.server", **{name: value}) as server:
        assert server.wait() == 1
    assert server.stderr == [f"hello-wsgi: {name}={value!r} is not allowed: it must be {allowed}"]
    assert server.stdout == []


def test_low_limit_of_file_descriptors_aborts_startup_with_one_line_error() -> None:
    with Server("app.server", prefix=("sh", "-c", 'ulimit -n 16; exec "$@"', "sh")) as server:
        assert server.wait() == 1
    assert server.stderr == ["hello-wsgi: ulimit -n 16: expected at least 64"]


def test_lowest_accepted_limit_of_file_descriptors_suffices() -> None:
    with gunicorn(prefix=("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")) as server:
        assert request(server.port, "GET", "/hello").status == 200


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--worker-class", "nosuch"], "class uri 'nosuch' invalid or not found"),
        (["--workers", "0"], "workers=0: expected at least 1"),
        (["--threads", "0"], "threads=0: expected at least 1"),
        (["--env", "nosuch"], "environment setting 'nosuch' invalid"),
        (["--certfile", "x"], "certfile='x': expected None, or --worker-class gthread"),
        (["--keyfile", "x"], "keyfile='x': expected None, or --worker-class gthread"),
        (["--proxy-protocol", "auto"], "proxy_protocol='auto': expected 'off', or --worker-class"),
        (["--protocol", "uwsgi"], "protocol='uwsgi': expected 'http', or --worker-class gthread"),
        (["--http2-cleartext", "upgrade"], "http2_cleartext='upgrade': expected 'off', or --"),
        (["--daemon"], "--daemon: expected a process manager"),
        (["--preload", "nosuch:application"], "ModuleNotFoundError: No module named 'nosuch'"),
        (["--pid", "/nonexistent/pid"], "/nonexistent doesn't exist. Can't create pidfile."),
        (["--config", "tests/fixtureapps/broken.py"], "tests/fixtureapps/broken.py: ZeroDivision"),
    ],
)
def test_unusable_argument_aborts_startup_with_one_line_error(
    arguments: list[str], error: str
) -> None:
    with Gunicorn(*arguments, PYTHONWARNINGS="") as server:
        assert server.wait() == 1
    [line] = server.stderr
    assert line.startswith("hello-wsgi: " + error)


def test_application_that_cannot_be_imported_aborts_startup() -> None:
    with Gunicorn("nosuch:application", PYTHONWARNINGS="") as server:
        assert server.wait() == 3
    assert set(server.stderr) == {"No module named 'nosuch'"}


def test_logger_of_gunicorn_is_accepted() -> None:
    with gunicorn("--logger-class", "gunicorn.glogging.Logger") as server:
        assert request(server.port, "GET", "/hello").status == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


def test_older_python_aborts_startup_with_one_line_error() -> None:
    # The oldest Python that is supported, made to look older.
    program = "import sys; sys.version_info = (3, 10, 1); import app.server"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr == "hello-wsgi: Python 3.10: expected 3.11 or newer\n"


def test_first_worker_without_threads_aborts_startup() -> None:
    # So little address space that no stack of a thread fits.
    with Gunicorn(prefix=("sh", "-c", 'ulimit -v 60000; exec "$@"', "sh"), workers=1) as server:
        assert server.wait() != 0
        assert not [line for line in server.stderr if "Traceback" in line]


def test_worker_that_cannot_be_started_is_started_later() -> None:
    with gunicorn(workers=1) as server:
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (1, hard))
        os.kill(server.workers()[0], signal.SIGKILL)
        server.wait_until(lambda: server.messages("Cannot start a worker"))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (hard, hard))
        server.wait_until_booted(2)
        assert request(server.port, "GET", "/hello").status == 200


@pytest.mark.parametrize("workers", [1, 3])
def test_the_workers_are_those_of_the_setting(workers: int) -> None:
    with gunicorn(workers=workers) as server:
        assert len(server.workers()) == workers


@pytest.mark.parametrize("threads", [2, 3])
def test_the_threads_are_those_of_the_setting(threads: int) -> None:
    # Each request waits for so many others, and there are some more requests than threads.
    application = "tests.fixtureapps.waiting:application"
    with gunicorn(application, workers=1, THREADS=str(threads)) as server, ExitStack() as clients:
        connections = [clients.enter_context(connect(server.port)) for _ in range(2 * threads)]
        for connection in connections:
            connection.sendall(GET)
        assert [read_answer(connection).status for connection in connections] == [200] * 2 * threads
        [worker] = server.workers()
        # The main thread, an event loop for each port, and a first thread for the other pool.
        assert psutil.Process(worker).num_threads() == 4 + threads


def test_a_request_that_takes_time_holds_no_other() -> None:
    application = "tests.fixtureapps.waiting:application"
    with gunicorn(application, workers=1, THREADS="2") as server, connect(server.port) as waiting:
        waiting.sendall(GET)
        assert [server.ask("/livez").status for _ in range(20)] == [200] * 20
        assert request(server.port, "GET", "/hello").status == 200
        assert read_answer(waiting).status == 200


def test_gunicorns_own_worker_is_one_argument_away() -> None:
    with gunicorn("--worker-class", "gthread") as server:
        assert request(server.port, "GET", "/hello").status == 200
        assert server.messages("Using worker") == ["Using worker: gthread"]


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.2", "127.0.0.2"), ("::1", "[::1]")])
def test_it_listens_where_it_is_told(host: str, shown: str) -> None:
    with Gunicorn(HOST=host) as server:
        server.wait_until_booted(2)
        connections = psutil.Process(server.pid).net_connections("tcp")
        assert {connection.laddr[0] for connection in connections} == {host}
        assert f"http://{shown}:" in server.messages("Listening at")[0]


@pytest.mark.parametrize(("keepalive", "connection"), [("0", "close"), ("75", "keep-alive")])
def test_a_connection_is_kept_alive_if_the_setting_allows(keepalive: str, connection: str) -> None:
    with gunicorn(KEEPALIVE=keepalive) as server:
        answer = send(server.port, GET)
    assert answer.headers["Connection"] == connection


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_it_with_0_and_leaves_no_process_and_no_file(number: signal.Signals) -> None:
    with gunicorn() as server:
        workers = server.workers()
        # Its memory has no name, and its log is a pipe: nothing is left in any directory.
        opened = psutil.Process(server.pid).open_files()
        server.signal(number)
        assert server.wait() == 0
    assert opened == []
    assert not any(psutil.pid_exists(pid) for pid in workers)
