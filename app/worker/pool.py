"""Thread pool of a listener."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic
from typing import Any

from prometheus_client import Gauge


class ThreadPool:
    """Threads that are started on demand, for tasks that are submitted on the event loop.

    They are daemon threads: immediate shutdown does not join them. The constructor raises
    RuntimeError if the first thread cannot be started; after later failures, the tasks wait for the
    threads that run. The gauge `busy` is the number of threads that run a task.
    """

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop, log: Any, busy: Gauge) -> None:
        self.size = size
        self.loop = loop
        self.log = log
        self.busy = busy
        self.threads = 0
        self.pending = 0
        self.retry_at = 0.0
        self.tasks: SimpleQueue[tuple[Callable[[], None], Callable[[], None]]] = SimpleQueue()
        self._start_thread()

    def submit(self, task: Callable[[], None], callback: Callable[[], None]) -> None:
        """Run `task` in a thread, then `callback` on the event loop, even if `task` raises."""
        self.pending += 1
        if self.threads < min(self.pending, self.size) and monotonic() >= self.retry_at:
            try:
                self._start_thread()
            except RuntimeError as error:
                self.retry_at = monotonic() + 1
                self.log.warning("%d of %d threads: %s", self.threads, self.size, error)
        self.tasks.put((task, callback))

    def _start_thread(self) -> None:
        threading.Thread(target=self._work, name="thread pool", daemon=True).start()
        self.threads += 1

    def _work(self) -> None:
        while True:
            task, callback = self.tasks.get()
            self.busy.inc()
            try:
                task()
            except BaseException:  # or else the thread would end
                self.log.exception("Error in a thread of the pool")
            finally:
                self.busy.dec()
                self.loop.call_soon_threadsafe(self._end, callback)

    def _end(self, callback: Callable[[], None]) -> None:
        self.pending -= 1
        callback()
