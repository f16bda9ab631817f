"""A WSGI server without a socket: it calls the application under wsgiref's validator."""

import warnings
from contextlib import closing
from typing import Any
from urllib.parse import unquote
from wsgiref.types import WSGIApplication
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from tests.client import Answer


def call(
    application: WSGIApplication, method: str = "GET", target: str = "/hello", **environ: str
) -> Answer:
    path, _, query = target.partition("?")
    full: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(path, "latin-1"),
        "QUERY_STRING": query,
        **environ,
    }
    setup_testing_defaults(full)
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
        assert exc_info is None
        started.append((status, headers))

    with warnings.catch_warnings():
        # PEP 3333 allows any method; the validator warns of one that it does not know.
        warnings.filterwarnings("ignore", "Unknown REQUEST_METHOD")
        chunks = validator(application)(full, start_response)
    with closing(chunks):  # type: ignore[type-var] # the validator has made an iterator of it
        body = b"".join(chunks)
    [(status, headers)] = started
    return Answer(int(status[:3]), dict(headers), body, status[4:])
