"""Who is measured? Each contender's command, and a running one's port, log, and processes."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.client import DEADLINE, request
from tests.servers import ROOT, eventually

# Logs and counts of all are kept in memory, as those of the service are: no disk is measured.
MEMORY = "/dev/shm"  # noqa: S108 -- what is made there is made by tempfile
PEERS = ROOT / "build" / "peers" / "bin" / "python"

NGINX_CONF = """
daemon off; pid nginx.pid; error_log stderr; worker_processes {workers}; events {{}}
http {{
    access_log access.log;
    client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t;
    uwsgi_temp_path t; scgi_temp_path t;
    server {{
        listen 127.0.0.1:{port};
        default_type application/json;
        location = /hello {{ return 200 '{{"message": "hello"}}'; }}
    }}
}}
"""


class Contender(NamedTuple):
    """What is started, with the arguments of {port} and {workers} filled in."""

    name: str
    command: str


SERVICE = Contender("hello-wsgi", f"{sys.executable} -m app.server")
STOCK = Contender("hello-wsgi on gthread", f"{SERVICE.command} --worker-class gthread")
BARE = Contender(
    "its bare callable",
    f"{SERVICE.command} app.application:application --logger-class gunicorn.glogging.Logger",
)
BARE_STOCK = Contender("bare callable on gthread", f"{BARE.command} --worker-class gthread")
GRANIAN = Contender(
    "bare callable on granian",
    f"{PEERS} -m granian --interface wsgi --port {{port}} --workers {{workers}} "
    "--blocking-threads 4 app.application:application",
)
GUNICORN = (
    "-m gunicorn --bind 127.0.0.1:{port} --workers {workers} --worker-class gthread --threads 4 "
    "--keep-alive 75 --no-control-socket --access-logfile - tests.bench.peers."
)
UVICORN = "-m uvicorn --port {port} --workers {workers} tests.bench.peers."
FLASK = Contender("Flask", f"{PEERS} {GUNICORN}flask_app:app")
FALCON = Contender("Falcon", f"{PEERS} {GUNICORN}falcon_app:app")
FASTAPI = Contender("FastAPI", f"{PEERS} {UVICORN}fastapi_app:app")
NGINX = Contender("nginx return", f"{shutil.which('nginx')} -p {{directory}} -c nginx.conf")


class Running(NamedTuple):
    """A contender that runs."""

    port: int
    management_port: int
    process: psutil.Process
    seconds_to_first_answer: float

    def processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        times = [process.cpu_times() for process in self.processes()]
        return sum(time.user + time.system for time in times)

    def pss_megabytes(self) -> list[float]:
        """Return the memory of each process, what they share divided among them."""
        return [process.memory_full_info().pss / 1e6 for process in self.processes()]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(contender: Contender, workers: int) -> Iterator[Running]:
    """Run a contender, with its log in a file that nobody reads."""
    port, management_port = free_port(), free_port()
    with (
        tempfile.TemporaryDirectory(dir=MEMORY) as directory,
        (Path(directory) / "log").open("w") as log,
    ):
        (Path(directory) / "nginx.conf").write_text(NGINX_CONF.format(workers=workers, port=port))
        command = contender.command.format(port=port, workers=workers, directory=directory)
        environ = {
            "PORT": str(port),
            "MANAGEMENT_PORT": str(management_port),
            "WEB_CONCURRENCY": str(workers),
            "PROMETHEUS_MULTIPROC_DIR": directory,  # of Flask's exporter
            "PYTHONDONTWRITEBYTECODE": "",  # installed packages are compiled, too
        }
        started = time.monotonic()
        server = subprocess.Popen(
            command.split(), cwd=ROOT, env=os.environ | environ, stdout=log, stderr=log
        )
        try:
            eventually(lambda: answers(port) or server.poll() is not None)
            assert server.poll() is None, (Path(directory) / "log").read_text()
            took = time.monotonic() - started
            yield Running(port, management_port, psutil.Process(server.pid), took)
        finally:
            server.terminate()
            server.wait(DEADLINE)


def answers(port: int) -> bool:
    try:
        return request(port, "GET", "/hello").status == 200
    except ConnectionError:
        return False
