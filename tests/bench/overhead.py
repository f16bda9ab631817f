"""What do metrics and log cost? The throughput of the service beside that of its bare callable.

Both run on the same gunicorn with the same settings, the bare one without middleware and access
log. They take turns, so that whatever else the machine does hits both alike. They have one worker
each: with two, a round in which one of them has accepted most connections has a third of the
throughput of a round in which they share, and that would be measured instead.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import ROOT, eventually

ROUNDS = 7
SECONDS = 4
CONNECTIONS = 32

BARE = ("app.application:application", "--logger-class", "gunicorn.glogging.Logger")


@contextmanager
def served(*arguments: str) -> Iterator[int]:
    """Run the service with its log in a file, which nobody reads meanwhile; yield its port."""
    environ = {"PORT": "0", "MANAGEMENT_PORT": "0", "WEB_CONCURRENCY": "1"}
    with tempfile.NamedTemporaryFile() as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "app.server", *arguments],
            cwd=ROOT,
            env={**os.environ, **environ},
            stdout=log,
            stderr=log,
        )
        try:
            said = Path(log.name)
            eventually(lambda: "Booting worker" in said.read_text())
            [port] = re.findall(r"Listening at: http://[^:]+:(\d+),", said.read_text())
            yield int(port)
        finally:
            server.terminate()
            server.wait(30)


def requests_per_second(wrk: str, port: int) -> float:
    command = [wrk, "--threads", "1", "--connections", str(CONNECTIONS)]
    command += ["--duration", f"{SECONDS}s", f"http://127.0.0.1:{port}/hello"]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in report, report
    assert "Socket errors" not in report, report
    [figure] = re.findall(r"Requests/sec:\s+([0-9.]+)", report)
    return float(figure)


def main() -> None:
    wrk = shutil.which("wrk")
    if wrk is None:
        sys.exit("make bench needs wrk: install it, on Debian or Ubuntu with apt install wrk")
    figures: dict[str, list[float]] = {"bare": [], "service": []}
    with served(*BARE) as bare, served() as service:
        for name, port in [("bare", bare), ("service", service)] * (ROUNDS + 1):
            figures[name].append(requests_per_second(wrk, port))
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
