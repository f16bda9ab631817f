"""Listener: an event loop in its own thread that accepts the connections of one socket."""

import asyncio
import errno
import selectors
import threading
from collections import OrderedDict
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from prometheus_client import Gauge

from app.listeners import role_of
from app.worker.connection import Connection, State
from app.worker.parser import RequestParser
from app.worker.pool import ThreadPool
from app.worker.request import Request

if TYPE_CHECKING:
    from app.worker.worker import Worker

# A request runs on the event loop if the last QUICK_RESPONSES responses for its method and path
# took less than QUICK seconds each. At most MAX_QUICK_PATHS of these pairs are remembered, and no
# path of more than MAX_QUICK_PATH characters.
QUICK = 0.001
QUICK_RESPONSES = 3
MAX_QUICK_PATHS = 1024
MAX_QUICK_PATH = 256

# Interval between checks of the timeouts, in seconds.
TICK = 0.5
# A connection that has been idle for less than EVICTION_AGE seconds may be in use. It is evicted
# only if it has been idle, and no connection has ended, for EVICTION_PAUSE seconds. Until then,
# responses announce "Connection: close", which frees connections without dropped requests.
EVICTION_AGE = 1
EVICTION_PAUSE = 0.05
# Maximum timeout of these states during graceful shutdown, in seconds. It is not 0, because a
# request may already have been sent.
DRAIN_TIMEOUT = 2
WITHOUT_REQUEST = (State.IDLE, State.READING, State.LINGERING)

CONNECTIONS_OPEN = Gauge(
    "gunicorn_connections_open", "Open connections.", ("listener",), registry=None
)
CONNECTIONS_MAX = Gauge(
    "gunicorn_connections_max", "Connection limit of all workers.", ("listener",), registry=None
)
THREADS_BUSY = Gauge(
    "gunicorn_threads_busy", "Threads that serve a request.", ("listener",), registry=None
)
THREADS_MAX = Gauge(
    "gunicorn_threads_max",
    "Maximum number of threads of all workers.",
    ("listener",),
    registry=None,
)

# The process or the system has no free file descriptor or memory.
EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class FlushingSelector(selectors.DefaultSelector):
    """Selector that flushes the log before it waits, once in each iteration of the event loop."""

    def __init__(self, log: Any) -> None:
        super().__init__()
        self.flush = getattr(log, "flush", lambda: None)  # another --logger-class lacks it

    def select(self, timeout: float | None = None) -> Any:
        """Wait for events."""
        self.flush()
        return super().select(timeout)


class Listener:
    """Event loop, connections and thread pool of one listening socket."""

    def __init__(self, worker: "Worker", sock: Any) -> None:
        cfg = worker.cfg
        self.worker = worker
        self.sock = sock
        self.address = sock.getsockname()
        self.parser = RequestParser(cfg, self.address)
        self.loop = asyncio.SelectorEventLoop(FlushingSelector(worker.log))
        role = role_of(sock)
        self.open = CONNECTIONS_OPEN.labels(role)
        CONNECTIONS_MAX.labels(role).inc(cfg.worker_connections)
        THREADS_MAX.labels(role).inc(cfg.threads)
        self.pool = ThreadPool(cfg.threads, self.loop, worker.log, THREADS_BUSY.labels(role))
        self.thread = threading.Thread(target=self.run, name="event loop", daemon=True)
        self.keepalive = cfg.keepalive
        self.queues: dict[State, OrderedDict[Connection, None]]
        self.queues = {state: OrderedDict() for state in State}
        self.timeouts = dict.fromkeys(State, worker.client_header_timeout)
        self.timeouts |= {State.IDLE: self.keepalive, State.IN_APPLICATION: inf}
        self.connections = 0
        self.accepting = self.draining = False
        self.turned = True  # whether tick() has run since the last heartbeat
        self.last_release = 0.0
        self.tasks: set[asyncio.Task[Any]] = set()
        self.quick: dict[tuple[Any, Any], int] = {}

    def run(self) -> None:
        """Serve until the listener has drained."""
        self.drained = self.loop.create_future()
        self.loop.call_soon(self.resume_accepting)
        self.loop.call_soon(self.tick)
        self.loop.run_until_complete(self.drained)
        self.loop.close()

    def tick(self) -> None:
        """Act on the timeouts that have passed."""
        self.turned = True
        now = monotonic()
        for state, queue in self.queues.items():
            for connection in list(queue):
                if connection.entered + self.timeouts[state] > now:
                    break  # the others entered the state later
                connection.expire()
        self.loop.call_later(TICK, self.tick)

    def resume_accepting(self) -> None:
        """Accept connections."""
        if not (self.accepting or self.draining):
            self.accepting = True
            self.loop.add_reader(self.sock, self.accept)

    def pause_accepting(self) -> None:
        """Accept no connection for EVICTION_PAUSE seconds, or until one is closed."""
        if self.accepting:
            self.accepting = False
            self.loop.remove_reader(self.sock)
            self.loop.call_later(EVICTION_PAUSE, self.resume_accepting)

    def accept(self) -> None:
        """Accept the connections of the backlog up to the connection limit."""
        before, limit = self.connections, self.worker.cfg.worker_connections
        while self.connections < limit:
            try:
                sock, client = self.sock.accept()
            except OSError as error:
                if error.errno in EXHAUSTED:
                    # accept() fails even if the backlog is empty. A failure after a successful
                    # accept() is therefore no reason to evict.
                    if self.connections == before:
                        self.worker.evict()
                    self.pause_accepting()
                return
            self.connections += 1
            self.open.inc()
            task = self.loop.create_task(
                self.loop.connect_accepted_socket(partial(Connection, self, client), sock)
            )
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        # Only before the first accept() is it known that a client waits.
        if self.connections == before:
            self.pause_accepting()
            self.evict_later()

    def evict_later(self) -> None:
        """Evict a connection after the requests that have arrived have been read."""
        # asyncio runs timers after the callbacks of select().
        self.loop.call_later(0, self.evict)

    def evict(self) -> None:
        """Close the longest idle connection, or else the one that has been longest in its state.

        Does nothing if it may be in use, or if all connections are in the application.
        """
        longest = [
            next(iter(queue))
            for state, queue in self.queues.items()
            if queue and state is not State.IN_APPLICATION
        ]
        oldest = min(longest, key=lambda c: (c.state is not State.IDLE, c.entered), default=None)
        if oldest is not None:
            now = monotonic()
            age = now - oldest.entered
            if age >= EVICTION_AGE or min(age, now - self.last_release) >= EVICTION_PAUSE:
                oldest.close()

    def release(self) -> None:
        """Remove a closed connection from the count, and accept another one."""
        self.connections -= 1
        self.open.dec()
        self.last_release = monotonic()
        self.resume_accepting()
        self.end_drain()

    def drain(self) -> None:
        """Stop accepting; close each connection when it has no request in flight."""
        self.draining = True
        self.accept()
        self.pause_accepting()
        self.sock.close()
        for state in WITHOUT_REQUEST:
            self.timeouts[state] = min(self.timeouts[state], DRAIN_TIMEOUT)
            for connection in list(self.queues[state]):
                connection.enter(state)
        self.end_drain()

    def end_drain(self) -> None:
        """End the event loop after the last connection."""
        if self.draining and not self.connections:
            self.drained.set_result(None)

    def is_quick(self, request: Request) -> bool:
        """Return whether the application has proven quick for the method and path."""
        return self.quick.get((request.method, request.path), 0) >= QUICK_RESPONSES

    def learn(self, request: Request, elapsed: float) -> None:
        """Record whether the response was quick."""
        key = request.method, request.path
        if elapsed >= QUICK or len(request.path or "") > MAX_QUICK_PATH:
            self.quick.pop(key, None)
        else:
            self.quick[key] = self.quick.get(key, 0) + 1
            if len(self.quick) > MAX_QUICK_PATHS:
                self.quick.clear()
