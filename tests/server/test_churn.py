"""Counts stay exact while workers are killed, stopped, added and removed at random."""

import contextlib
import os
import random
import signal
import threading
from functools import partial
from http.client import HTTPException
from pathlib import Path

from tests.client import DEADLINE, KeepAliveClient
from tests.scrape import Scrape, requests, scrape, value
from tests.servers import Gunicorn, eventually, gunicorn

# For a longer run than that of each day.
REQUESTS = int(os.environ.get("CHURN_REQUESTS", "6000"))
SEED = int(os.environ.get("CHURN_SEED", "1"))

CLIENTS = 6
MOST_WORKERS = 5


class Scraper(threading.Thread):
    """Scrapes all along, and compares each scrape with the one before."""

    def __init__(self, server: Gunicorn) -> None:
        super().__init__()
        self.server = server
        self.stopped = False
        self.scrapes = 0
        self.faults: list[object] = []

    def run(self) -> None:
        last: Scrape = {}
        while not self.stopped:
            try:
                samples = scrape(self.server)
            except (OSError, HTTPException):
                continue  # the worker that was asked has been killed
            except Exception as error:  # noqa: BLE001 -- whatever it is, it is reported
                self.faults.append(error)
                return
            counters = {
                series: sample
                for series, sample in samples.items()
                if series.name.endswith(("_total", "_count", "_sum", "_bucket"))
            }
            self.faults += [
                (series, before, counters.get(series))
                for series, before in last.items()
                if not counters.get(series, -1) >= before
            ]
            last = counters
            self.scrapes += 1


def disturb(server: Gunicorn, rng: random.Random) -> None:
    """Do one of the things that an operator, a kernel or an orchestrator does to a service."""
    workers = server.workers()
    event = rng.choice(["KILL", "KILL", "TERM", "HUP", "TTIN", "TTOU"])
    number = signal.Signals[f"SIG{event}"]
    if event in ("KILL", "TERM"):
        if workers:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(rng.choice(workers), number)
    elif event != "TTIN" or len(workers) < MOST_WORKERS:
        server.signal(number)


def sent(clients: list[KeepAliveClient]) -> int:
    return sum(client.sent for client in clients)


def have_sent(clients: list[KeepAliveClient], count: int) -> bool:
    """Tell if so many requests have been sent, or all that will be."""
    return sent(clients) >= count or not any(client.is_alive() for client in clients)


def test_no_count_falls_or_is_lost_or_made_up(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    most_workers = 0
    with gunicorn(workers=3, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) as server:
        clients = [KeepAliveClient(server.port, REQUESTS // CLIENTS) for _ in range(CLIENTS)]
        scraper = Scraper(server)
        for thread in (*clients, scraper):
            thread.start()
        try:
            while any(client.is_alive() for client in clients):
                disturb(server, rng)
                eventually(partial(have_sent, clients, rng.randint(1, 100) + sent(clients)))
                most_workers = max(most_workers, len(server.workers()))
        finally:
            scraper.stopped = True
            scraper.join(DEADLINE)
        final = scrape(server)
        files = len(list(tmp_path.glob("histogram_*.db")))
    answered = sum(client.answered for client in clients)
    failed = sum(client.failed for client in clients)
    counted = requests(final)["GET", "/hello", "200"]
    spawned = value(final, "gunicorn_workers_spawned_total")
    print(
        f"{answered} answered, {failed} failed, {counted} counted, {scraper.scrapes} scrapes, "
        f"{spawned:.0f} workers spawned, {most_workers} seen at once, {files} files"
    )
    assert scraper.faults == []
    assert answered <= counted <= answered + failed
    # Slots are those of the most workers alive at once, of which the look between events sees some.
    assert files <= 2 * most_workers
    assert spawned > files
