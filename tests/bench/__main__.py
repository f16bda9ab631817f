"""How does the service compare? `make bench` measures it beside others, and writes RESULTS.md."""

import datetime as dt
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from tests.bench import footprint, load, scrape_time, slow_clients
from tests.bench.contenders import (
    BARE,
    FALCON,
    FASTAPI,
    FLASK,
    NGINX,
    PEERS,
    SERVICE,
    STOCK,
)
from tests.servers import ROOT

HERE = Path(__file__).parent
PACKAGES = ["gunicorn", "prometheus-client", "Flask", "prometheus-flask-exporter", "FastAPI"]
PACKAGES += ["prometheus-fastapi-instrumentator", "uvicorn", "uvloop", "httptools", "Falcon"]

REPORT = """\
# Results

Of `make bench` on {date:%d %B %Y}: {environment}.

![throughput and latency at 32 connections](results.svg)

## Goals

{goals}
## Load

Medians of {load.ROUNDS} rounds of {load.SECONDS} s in turn, after one to warm up. Each has one
worker, with 4 threads where it has threads. All log and count their requests, but for the bare
callable, which does neither, and nginx, which only logs.

{loads}
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


def load_tables(loads: Loads) -> Iterator[str]:
    head = ["", "requests/s", "times as many has hello-wsgi", "p50, ms", "p99, ms"]
    for connections in load.CONNECTIONS:
        ours = loads[SERVICE.name][connections].requests_per_second
        yield f"### {connections} connection{'s' * (connections > 1)}\n"
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


def goals(loads: Loads, megabytes: float, recycled: dict[int, float]) -> Iterator[list[str]]:
    """Tell what was wanted, at 32 connections, and what came out."""
    ours = loads[SERVICE.name][32]

    def at_least(goal: float, name: str) -> list[str]:
        measured = ours.requests_per_second / loads[name][32].requests_per_second
        return goal_line(f"throughput of {name}, times", ">=", goal, measured)

    def goal_line(what: str, sign: str, goal: float, measured: float) -> list[str]:
        met = measured >= goal if sign == ">=" else measured <= goal
        return [what, f"{sign} {goal:g}", f"{measured:.2f}", "yes" if met else "**no**"]

    yield at_least(0.85, BARE.name)
    yield at_least(1.0, STOCK.name)
    yield at_least(2.5, FLASK.name)
    yield at_least(1.3, FASTAPI.name)
    yield at_least(1.3, FALCON.name)
    yield goal_line(f"p99 of {STOCK.name}, times", "<=", 1, ours.p99 / loads[STOCK.name][32].p99)
    yield goal_line("memory with 2 workers, MB (PSS)", "<=", 32, megabytes)
    before, *_, after = recycled.values()
    yield goal_line("time of a scrape after 200 recycled workers, times", "<=", 1.1, after / before)


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
    for program in ("wrk", "nginx"):
        if shutil.which(program) is None:
            sys.exit(f"make bench needs {program}: on Debian or Ubuntu, apt install {program}")
    loads = load.measure([SERVICE, BARE, STOCK, FLASK, FASTAPI, FALCON, NGINX])
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
            ["at 32 connections", "goal", "measured", "met"],
            goals(loads, footprints[SERVICE.name].total, recycled),
        ),
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
