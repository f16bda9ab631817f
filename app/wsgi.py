"""Which application answers? That of the port at which the connection was accepted."""

import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import app.application
from app.logs import ACCESS_LOG
from app.management import management
from app.metrics import instrument
from app.settings import Settings

MANAGEMENT_PORT = str(Settings.from_environ(os.environ).management_port)

public = instrument(app.application.application, app.application.ROUTES)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Serve both ports: the WSGI callable that gunicorn loads."""
    # gunicorn takes SERVER_PORT from the socket: no header of the request can forge it.
    if environ["SERVER_PORT"] == MANAGEMENT_PORT:
        environ[ACCESS_LOG] = False
        return management(environ, start_response)
    return public(environ, start_response)
