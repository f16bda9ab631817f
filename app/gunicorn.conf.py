"""gunicorn's settings and hooks.

The master process must not import the application, or else a reload would not load edited files.
"""

import json
import os
import socket
from http import HTTPStatus
from typing import Any

from gunicorn import SERVER, util
from gunicorn.app import base as app_base
from gunicorn.workers import base as workers_base

from app.logs import Logger
from app.master import Master
from app.settings import Settings
from app.shared_memory import Heartbeat
from app.worker import Worker
from app.worker.worker import unblock_signals

settings = Settings.from_environ(os.environ)
host = f"[{settings.host}]" if ":" in settings.host else settings.host

wsgi_app = "app.wsgi:application"
bind = f"{host}:{settings.port}"
workers = settings.web_concurrency
worker_class = "app.worker.Worker"
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
os.environ.pop("SCRIPT_NAME", None)
# Its socket would need a directory that can be written.
control_socket_disable = True

Worker.client_header_timeout = settings.client_header_timeout
Master.management = (settings.host, settings.management_port)


def write_error(client: socket.socket, status: int, _reason: str, _message: str) -> None:
    """Send the response to a request that is malformed or that the application failed to serve.

    gunicorn's own page is HTML, quotes the request, and calls a 501 "Bad Request".
    """
    # Python before 3.13 has the older phrase of RFC 7231 for this one.
    phrase = "URI Too Long" if status == 414 else HTTPStatus(status).phrase
    body = json.dumps({"error": phrase})
    response = (
        f"HTTP/1.1 {status} {phrase}\r\nServer: {SERVER}\r\nDate: {util.http_date()}\r\n"
        "Connection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    util.write_nonblock(client, response.encode())


# gunicorn looks these names up when it uses them.
app_base.Arbiter = Master  # type: ignore[attr-defined] # the stubs lack it
workers_base.WorkerTmp = Heartbeat  # type: ignore[attr-defined] # as above
util.write_error = write_error  # type: ignore[assignment] # the names of the arguments differ


def post_fork(server: Any, worker: Any) -> None:
    if server.cfg.reuse_port:
        worker.sockets += server.LISTENERS


def post_worker_init(_worker: Any) -> None:
    from app import metrics  # noqa: PLC0415 -- see the module's docstring

    metrics.initialise()
    unblock_signals()  # gunicorn's own workers do not
