"""Does it last? `make soak`: load, scrapes, slow and hostile clients at once, for minutes.

In the first half workers come and go, too; in the second the same ones live on, and what they take
must not grow. SOAK_SECONDS is the time for both.
"""

import os
import random
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import psutil

from tests.churn import Scraper, disturb
from tests.client import CLOSING_GET, DEADLINE, KeepAliveClient
from tests.hostile import exchange, mutation, statuses
from tests.scrape import requests, scrape
from tests.servers import Gunicorn, gunicorn
from tests.slow import (
    Behaviour,
    Crowd,
    dribble,
    never_close,
    read_nothing,
    say_nothing,
    stall_a_body,
)

SECONDS = int(os.environ.get("SOAK_SECONDS", "240"))
SAMPLES = 12  # in each half
CLIENTS = 8
CROWDS: dict[Behaviour, int] = {
    dribble: 300,
    say_nothing: 200,
    never_close: 20,
    stall_a_body: 20,
    read_nothing: 5,
}


class Sample(NamedTuple):
    """What the service takes at a time."""

    megabytes: float  # PSS, of all processes
    descriptors: int
    threads: int
    slots: int
    log: int  # lines


class Hostile(threading.Thread):
    """Sends mutations of requests, and counts the answers."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.stopped = False
        self.sent = 0
        self.faults: list[object] = []

    def run(self) -> None:
        rng = random.Random(1)
        while not self.stopped:
            message = mutation(rng) + CLOSING_GET
            try:
                found = statuses(exchange(self.port, message))
            except (OSError, ValueError):  # the worker was killed in the middle of an answer
                continue
            self.sent += 1
            if any(status >= 500 and status != 501 for status in found):
                self.faults.append((message, found))


def sample(server: Gunicorn) -> Sample:
    arbiter = psutil.Process(server.pid)
    processes = (arbiter, *arbiter.children())
    return Sample(
        sum(process.memory_full_info().pss for process in processes) / 1e6,
        sum(process.num_fds() for process in processes),
        sum(process.num_threads() for process in processes),
        server.slots(),
        len(server.stdout),
    )


def watch(server: Gunicorn, between: Callable[[], object]) -> list[Sample]:
    """Take samples for half the time, and do something in between."""
    samples = []
    for _ in range(SAMPLES):
        until = time.monotonic() + SECONDS / 2 / SAMPLES
        while time.monotonic() < until:
            between()
            threading.Event().wait(1)
        try:
            samples.append(sample(server))
        except psutil.NoSuchProcess:  # a worker that has just ended
            continue
        print("  ".join(f"{figure:11.1f}" for figure in samples[-1]), flush=True)
    return samples


def settled(server: Gunicorn) -> list[int]:
    """Wait until no worker comes or goes; the arbiter has signals in a queue."""
    seen: list[list[int]] = []
    while len(seen) < 50 or seen[-50:].count(seen[-1]) < 50:
        threading.Event().wait(0.1)
        seen.append(server.workers())
    return seen[-1]


def growth(samples: list[Sample], field: str) -> float:
    """Compare the last third with the one in the middle; the first is for warming up."""
    figures = [getattr(each, field) for each in samples]
    third = len(figures) // 3
    return float(statistics.median(figures[-third:]) / statistics.median(figures[third:-third]))


def main() -> None:
    rng = random.Random(1)
    with gunicorn() as server:
        clients = [KeepAliveClient(server.port) for _ in range(CLIENTS)]
        scraper, hostile = Scraper(server), Hostile(server.port)
        for thread in (*clients, scraper, hostile):
            thread.start()
        with Crowd(server.port, CROWDS) as crowd:
            print("  ".join(f"{field:>11}" for field in Sample._fields))
            watch(server, lambda: disturb(server, rng))
            before = settled(server)
            print("the same workers from here on:")
            steady = watch(server, lambda: None)
            after = server.workers()
        scraper.stopped = hostile.stopped = True
        for client in clients:
            client.stop()
        for thread in (scraper, hostile):
            thread.join(DEADLINE)
        counted = requests(scrape(server))["GET", "/hello", "200"]
        server.signal(signal.SIGTERM)
        code = server.wait()
        # gunicorn's word for what disturb() does.
        said = [line for line in server.log() if "was sent SIGKILL" not in line.get("message", "")]
    answered = sum(client.answered for client in clients)
    failed = sum(client.failed for client in clients)
    growths = {field: growth(steady, field) for field in Sample._fields}
    levels = Counter(line["level"] for line in said)
    print(
        f"{answered} requests of {CLIENTS} clients answered, {failed} failed, {counted} counted;",
        f"{scraper.scrapes} scrapes; {hostile.sent} hostile messages;",
        f"{sum(crowd.came.values())} slow clients; log: {dict(levels)}",
    )
    print("growth: " + ", ".join(f"{field} {ratio:.2f}" for field, ratio in growths.items()))
    faults = {
        "counters fell": scraper.faults,
        "answers to hostile messages": hostile.faults,
        "counted less than answered": [counted] if counted < answered else [],
        "workers were replaced": set(before) ^ set(after),
        "grew by more than a tenth": [
            field for field, ratio in growths.items() if ratio > 1.1 and field != "log"
        ],
        "errors in the log": [levels["error"]] if levels["error"] else [],
        "exit code": [code] if code else [],
    }
    for fact, found in faults.items():
        if found:
            print(f"{fact}: {found}")
    sys.exit(any(faults.values()))


if __name__ == "__main__":
    main()
