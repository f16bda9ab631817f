"""Thread pool of a listener."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic
from typing import Any


class ThreadPool:
    """Threads that are started on demand.

    They are daemon threads: immediate shutdown does not join them. submit() and done() must be
    called on the event loop. The constructor raises RuntimeError if the first thread cannot be
    started; after later failures, the tasks wait for the threads that run.
    """

    def __init__(self, size: int, log: Any) -> None:
        self.size = size
        self.log = log
        self.threads = 0
        self.pending = 0
        self.retry_at = 0.0
        self.tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._start_thread()

    def submit(self, task: Callable[[], None]) -> None:
        """Run `task`, which must not raise, in a thread; the caller calls done() after it."""
        self.pending += 1
        if self.threads < min(self.pending, self.size) and monotonic() >= self.retry_at:
            try:
                self._start_thread()
            except RuntimeError as error:
                self.retry_at = monotonic() + 1
                self.log.warning("%d of %d threads: %s", self.threads, self.size, error)
        self.tasks.put(task)

    def done(self) -> None:
        """Note that a task has ended."""
        self.pending -= 1

    def _start_thread(self) -> None:
        threading.Thread(target=self._work, name="thread pool", daemon=True).start()
        self.threads += 1

    def _work(self) -> None:
        while True:
            self.tasks.get()()
