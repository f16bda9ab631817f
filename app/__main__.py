"""What does a WSGI server do? `python -m app --trace` shows it, with the standard library's."""

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Iterable
from typing import Any
from wsgiref.simple_server import make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

from app.application import application

SECRET = re.compile(r"AUTH|COOKIE|CREDENTIAL|KEY|PASSW|SECRET|SESSION|TOKEN")


def trace(application: WSGIApplication) -> WSGIApplication:
    """Wrap `application` so that what passes between it and the server is printed."""

    def traced(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
        print(f"\n{environ['REQUEST_METHOD']}, path {path!r}, query {query!r}")
        print("the server calls application(environ, start_response), environ being")
        # wsgiref adds the variables of the shell, which are no business of the request.
        for key in sorted(environ.keys() - os.environ.keys()):
            secret = key.startswith("HTTP_") and SECRET.search(key)
            print(f"    {key} = {'***' if secret else repr(environ[key])}")

        def starting(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
            print(f"the application calls start_response({status!r}, {headers!r})")
            return start_response(status, headers, exc_info)

        body = list(application(environ, starting))
        print(f"the application returns {body!r}", flush=True)
        return body

    return traced


def main() -> None:
    """Serve the application on localhost until Ctrl-C."""
    parser = argparse.ArgumentParser("python -m app", description="Serve hello-wsgi with wsgiref.")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0: any free one")
    parser.add_argument("--trace", action="store_true", help="print what passes through WSGI")
    arguments = parser.parse_args()
    served = trace(application) if arguments.trace else application
    try:
        server = make_server("127.0.0.1", arguments.port, validator(served))
    except (OSError, OverflowError) as error:
        sys.exit(f"Cannot serve on port {arguments.port}: {error}")
    with server, contextlib.suppress(KeyboardInterrupt):
        print(f"Serving on port {server.server_port}...", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
