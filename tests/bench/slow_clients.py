"""Who is answered while crowds of slow clients are there? Fresh connections to both ports."""

import statistics
import time
from http.client import HTTPException
from typing import NamedTuple

from tests.bench.contenders import Contender, running
from tests.client import request
from tests.servers import eventually
from tests.slow import Behaviour, Crowd, dribble, never_close, say_nothing, stall_a_body

SECONDS = 15
DEADLINE = 2.0  # seconds, for an answer
CROWDS: dict[Behaviour, int] = {dribble: 1000, say_nothing: 700, never_close: 20, stall_a_body: 20}


class Answered(NamedTuple):
    asked: int
    answered: int
    p50: float  # milliseconds
    p99: float  # milliseconds
    worst: float  # milliseconds


def measure(contender: Contender) -> Answered:
    times, failed = [], 0
    with running(contender, workers=2) as served, Crowd(served.port, CROWDS) as crowd:
        eventually(crowd.is_here)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for port, target in ((served.port, "/hello"), (served.management_port, "/livez")):
                started = time.perf_counter()
                try:
                    assert request(port, "GET", target, deadline=DEADLINE).status == 200
                except (OSError, HTTPException):
                    failed += 1
                else:
                    times.append((time.perf_counter() - started) * 1000)
    if len(times) < 100:
        return Answered(len(times) + failed, len(times), *[float("nan")] * 3)
    percentiles = statistics.quantiles(times, n=100)
    return Answered(len(times) + failed, len(times), percentiles[49], percentiles[98], max(times))
