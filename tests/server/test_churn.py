"""Counts stay exact while workers are killed, stopped, added and removed at random."""

import os
import random
from functools import partial

from tests.churn import Scraper, disturb
from tests.client import DEADLINE, KeepAliveClient
from tests.scrape import requests, scrape, value
from tests.servers import eventually, gunicorn

# For a longer run than that of each day.
REQUESTS = int(os.environ.get("CHURN_REQUESTS", "3000"))
SEED = int(os.environ.get("CHURN_SEED", "1"))

CLIENTS = 6


def sent(clients: list[KeepAliveClient]) -> int:
    return sum(client.sent for client in clients)


def have_sent(clients: list[KeepAliveClient], count: int) -> bool:
    """Tell if so many requests have been sent, or all that will be."""
    return sent(clients) >= count or not any(client.is_alive() for client in clients)


def test_counters_are_monotonic_and_exact_under_worker_churn() -> None:
    rng = random.Random(SEED)
    most_workers = 0
    with gunicorn(workers=3) as server:
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
        slots = server.slots()
    answered = sum(client.answered for client in clients)
    failed = sum(client.failed for client in clients)
    counted = requests(final)["GET", "/hello", "200"]
    spawned = value(final, "gunicorn_workers_spawned_total")
    print(
        f"{answered} answered, {failed} failed, {counted} counted, {scraper.scrapes} scrapes, "
        f"{spawned:.0f} workers spawned, {most_workers} seen at once, {slots} slots"
    )
    assert scraper.faults == []
    assert answered <= counted <= answered + failed
    # More workers may have been alive at once than were seen between the events.
    assert slots <= 2 * most_workers + 1
    assert spawned > slots
