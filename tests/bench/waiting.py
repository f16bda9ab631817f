"""Throughput of applications that wait, and latency of the management port beside them."""

import signal
import statistics
import time
from contextlib import ExitStack

from tests.bench.contenders import SERVICE, Contender, running
from tests.bench.load import one_round
from tests.client import connect, request

ROUNDS = 3
CONNECTIONS = 64
MILLISECONDS = (1, 2, 5, 10, 50)
THREADS = (4, 16)
SAMPLES = 500
APPLICATION = "tests.fixtureapps.behaviours:application"


def throughput_ratios() -> dict[tuple[int, int], float]:
    """Return the throughput divided by that of gthread, by threads and milliseconds."""
    ratios = {}
    for threads in THREADS:
        ours = Contender("", f"{SERVICE.command} {APPLICATION} --threads {threads}")
        with (
            running(ours, workers=1) as service,
            running(Contender("", f"{ours.command} --worker-class gthread"), workers=1) as stock,
        ):
            for milliseconds in MILLISECONDS:
                target = f"/sleep?{milliseconds / 1000}"
                rates = [
                    [one_round(each, CONNECTIONS, target)[0] for each in (service, stock)]
                    for _ in range(ROUNDS)
                ]
                ours_rate, stock_rate = map(statistics.median, zip(*rates, strict=True))
                ratios[threads, milliseconds] = ours_rate / stock_rate
    return ratios


def livez_p99() -> float:
    """Return the 99th percentile in milliseconds of /livez while every thread of the pool waits."""
    sleeping = Contender("", f"{SERVICE.command} {APPLICATION}")
    with running(sleeping, workers=1) as service, ExitStack() as clients:
        for _ in range(16):
            client = clients.enter_context(connect(service.port))
            client.sendall(b"GET /sleep?60 HTTP/1.1\r\nHost: x\r\n\r\n")
        times = []
        for _ in range(SAMPLES):
            started = time.perf_counter()
            assert request(service.management_port, "GET", "/livez").status == 200
            times.append((time.perf_counter() - started) * 1000)
        service.process.send_signal(signal.SIGQUIT)
    return statistics.quantiles(times, n=100)[98]
