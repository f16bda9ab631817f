"""WSGI application of the management port: metrics and health probes."""

import gzip
import re
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client.exposition import choose_encoder, gzip_accepted

from app.application import Response, Routes, json_response, respond, send
from app.metrics import Exposition

NO_STORE = ("Cache-Control", "no-store")
HEALTHY = json_response("200 OK", {"status": "ok"}, NO_STORE)
EXPOSITION = Exposition()

# RFC 9110 §12.4.2: a weight of 0 means "not acceptable".
NOT_ACCEPTABLE = re.compile(r";[ \t]*q=0(?:\.0{0,3})?[ \t]*(?:;|$)", re.IGNORECASE)


def acceptable(field_value: str) -> str:
    """Remove the members whose weight is 0, which prometheus-client ignores."""
    members = field_value.split(",")
    return ",".join(member for member in members if not NOT_ACCEPTABLE.search(member))


def health(_environ: WSGIEnvironment) -> Response:
    """Return the response of /livez and /readyz: a worker that responds is alive and ready."""
    return HEALTHY


def metrics(environ: WSGIEnvironment) -> Response:
    """Return the metrics in the format and the content coding that the client accepts."""
    try:
        encode, content_type = choose_encoder(acceptable(environ.get("HTTP_ACCEPT", "")))
    except TypeError:  # prometheus-client cannot parse "version=x"
        encode, content_type = choose_encoder("")
    body = encode(EXPOSITION)
    headers = [("Content-Type", content_type), NO_STORE, ("Vary", "Accept, Accept-Encoding")]
    if gzip_accepted(acceptable(environ.get("HTTP_ACCEPT_ENCODING", ""))):
        body = gzip.compress(body)
        headers.append(("Content-Encoding", "gzip"))
    return Response("200 OK", tuple(headers), body)


ROUTES: Routes = {"/livez": health, "/readyz": health, "/metrics": metrics}


def management(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Serve the management port."""
    return send(respond(ROUTES, environ), environ, start_response)
