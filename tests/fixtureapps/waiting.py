"""The service, in which a request for /hello waits for THREADS of them to be under way."""

import os
import threading
from wsgiref.types import WSGIEnvironment

import app.application
from app.application import HELLO, Response
from tests.client import DEADLINE

barrier = threading.Barrier(int(os.environ["THREADS"]))


def waiting(_environ: WSGIEnvironment) -> Response:
    barrier.wait(DEADLINE)
    return HELLO


app.application.ROUTES["/hello"] = waiting  # type: ignore[index] # a dict behind its type

from app.wsgi import application  # noqa: E402, F401 -- composed of what stands above
