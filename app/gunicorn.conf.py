"""Which gunicorn do we run? Settings in gunicorn's names, and its hooks."""

import os
import socket
from http import HTTPStatus
from typing import Any

from gunicorn import util

from app import metrics
from app.application import error_response
from app.logs import Logger
from app.settings import Settings
from app.worker import Worker

settings = Settings.from_environ(os.environ)
host = f"[{settings.host}]" if ":" in settings.host else settings.host

wsgi_app = "app.wsgi:application"
bind = [f"{host}:{settings.port}", f"{host}:{settings.management_port}"]
workers = settings.web_concurrency
worker_class = "app.worker.Worker"
Worker.client_header_timeout = settings.client_header_timeout
threads = settings.threads
keepalive = settings.keepalive
graceful_timeout = settings.graceful_timeout
logger_class = Logger
loglevel = settings.log_level
# The C parser accepts two spaces in a request line (RFC 9112 §3) and needs a compiler to install.
http_parser = "python"
# RFC 9112 §3 recommends at least 8,000.
limit_request_line = 8190
# No peer is trusted to say who the client is, or where the application is mounted.
forwarded_allow_ips = ""
forwarder_headers = ""
# Its socket would need a directory that can be written.
control_socket_disable = True
# A heartbeat on a disk can block a worker, and a read-only root has no place for it.
shared_memory = "/dev/shm"  # noqa: S108 -- what is made there is made with mkstemp and mkdtemp
worker_tmp_dir = shared_memory if os.access(shared_memory, os.W_OK) else None


def write_error(client: socket.socket, status: int, _reason: str, _message: str) -> None:
    """Answer what never reached the application, or made it raise, without a word of the request.

    gunicorn's own page is HTML, quotes the request, and calls a 501 "Bad Request".
    """
    # Python before 3.13 has the older phrase of RFC 7231 for this one.
    phrase = "URI Too Long" if status == 414 else HTTPStatus(status).phrase
    response = error_response(f"{status} {phrase}")
    head = (
        f"HTTP/1.1 {response.status}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(response.body)}\r\nDate: {util.http_date()}\r\n\r\n"
    )
    util.write_nonblock(client, head.encode() + response.body)


# gunicorn looks the name up at each call, and passes the arguments by position.
util.write_error = write_error  # type: ignore[assignment] # the names of the arguments differ


def when_ready(server: Any) -> None:
    # In memory too, for the same reasons.
    server.slots = metrics.Slots(settings.prometheus_multiproc_dir, worker_tmp_dir)


def pre_fork(server: Any, worker: Any) -> None:
    worker.slot = server.slots.lend({other.slot for other in server.WORKERS.values()})


def post_fork(_server: Any, worker: Any) -> None:
    metrics.use_slot(worker.slot)
    # Where the setting is 0, the kernel has chosen the port.
    _, management = worker.sockets
    os.environ["MANAGEMENT_PORT"] = str(management.getsockname()[1])


def on_exit(server: Any) -> None:
    server.slots.close()
