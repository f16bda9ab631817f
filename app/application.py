"""How is a request answered? From environ to response, as PEP 3333 has it."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple
from wsgiref.types import StartResponse, WSGIEnvironment


class Response(NamedTuple):
    """What is to be sent: decided first, spoken last."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def json_response(status: str, content: object, *headers: tuple[str, str]) -> Response:
    """Make a response that carries `content` as JSON (RFC 8259), with further `headers`."""
    content_type = ("Content-Type", "application/json")
    return Response(status, (content_type, *headers), json.dumps(content).encode())


def error_response(status: str, *headers: tuple[str, str]) -> Response:
    """Make the response for an error status such as "404 Not Found"."""
    return json_response(status, {"error": status[4:]}, *headers)


HELLO = json_response("200 OK", {"message": "hello"})
NOT_FOUND = error_response("404 Not Found")
# RFC 9110 section 15.5.6: a 405 names the methods that are allowed.
METHOD_NOT_ALLOWED = error_response("405 Method Not Allowed", ("Allow", "GET, HEAD"))


def hello(_environ: WSGIEnvironment) -> Response:
    """Answer GET /hello."""
    return HELLO


Routes = Mapping[str, Callable[[WSGIEnvironment], Response]]
ROUTES: Routes = {"/hello": hello}


def respond(routes: Routes, environ: WSGIEnvironment) -> Response:
    """Decide the response: that of the route whose path is requested, or a 404 or 405."""
    # PATH_INFO may be absent (PEP 3333, "environ Variables").
    route = routes.get(environ.get("PATH_INFO", ""))
    if route is None:
        return NOT_FOUND
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return METHOD_NOT_ALLOWED
    return route(environ)


def send(
    response: Response, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Speak the protocol: status and headers by start_response, the body by return."""
    # A new list each time, since the server and middleware may change it; with the length, since
    # the server would have to send the body in chunks without.
    length = ("Content-Length", str(len(response.body)))
    start_response(response.status, [*response.headers, length])
    # RFC 9110 section 9.3.2: HEAD has the headers of GET, and no content.
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [response.body]


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Serve the public port: the WSGI callable, for any server that speaks PEP 3333."""
    return send(respond(ROUTES, environ), environ, start_response)
