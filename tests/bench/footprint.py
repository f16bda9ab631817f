"""What does it take to be there? Memory under load, and the time to the first answer."""

import statistics
from typing import NamedTuple

from tests.bench.contenders import Contender, running
from tests.client import ask_at_once

STARTS = 5
WORKERS = 2
REQUESTS = 800


class Footprint(NamedTuple):
    first_answer: float  # seconds
    worker: float  # megabytes (PSS), of the largest
    total: float  # megabytes (PSS)


def measure(contender: Contender) -> Footprint:
    seconds, memory = [], []
    for _ in range(STARTS):
        with running(contender, WORKERS) as served:
            seconds.append(served.seconds_to_first_answer)
            assert ask_at_once(served.port, clients=8, requests=REQUESTS // 8) == 0
            memory = served.pss_megabytes()
    return Footprint(statistics.median(seconds), max(memory[1:], default=0), sum(memory))
