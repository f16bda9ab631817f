"""Real servers as processes of our own: their ports, what they say, and their end."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

import psutil

from app.shared_memory import SLOT_SIZE
from tests.client import DEADLINE, Answer, request

ROOT = Path(__file__).parent.parent


class Server:
    """A running program and what it has said so far, line by line."""

    def __init__(
        self,
        *arguments: str,
        prefix: Any = (),
        stdout: Any = subprocess.PIPE,
        pass_fds: Any = (),
        cwd: Any = ROOT,
        **environ: str,
    ) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", *arguments],
            cwd=cwd,
            pass_fds=pass_fds,
            # wsgiref's validator warns of a method that it does not know, as it may.
            env={**os.environ, "PYTHONWARNINGS": "error,ignore:Unknown REQUEST_METHOD", **environ},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self.ended = False
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines))
            for stream, lines in (
                (self.process.stdout, self.stdout),
                (self.process.stderr, self.stderr),
            )
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self.ended = True
            self._news.notify_all()

    def wait_until(self, fact: Callable[[], object]) -> None:
        """Wait for a fact that shows in what the server says, or does not: the server has ended."""
        with self._news:
            assert self._news.wait_for(fact, DEADLINE), (self.stdout, self.stderr)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end, and for the last word; return the exit code."""
        code = self.process.wait(DEADLINE)
        for reader in self._readers:
            reader.join(DEADLINE)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            self.wait()
        finally:
            self.process.kill()


class Gunicorn(Server):
    """The service as `make run` starts it, on free ports."""

    def __init__(self, *arguments: str, workers: int = 2, **options: Any) -> None:
        defaults = {"PORT": "0", "MANAGEMENT_PORT": "0", "WEB_CONCURRENCY": str(workers)}
        super().__init__("app.server", *arguments, **(defaults | options))
        self.concurrency = workers
        self.management_port = int(options.get("MANAGEMENT_PORT", 0))

    def wait_until_ready(self) -> None:
        eventually(lambda: self.process.poll() is not None or self.is_ready())
        assert self.process.poll() is None, (self.stdout, self.stderr)
        self.port = next((port for port in self.ports() if port != self.management_port), 0)

    def is_ready(self) -> bool:
        """Return whether all workers handle signals and the management port responds."""
        workers = self.workers()
        if len(workers) < self.concurrency or not all(map(handles_signals, workers)):
            return False
        self.management_port = self.management_port or self.ports()[-1]
        return self.ask("/readyz").status == 200

    def ports(self) -> list[int]:
        """Return the ports of the listeners in the order of their creation."""
        connections = psutil.Process(self.pid).net_connections("tcp")
        return [each.laddr[1] for each in sorted(connections, key=lambda each: each.fd)]

    def ask(self, target: str, method: str = "GET", **headers: str) -> Answer:
        """Ask on the management port."""
        return request(self.management_port, method, target, headers)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout]

    def messages(self, start: str) -> list[str]:
        """Return the messages of the log that begin like that."""
        lines = [line for line in self.stdout if f'"message": "{start}' in line]
        return [json.loads(line)["message"] for line in lines]

    def access_log(self) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["logger"] == "gunicorn.access"]

    def wait_until_booted(self, count: int) -> None:
        """Wait until so many workers have been started, and those alive listen to signals."""
        self.wait_until(lambda: self.ended or len(self.messages("Booting worker")) >= count)
        eventually(lambda: all(map(handles_signals, self.workers())))

    def slots(self) -> int:
        """Return the number of slots in the shared memory, that of the master process included."""
        files = Path(f"/proc/{self.pid}/fd").iterdir()
        metrics = next(file for file in files if str(file.readlink()).startswith("/memfd:metrics"))
        return metrics.stat().st_size // SLOT_SIZE

    def workers(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.pid).children()]


def eventually(fact: Callable[[], object]) -> None:
    """Wait for a fact that nobody announces."""
    start = time.monotonic()
    pause = threading.Event()
    while not fact():
        assert time.monotonic() - start < DEADLINE
        pause.wait(0.01)


def handles(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler for the signal, or has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    caught = re.search(r"SigCgt:\s*(\w+)", status)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def handles_signals(worker: int) -> bool:
    """Return whether a worker has signal handlers of its own."""
    # The master process, from which it inherits handlers, has none for SIGABRT.
    return handles(worker, signal.SIGABRT)


@contextmanager
def gunicorn(*arguments: str, workers: int = 2, **options: Any) -> Iterator[Gunicorn]:
    """Run the service until it is ready."""
    with Gunicorn(*arguments, workers=workers, **options) as server:
        server.wait_until_ready()
        yield server


@contextmanager
def learners_server(*arguments: str) -> Iterator[tuple[Server, int]]:
    """Run `python -m app` on a free port."""
    with Server("app", "--port", "0", *arguments) as server:
        server.wait_until(lambda: server.ended or server.stdout)
        yield server, int(server.stdout[0].removeprefix("Serving on port ").rstrip("."))
