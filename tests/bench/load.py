"""How much, how fast, and at what price? Throughput, latency and CPU of contenders, in turn.

They take turns, so that whatever else the machine does hits all alike. Each has one worker: so the
load generator has a core of its own where there are two, and no round depends on how many of the
connections each of several workers has happened to accept.
"""

import re
import statistics
import subprocess
from contextlib import ExitStack
from typing import NamedTuple

from tests.bench.contenders import Contender, Running, running

ROUNDS = 5
SECONDS = 2
CONNECTIONS = (1, 32, 256)
UNITS = {"us": 1e-3, "ms": 1, "s": 1e3}


class Load(NamedTuple):
    """A round, or the medians of several."""

    requests_per_second: float
    p50: float  # milliseconds
    p99: float  # milliseconds
    cpu: float  # microseconds a request


def one_round(served: Running, connections: int, target: str = "/hello") -> Load:
    before = served.cpu_seconds()
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--latency"]
    command += ["--duration", f"{SECONDS}s", f"http://127.0.0.1:{served.port}{target}"]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cpu = served.cpu_seconds() - before
    assert "Non-2xx" not in report, report
    # Who has waited for 2 s counts as one that timed out; the percentiles tell of it.
    assert "Socket errors" not in report or "connect 0, read 0, write 0" in report, report
    [requests] = re.findall(r"(\d+) requests in", report)
    [rate] = re.findall(r"Requests/sec:\s+([0-9.]+)", report)
    latency = dict(re.findall(r"(50|99)%\s+([0-9.]+[a-z]+)", report))
    return Load(
        float(rate),
        milliseconds(latency["50"]),
        milliseconds(latency["99"]),
        cpu / int(requests) * 1e6,
    )


def milliseconds(figure: str) -> float:
    [(number, unit)] = re.findall(r"([0-9.]+)([a-z]+)", figure)
    return float(number) * UNITS[unit]


def measure(contenders: list[Contender]) -> dict[str, dict[int, Load]]:
    """Return the medians of each contender's rounds, by name and connections."""
    rounds: dict[str, dict[int, list[Load]]] = {
        contender.name: {connections: [] for connections in CONNECTIONS} for contender in contenders
    }
    with ExitStack() as stack:
        served = {each.name: stack.enter_context(running(each, workers=1)) for each in contenders}
        # The first round is for warming up.
        for number in range(ROUNDS + 1):
            print(f"load: round {number} of {ROUNDS}", flush=True)
            for connections in CONNECTIONS:
                for name, server in served.items():
                    load = one_round(server, connections)
                    if number:
                        rounds[name][connections].append(load)
    return {
        name: {
            connections: Load(*map(statistics.median, zip(*loads, strict=True)))
            for connections, loads in each.items()
        }
        for name, each in rounds.items()
    }
