"""What does a scrape cost? Its time beside the workers there are, and those there have been."""

import os
import signal
import statistics
import time

from tests.servers import Gunicorn, gunicorn

STEPS = 5
WORKERS_PER_STEP = 40
SCRAPES = 200


def milliseconds_per_scrape(server: Gunicorn) -> float:
    times = []
    for _ in range(SCRAPES):
        start = time.perf_counter()
        assert server.ask("/metrics").status == 200
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def by_workers() -> dict[int, float]:
    figures = {}
    for workers in (1, 2, 4, 8):
        with gunicorn(workers=workers) as server:
            figures[workers] = milliseconds_per_scrape(server)
    return figures


def by_recycled() -> dict[int, float]:
    with gunicorn() as server:
        figures = {0: milliseconds_per_scrape(server)}
        for step in range(1, STEPS + 1):
            for _ in range(WORKERS_PER_STEP // 2):
                booted = len(server.messages("Booting worker"))
                for pid in server.workers():
                    os.kill(pid, signal.SIGKILL)
                server.wait_until_booted(booted + 2)
            figures[step * WORKERS_PER_STEP] = milliseconds_per_scrape(server)
    return figures
