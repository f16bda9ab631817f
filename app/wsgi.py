"""WSGI callable that gunicorn loads: the application of the listener that accepted the request."""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import app.application
from app.listeners import is_management
from app.logs import ACCESS_LOG
from app.management import management
from app.metrics import instrument

public = instrument(app.application.application, app.application.ROUTES)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Serve both ports."""
    if is_management(environ):
        environ[ACCESS_LOG] = False
        return management(environ, start_response)
    return public(environ, start_response)
