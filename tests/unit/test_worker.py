"""The worker by itself; tests/server/test_slow_clients.py has what it does with clients."""

import os
import subprocess
import sys

from tests.client import DEADLINE
from tests.servers import ROOT


def test_in_gunicorns_own_tests_our_worker_takes_the_place_of_the_thread_worker() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "from gunicorn.workers import gthread; print(gthread.ThreadWorker)"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests" / "gunicorn")},
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE,
    )
    assert run.stdout == "<class 'worker.Worker'>\n"
