"""What happens to workers, and a scraper that watches the counters meanwhile."""

import contextlib
import os
import random
import signal
import threading
from http.client import HTTPException

from tests.scrape import Scrape, scrape
from tests.servers import Gunicorn

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
