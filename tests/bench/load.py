"""Servers to measure, and load for them: on this machine only, bounded in time."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.servers import ROOT, eventually


class Ports(NamedTuple):
    public: int
    management: int


@contextmanager
def served(workers: int, *arguments: str) -> Iterator[Ports]:
    """Run the service with its log in a file, which nobody reads while it is measured."""
    environ = {"PORT": "0", "MANAGEMENT_PORT": "0", "WEB_CONCURRENCY": str(workers)}
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
            eventually(lambda: said.read_text().count("Booting worker") == workers)
            [listening] = re.findall(r"Listening at: (\S+)", said.read_text())
            yield Ports(*map(int, re.findall(r":(\d+)", listening)))
        finally:
            server.terminate()
            server.wait(30)


def requests_per_second(port: int, connections: int, seconds: int) -> float:
    """Load the port with wrk for so many seconds."""
    wrk = shutil.which("wrk")
    if wrk is None:
        sys.exit("make bench needs wrk: install it, on Debian or Ubuntu with apt install wrk")
    command = [wrk, "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", f"http://127.0.0.1:{port}/hello"]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in report, report
    assert "Socket errors" not in report, report
    [figure] = re.findall(r"Requests/sec:\s+([0-9.]+)", report)
    return float(figure)
