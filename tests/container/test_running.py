"""Containers of the image: privileges, health, shutdown, constraints."""

import re
import signal
import statistics
import subprocess
import time

import pytest

from tests.client import DEADLINE, KeepAliveClient, request
from tests.container.conftest import HARDENED, Report
from tests.contract import CONTRACT, Exchange
from tests.docker import Container, container, docker
from tests.scrape import requests, scrape, value
from tests.servers import eventually

STARTS = 5


@pytest.mark.parametrize("exchange", CONTRACT, ids=lambda exchange: exchange.fact)
def test_the_answer_is_that_of_the_contract(exchange: Exchange, service: Container) -> None:
    answer = request(service.port, exchange.method, exchange.target)
    assert (answer.status, answer.body) == (exchange.status, exchange.body)


def test_it_runs_without_any_privilege(service: Container) -> None:
    status = service.python("print(open('/proc/1/status').read())")
    facts = dict(re.findall(r"(\w+):\s*(.*)", status))
    assert facts["Uid"].split() == ["12345"] * 4
    assert facts["Gid"].split() == ["54321"] * 4
    assert facts["NoNewPrivs"] == "1"
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(facts[capabilities], 16) == 0


def test_its_root_is_read_only(service: Container) -> None:
    program = "try: open('/srv/x', 'w')\nexcept OSError as error: print(error.strerror)"
    assert service.python(program) == "Read-only file system"


def test_it_becomes_healthy(service: Container) -> None:
    service.eventually_healthy()


def test_it_has_nothing_to_warn_of(service: Container) -> None:
    assert {line["level"] for line in service.log()} == {"info"}


def test_it_is_unhealthy_when_no_worker_answers(image: str) -> None:
    with container(image, *HARDENED, "--health-interval=1s", "--health-retries=1") as running:
        running.eventually_healthy()
        running.signal_workers(signal.SIGSTOP)
        eventually(lambda: running.health() == "unhealthy")
        [*_, last] = running.inspect()["State"]["Health"]["Log"]
        assert last["ExitCode"] == 1
        assert last["Output"] == "not ready: TimeoutError('timed out')\n"


def test_a_killed_worker_is_replaced_and_its_counts_are_kept(image: str) -> None:
    with container(image, *HARDENED) as running:
        for _ in range(20):
            assert request(running.port, "GET", "/hello").status == 200
        running.signal_workers(signal.SIGKILL)
        eventually(running.is_ready)
        assert request(running.port, "GET", "/hello").status == 200
        assert requests(scrape(running))["GET", "/hello", "200"] == 21
        eventually(lambda: value(scrape(running), "gunicorn_workers_spawned_total") == 4)


def test_a_stop_under_load_loses_nothing_and_ends_well(image: str, report: Report) -> None:
    with container(image, *HARDENED) as running:
        clients = [KeepAliveClient(running.port, 100_000) for _ in range(8)]
        for client in clients:
            client.start()
        try:
            eventually(lambda: all(client.answered > 10 for client in clients))
            started = time.monotonic()
            docker("stop", "--time=30", running.name)
            report(f"docker stop under load: {time.monotonic() - started:.1f} s")
        finally:
            for client in clients:
                client.stop()
        # Had it not ended in time, it would have been killed: 137.
        assert running.inspect()["State"]["ExitCode"] == 0
        assert [client.lost for client in clients] == [[]] * len(clients)
        answered = sum(client.answered for client in clients)
        assert sum(line["logger"] == "gunicorn.access" for line in running.log()) == answered


def test_user_argument_applies_to_workers(image: str) -> None:
    arguments = "--env=GUNICORN_CMD_ARGS=--user=65532 --group=65532"
    with container(image, "--user=0", "--env=WEB_CONCURRENCY=2", arguments) as running:
        workers = "open('/proc/1/task/1/children').read().split()"
        program = f"import os; print(*(os.stat(f'/proc/{{pid}}').st_uid for pid in {workers}))"
        assert running.python(program) == "65532 65532"
        assert request(running.port, "GET", "/hello").status == 200


READ_HELLO = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/hello').read())"
UMASK = "import os; os.umask(0o077); os.execvp('python3', ['python3', '-m', 'app.server'])"


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        (["--read-only"], []),
        (["--ipc=none"], []),
        (["--network=none"], []),
        # OpenShift assigns such a user, in group 0.
        (["--user=1000680000:0"], []),
        (["--memory=64m"], []),
        (["--pids-limit=16"], []),
        (["--cpus=0.1"], []),
        (["--entrypoint=python3"], ["-c", UMASK]),
    ],
    ids=" ".join,
)
def test_constrained_container_serves(image: str, options: list[str], arguments: list[str]) -> None:
    often = "--health-interval=2s"
    name = docker("run", "--detach", often, "--env=WEB_CONCURRENCY=2", *options, image, *arguments)
    try:
        running = Container(name)
        running.eventually_healthy()
        assert running.python(READ_HELLO) == 'b\'{"message": "hello"}\''
        assert {line["level"] for line in running.log()} == {"info"}
    finally:
        docker("rm", "--force", name)


@pytest.mark.parametrize(
    ("options", "arguments", "error"),
    [
        (["--env=THREADS=many"], [], "hello-wsgi: THREADS='many' is not allowed"),
        (["--pids-limit=2"], ["--workers=1"], "hello-wsgi: workers=1: expected a pids limit"),
        (["--pids-limit=16"], ["--workers=8"], "hello-wsgi: workers=8: expected a pids limit"),
        ([], ["--bind=192.0.2.1:8000"], "hello-wsgi: cannot listen on 192.0.2.1:8000"),
        (["--read-only"], ["--bind=unix:/socket"], "hello-wsgi: cannot listen on /socket"),
        ([], ["--workers=0"], "hello-wsgi: workers=0: expected at least 1"),
        ([], ["--config=/missing.py"], "hello-wsgi: /missing.py: FileNotFoundError"),
    ],
    ids=lambda values: values if isinstance(values, str) else " ".join(values),
)
def test_invalid_option_aborts_startup_with_one_line_error(
    image: str, options: list[str], arguments: list[str], error: str
) -> None:
    command = ["docker", "run", "--rm", *options, image, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert ended.returncode == 1
    [line] = (ended.stdout + ended.stderr).splitlines()
    assert line.startswith(error)


def test_thread_that_cannot_be_started_aborts_startup_without_traceback(image: str) -> None:
    # RLIMIT_NPROC counts the threads of a user, whom no other container has.
    options = ["--ulimit=nproc=3", "--user=23456:23456", "--env=WEB_CONCURRENCY=1"]
    command = ["docker", "run", "--rm", *options, image]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert ended.returncode == 3
    assert "can't start new thread: expected a higher limit" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


def test_a_start_is_quick(image: str, report: Report) -> None:
    times = []
    for _ in range(STARTS):
        started = time.monotonic()
        with container(image, *HARDENED) as running:
            times.append(time.monotonic() - started)
            assert request(running.port, "GET", "/hello").status == 200
    report(f"docker run to the first answer, median of {STARTS}: {statistics.median(times):.2f} s")
