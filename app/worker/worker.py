"""Worker process: signals, heartbeat and shutdown."""

import os
import select
import signal
import sys
from http import HTTPStatus
from time import monotonic, sleep
from typing import Any

from gunicorn import util
from gunicorn.arbiter import Arbiter
from gunicorn.http.errors import ParseException
from gunicorn.workers import base

from app.settings import pids_limit
from app.worker.listener import Listener
from app.worker.request import status_of

# Seconds between two heartbeats.
HEARTBEAT = 1

# The main thread and, for each of two ports, the event loop and one thread of the pool.
MIN_THREADS = 5


def unblock_signals() -> None:
    """Unblock the signals that Master.spawn_worker() has blocked, and make SIGHUP ineffective."""
    # A terminal that closes sends SIGHUP to all processes. Only the master process acts on it.
    # Child processes would inherit SIG_IGN.
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


class Worker(base.Worker):
    """gunicorn worker with an event loop and a thread pool for each listener.

    The main thread handles signals and sends the heartbeat, so that neither depends on a request.
    """

    # Timeout in seconds for a header section, for a body that is collected, for progress in sending
    # a response, and for the client to close the connection.
    client_header_timeout: float = 5
    listeners: list[Listener]

    @classmethod
    def check_config(cls, cfg: Any, _log: Any) -> None:
        """Exit if a protocol is not supported, or if the threads would exceed the pids limit."""
        supported = {
            "certfile": None,
            "keyfile": None,
            "http2_cleartext": "off",
            "protocol": "http",
            "proxy_protocol": "off",
        }
        for name, expected in supported.items():
            if (value := getattr(cfg, name)) != expected:
                sys.exit(
                    f"hello-wsgi: {name}={value!r}: expected {expected!r}, or"
                    " --worker-class gthread"
                )
        needed, limit = 1 + cfg.workers * MIN_THREADS, pids_limit()
        if limit < needed:
            sys.exit(
                f"hello-wsgi: workers={cfg.workers}: expected a pids limit of at least {needed},"
                f" not {limit}"
            )

    def init_signals(self) -> None:
        """Install the signal handlers, before gunicorn imports the application.

        Processes that the application starts inherit the signal mask.
        """
        super().init_signals()
        unblock_signals()

    def run(self) -> None:
        """Serve until a signal, max_requests or the end of the master process."""
        # A lookup in Config costs more than the hooks themselves.
        self.pre_request, self.post_request = self.cfg.pre_request, self.cfg.post_request
        # A first worker whose threads cannot be started ends the startup, a later one is replaced.
        self.booted = self.age > self.cfg.workers
        try:
            self.listeners = [Listener(self, sock) for sock in self.sockets]
            for listener in self.listeners:
                listener.thread.start()
        except RuntimeError as error:
            self.log.critical("%s: expected a higher limit on processes and threads", error)
            sleep(1)  # limits the rate at which the master process replaces this worker
            sys.exit(-1 if self.booted else Arbiter.WORKER_BOOT_ERROR)
        self.booted = True
        wakeup = select.poll()
        wakeup.register(self.PIPE[0], select.POLLIN)
        while self.alive and self.send_heartbeat():
            if wakeup.poll(HEARTBEAT * 1000):
                os.read(self.PIPE[0], 4096)
            if self.ppid != os.getppid():
                self.log.info("Parent changed, shutting down: %s", self)
                self.alive = False
        self.alive = False
        deadline = monotonic() + self.cfg.graceful_timeout
        for listener in self.listeners:
            if listener.thread.is_alive():
                listener.loop.call_soon_threadsafe(listener.drain)
        for listener in self.listeners:
            while listener.thread.is_alive() and monotonic() < deadline:
                listener.thread.join(min(HEARTBEAT, deadline - monotonic()))
                self.send_heartbeat()

    def send_heartbeat(self) -> bool:
        """Notify the master process if every event loop has turned since the last heartbeat.

        Returns False if the thread of an event loop has ended.
        """
        running = [listener for listener in self.listeners if listener.thread.is_alive()]
        if all(listener.turned for listener in running):
            for listener in running:
                listener.turned = False
            self.notify()
        return len(running) == len(self.listeners)

    def count_request(self) -> None:
        """Count a request towards max_requests."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
            os.write(self.PIPE[1], b"\0")

    def evict(self) -> None:
        """Have each listener evict a connection, to free a file descriptor."""
        for listener in self.listeners:
            if not listener.loop.is_closed():
                listener.loop.call_soon_threadsafe(listener.evict_later)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Log an error and send the response to it; `client` is the Exchange."""
        status = status_of(exc)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            target = "" if req is None else f" {req.method} {req.uri}"
            self.log.error("Error handling request%s", target, exc_info=exc)
        elif isinstance(exc, ParseException):
            self.log.warning("Invalid request from ip=%s: %s", addr[0] if addr else "", exc)
        client.status = f"{status} {status.phrase}"
        if req is not None:
            client.log_access()
        util.write_error(client, status, status.phrase, "")
