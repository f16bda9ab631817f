"""The service with a path for each behaviour of an application that a server has to handle."""

import asyncio
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from wsgiref.types import StartResponse, WSGIEnvironment

import app.application
import app.worker.listener
from tests.client import DEADLINE

released = threading.Event()


def respond(start_response: StartResponse, content: bytes) -> list[bytes]:
    start_response("200 OK", [("Content-Length", str(len(content)))])
    return [content]


def read(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    received = [environ["REQUEST_METHOD"], len(environ["wsgi.input"].read())]
    return respond(start_response, json.dumps(received).encode())


def read_10(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    return respond(start_response, environ["wsgi.input"].read(10))


def ignore(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    return respond(start_response, b"done")


def sleep(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    time.sleep(float(environ["QUERY_STRING"]))
    return respond(start_response, b"done")


def raise_limit(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    app.worker.listener.QUICK = 1  # for busy machines
    return respond(start_response, b"done")


def hang_on_event_loop(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    if threading.current_thread().name == "event loop":
        time.sleep(DEADLINE)
    return respond(start_response, b"done")


def stream(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    def blocks() -> Iterator[bytes]:
        yield b"first"
        assert released.wait(DEADLINE)
        yield b"second"

    start_response("200 OK", [])
    return blocks()


def release(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    released.set()
    return respond(start_response, b"done")


def endless(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [])
    return itertools.repeat(b"x" * 65536)


def large(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    return respond(start_response, b"x" * 30_000_000)


def short(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "100")])
    return [b"done"]


def write(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "7")])(b"writ")
    return [b"ten"]


def early_hints(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload")])
    return respond(start_response, b"done")


def fail_after_interim_response(
    environ: WSGIEnvironment, start_response: StartResponse
) -> list[bytes]:
    environ["wsgi.input"].read()
    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload")])
    start_response("200 OK", [])
    return [b"part", "not bytes"]  # type: ignore[list-item] # the error


def exc_info(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "1")])
    try:
        int("x")
    except ValueError:
        headers = [("Content-Length", "4")]
        start_response("503 Service Unavailable", headers, sys.exc_info())
    return [b"done"]


def run_event_loop(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    return respond(start_response, asyncio.run(asyncio.sleep(0, b"done")))


def cancel(_environ: WSGIEnvironment, _start_response: StartResponse) -> list[bytes]:
    raise asyncio.CancelledError  # which is no Exception


def spoil_log(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    environ["REMOTE_ADDR"] = None
    return respond(start_response, b"done")


def host(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    return respond(start_response, environ["HTTP_HOST"].encode("latin-1"))


BEHAVIOURS: dict[str, Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]] = {
    f"/{function.__name__}": function
    for function in (
        *(read, read_10, ignore, sleep, hang_on_event_loop, stream, release),
        *(raise_limit, endless, large, short, write, early_hints, exc_info, host),
        fail_after_interim_response,
        *(run_event_loop, cancel, spoil_log),
    )
}


def behave(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return BEHAVIOURS.get(environ["PATH_INFO"], ignore)(environ, start_response)


app.application.application = behave

from app.wsgi import application  # noqa: E402, F401 -- composed of what stands above
