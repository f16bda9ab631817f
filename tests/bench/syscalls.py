"""System calls per request, counted by strace on one persistent connection."""

import subprocess
import tempfile

from tests.bench.contenders import Contender, running
from tests.client import GET, connect, read_answer

REQUESTS = 500


def measure(contender: Contender) -> float:
    """Return the number of system calls of the worker per request."""
    with running(contender, workers=1) as served, connect(served.port) as connection:
        for _ in range(10):  # until the path has proven quick
            connection.sendall(GET)
            read_answer(connection)
        worker = served.processes()[-1]
        with tempfile.NamedTemporaryFile("r") as summary:
            command = ["strace", "-f", "-c", "-o", summary.name, "-p", str(worker.pid)]
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
                assert strace.stderr is not None
                attached = strace.stderr.readline()
                assert "attached" in attached, attached
                for _ in range(REQUESTS):
                    connection.sendall(GET)
                    read_answer(connection)
                strace.terminate()
                strace.wait()
            *_, total = summary
    # Share, seconds, microseconds a call, calls, and perhaps errors.
    return int(total.split()[3]) / REQUESTS
