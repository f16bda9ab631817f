"""What does a scrape cost as workers come and go? Its time beside the number of workers so far."""

import os
import signal
import statistics
import time

from tests.servers import Gunicorn, gunicorn

STEPS = 5
WORKERS_PER_STEP = 40
SCRAPES = 50


def seconds_per_scrape(server: Gunicorn) -> float:
    times = []
    for _ in range(SCRAPES):
        start = time.perf_counter()
        assert server.ask("/metrics").status == 200
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    with gunicorn() as server:
        first = seconds_per_scrape(server)
        print(f"median of {SCRAPES} scrapes, 2 workers:")
        print(f"  {0:3} recycled  {first * 1000:.2f} ms  1.00")
        for step in range(1, STEPS + 1):
            for _ in range(WORKERS_PER_STEP // 2):
                booted = len(server.messages("Booting worker"))
                for pid in server.workers():
                    os.kill(pid, signal.SIGKILL)
                server.wait_until_booted(booted + 2)
            now = seconds_per_scrape(server)
            recycled = step * WORKERS_PER_STEP
            print(f"  {recycled:3} recycled  {now * 1000:.2f} ms  {now / first:.2f}")


if __name__ == "__main__":
    main()
