"""What do metrics and log cost? The throughput of the service beside that of its bare callable.

Both run on the same gunicorn with the same settings, the bare one without middleware and access
log. They take turns, so that whatever else the machine does hits both alike. They have one worker
each: with two, a round in which one of them has accepted most connections has a third of the
throughput of a round in which they share, and that would be measured instead.
"""

import statistics

from tests.bench.load import requests_per_second, served

ROUNDS = 7
SECONDS = 4
CONNECTIONS = 32

BARE = ("app.application:application", "--logger-class", "gunicorn.glogging.Logger")


def main() -> None:
    figures: dict[str, list[float]] = {"bare": [], "service": []}
    with served(1, *BARE) as bare, served(1) as service:
        for name, ports in [("bare", bare), ("service", service)] * (ROUNDS + 1):
            figures[name].append(requests_per_second(ports.public, CONNECTIONS, SECONDS))
    # The first round of each is for warming up.
    medians = {name: statistics.median(rounds[1:]) for name, rounds in figures.items()}
    print(
        f"medians of {ROUNDS} rounds of {SECONDS} s in turn, {CONNECTIONS} connections, 1 worker:"
    )
    for name, median in medians.items():
        ratio = median / medians["bare"]
        print(f"  {name:8} {median:8.0f} requests/s  {ratio:.3f} of the bare callable")


if __name__ == "__main__":
    main()
