"""Benchmarks: `make bench` measures the service beside others and writes RESULTS.md."""

import datetime as dt
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from tests.bench import footprint, load, scrape_time, slow_clients, syscalls, waiting
from tests.bench.contenders import (
    BARE,
    BARE_STOCK,
    FALCON,
    FASTAPI,
    FLASK,
    GRANIAN,
    NGINX,
    PEERS,
    SERVICE,
    STOCK,
)
from tests.servers import ROOT

HERE = Path(__file__).parent
PACKAGES = ["gunicorn", "prometheus-client", "Flask", "prometheus-flask-exporter", "FastAPI"]
PACKAGES += [
    "prometheus-fastapi-instrumentator",
    "uvicorn",
    "uvloop",
    "httptools",
    "Falcon",
    "granian",
]

REPORT = """\
# Results

Of `make bench` on {date:%d %B %Y}: {environment}.

![throughput and latency at 32 connections](results.svg)

## Goals

{goals}
## Load

Medians of {load.ROUNDS} rounds of {load.SECONDS} s, taken in turn after a warm-up round. Each
server has one worker process, with 4 threads if it uses threads. All servers log and count their
requests, except the bare callables, which do neither, and nginx, which only logs.

{loads}
## Applications that wait

Throughput of hello-wsgi divided by that of gthread with the same number of threads, for an
application that sleeps, at {waiting.CONNECTIONS} connections. Medians of {waiting.ROUNDS} rounds.

{waits}
While all threads of the public port sleep, the 99th percentile of `/livez` is {livez:.1f} ms.

## System calls

System calls per request on one persistent connection, counted by strace in
{syscalls.REQUESTS} requests.

{calls}
## Memory and start

{footprint.WORKERS} workers after {footprint.REQUESTS} requests; what processes share is divided
among them (PSS). The time from the command to the first answer is the median of {footprint.STARTS}.

{footprints}
## Scrapes

Of hello-wsgi, medians of {scrape_time.SCRAPES}. Recycled workers were killed, 2 at a time.

{by_workers}
{recycled}
## Slow clients

2 workers with 4 threads, for {slow_clients.SECONDS} s with {crowds}. Meanwhile fresh connections
ask `/hello` and `/livez`, one after another; who has no answer after {slow_clients.DEADLINE:g} s
has failed.

{answered}"""

Loads = dict[str, dict[int, load.Load]]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a table of Markdown, all but its first column to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def figures(milliseconds: dict[int, float]) -> Iterator[tuple[int, str]]:
    return ((number, f"{figure:.2f}") for number, figure in milliseconds.items())


def number_of_connections(number: int) -> str:
    return f"{number} connection{'s' * (number > 1)}"


def load_tables(loads: Loads) -> Iterator[str]:
    head = ["", "requests/s", "times as many has hello-wsgi", "p50, ms", "p99, ms"]
    for connections in load.CONNECTIONS:
        ours = loads[SERVICE.name][connections].requests_per_second
        yield f"### {number_of_connections(connections)}\n"
        yield table(
            [*head, "CPU a request, µs"],
            [
                (
                    name,
                    f"{it.requests_per_second:,.0f}",
                    f"{ours / it.requests_per_second:.2f}",
                    f"{it.p50:.2f}",
                    f"{it.p99:.2f}",
                    f"{it.cpu:.0f}",
                )
                for name, each in loads.items()
                for it in [each[connections]]
            ],
        )


class Measured(NamedTuple):
    """The figures that have goals."""

    loads: Loads
    waits: dict[tuple[int, int], float]
    livez: float  # milliseconds
    megabytes: float
    recycled: dict[int, float]


def goals(measured: Measured) -> Iterator[list[str]]:
    """Compare the goals with the figures."""

    def line(subject: str, sign: str, goal: float, figure: float) -> list[str]:
        met = figure >= goal if sign == ">=" else figure <= goal
        return [subject, f"{sign} {goal:g}", f"{figure:.2f}", "yes" if met else "**no**"]

    for connections, goal, contender in (
        (1, 1.2, BARE_STOCK),
        (1, 1.5, FASTAPI),
        (32, 1.8, BARE_STOCK),
        (32, 2.5, FASTAPI),
        (32, 6, FLASK),
    ):
        ours, theirs = (measured.loads[it.name][connections] for it in (SERVICE, contender))
        subject = f"throughput / {contender.name}, {number_of_connections(connections)}"
        yield line(subject, ">=", goal, ours.requests_per_second / theirs.requests_per_second)
    for connections in load.CONNECTIONS:
        ours, theirs = (measured.loads[it.name][connections] for it in (SERVICE, STOCK))
        subject = f"p99 / {STOCK.name}, {number_of_connections(connections)}"
        yield line(subject, "<=", 1, ours.p99 / theirs.p99)
    yield line("throughput / gthread, waiting, minimum", ">=", 0.95, min(measured.waits.values()))
    yield line("p99 of `/livez` with busy threads, ms", "<=", 50, measured.livez)
    yield line("memory of 2 workers, MB (PSS)", "<=", 38, measured.megabytes)
    before, *_, after = measured.recycled.values()
    yield line("time of a scrape / before 200 recycled workers", "<=", 1.1, after / before)


def environment() -> str:
    """Name the machine and the versions."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(": ")[2] for line in cpuinfo if line.startswith("model name")]
    system = f"{len(models)} CPUs ({models[0]}), Linux {platform.release()}"
    script = f"from importlib.metadata import version; print(*map(version, {PACKAGES}))"
    run = subprocess.run([PEERS, "-c", script], check=True, capture_output=True, text=True)
    versions = dict(zip(PACKAGES, run.stdout.split(), strict=True))
    for ours in ("gunicorn", "prometheus-client"):
        assert versions[ours] == version(ours), "make bench is to compare the same version"
    versions["Python"] = platform.python_version()
    return f"{system}; " + ", ".join(f"{name} {number}" for name, number in versions.items())


def main() -> None:
    for program in ("wrk", "nginx", "strace"):
        if shutil.which(program) is None:
            sys.exit(f"make bench needs {program}: on Debian or Ubuntu, apt install {program}")
    loads = load.measure([SERVICE, BARE, STOCK, BARE_STOCK, GRANIAN, FLASK, FASTAPI, FALCON, NGINX])
    print("waiting", flush=True)
    waits, livez = waiting.throughput_ratios(), waiting.livez_p99()
    calls = {it.name: syscalls.measure(it) for it in (SERVICE, STOCK, FLASK, FASTAPI)}
    print("memory and start", flush=True)
    weighed = (SERVICE, STOCK, FLASK, FASTAPI, FALCON)
    footprints = {contender.name: footprint.measure(contender) for contender in weighed}
    print("scrapes", flush=True)
    by_workers, recycled = scrape_time.by_workers(), scrape_time.by_recycled()
    print("slow clients", flush=True)
    answered = {contender.name: slow_clients.measure(contender) for contender in (SERVICE, STOCK)}

    report = REPORT.format(
        date=dt.datetime.now(dt.UTC),
        environment=environment(),
        load=load,
        footprint=footprint,
        scrape_time=scrape_time,
        slow_clients=slow_clients,
        crowds=", ".join(
            f"{number:,} that {behaviour.__name__.replace('_', ' ')}"
            for behaviour, number in slow_clients.CROWDS.items()
        ),
        goals=table(
            ["figure", "goal", "measured", "met"],
            goals(Measured(loads, waits, livez, footprints[SERVICE.name].total, recycled)),
        ),
        waiting=waiting,
        waits=table(
            ["threads", *(f"{milliseconds} ms" for milliseconds in waiting.MILLISECONDS)],
            [
                (threads, *(f"{waits[threads, it]:.2f}" for it in waiting.MILLISECONDS))
                for threads in waiting.THREADS
            ],
        ),
        livez=livez,
        syscalls=syscalls,
        calls=table(["", "system calls"], [(name, f"{it:.1f}") for name, it in calls.items()]),
        loads="\n".join(load_tables(loads)),
        footprints=table(
            ["", "largest worker, MB", "in all, MB", "first answer, s"],
            [
                (name, f"{it.worker:.1f}", f"{it.total:.1f}", f"{it.first_answer:.2f}")
                for name, it in footprints.items()
            ],
        ),
        by_workers=table(["workers", "ms a scrape"], figures(by_workers)),
        recycled=table(["workers recycled", "ms a scrape"], figures(recycled)),
        answered=table(
            ["", "asked", "failed", "p50, ms", "p99, ms", "worst, ms"],
            [
                (
                    name,
                    it.asked,
                    it.asked - it.answered,
                    *(f"{time:.1f}".replace("nan", "none") for time in it[2:]),
                )
                for name, it in answered.items()
            ],
        ),
    )
    print(report)
    (HERE / "RESULTS.md").write_text(report)
    bars = {name: each[32]._asdict() for name, each in loads.items() if name != NGINX.name}
    subprocess.run(
        [PEERS, "-m", "tests.bench.chart", str(HERE / "results.svg")],
        input=json.dumps(bars),
        text=True,
        check=True,
        cwd=ROOT,
    )


if __name__ == "__main__":
    main()
