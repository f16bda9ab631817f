"""The service with a fault: /hello raises."""

from wsgiref.types import WSGIEnvironment

import app.application
from app.application import Response


def raising(environ: WSGIEnvironment) -> Response:
    raise RuntimeError(f"a fault at {environ['PATH_INFO']}\nwith a secret")


app.application.ROUTES["/hello"] = raising  # type: ignore[index] # a dict behind its type

from app.wsgi import application  # noqa: E402, F401 -- composed of what stands above
