"""What do Prometheus and the orchestrator ask? The management port answers them."""

import gzip
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client.exposition import choose_encoder, gzip_accepted

from app.application import Response, Routes, json_response, respond, send
from app.metrics import Exposition

HEALTHY = json_response("200 OK", {"status": "ok"})
EXPOSITION = Exposition()


def health(_environ: WSGIEnvironment) -> Response:
    """Answer /livez and /readyz: a worker that answers is alive and ready."""
    return HEALTHY


def metrics(environ: WSGIEnvironment) -> Response:
    """Answer /metrics in the format and the encoding that the client accepts."""
    try:
        encode, content_type = choose_encoder(environ.get("HTTP_ACCEPT", ""))
    except TypeError:  # prometheus-client stumbles over "version=x"
        encode, content_type = choose_encoder("")
    body = encode(EXPOSITION)
    headers = [("Content-Type", content_type)]
    if gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING", "")):
        body = gzip.compress(body)
        headers.append(("Content-Encoding", "gzip"))
    return Response("200 OK", tuple(headers), body)


ROUTES: Routes = {"/livez": health, "/readyz": health, "/metrics": metrics}


def management(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Serve the management port: the WSGI callable."""
    return send(respond(ROUTES, environ), environ, start_response)
