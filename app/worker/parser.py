"""HTTP/1.1 request parsing: bytes to request and environ (RFC 9112, PEP 3333).

A regular expression recognizes the simple request: no body, no field that affects framing, every
field once. Its environ is a copy of the listener's template plus its fields. gunicorn parses all
other requests. tests/unit/test_parser.py compares both parsers.
"""

import io
import os
import re
from functools import lru_cache
from typing import Any

from gunicorn.config import Config
from gunicorn.http import wsgi

from app.worker.request import AUTHORITY, MAX_HEADER_SECTION, Request, Source

# Maximum size of a simple request in bytes, and its maximum number of fields.
MAX_SIMPLE_REQUEST, MAX_SIMPLE_FIELDS = 4096, 50
# GET or HEAD, an origin-form target without percent-encoding or "//", and fields as most clients
# send them: one space before the value, none after it, nothing but visible ASCII and spaces.
SIMPLE_REQUEST = re.compile(
    r"(GET|HEAD) ((/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@/-]*)(?:\?([A-Za-z0-9._~!$&'()*+,;=:@/?%-]*))?)"
    r" HTTP/1\.1\r\n((?:[A-Za-z][A-Za-z0-9-]{0,63}: [!-~](?:[ -~]*[!-~])?\r\n)+)\r\n"
)
FIELD = re.compile(r"([^:]+): ([^\r]+)\r\n")
# Fields that affect framing, or that have another key than HTTP_* in an environ.
NOT_SIMPLE = {
    "CONTENT-LENGTH", "CONTENT-TYPE", "EXPECT", "TE", "TRAILER", "TRANSFER-ENCODING", "UPGRADE",
}  # fmt: skip
# Keys of an environ that differ between the requests to a listener.
REQUEST_KEYS = {
    "HTTP_HOST", "PATH_INFO", "QUERY_STRING", "RAW_URI", "REMOTE_ADDR", "REMOTE_PORT",
    "REQUEST_METHOD", "SERVER_PROTOCOL", "gunicorn.socket", "wsgi.early_hints", "wsgi.input",
}  # fmt: skip


@lru_cache(maxsize=512)
def field_keys(name: str) -> tuple[str, str] | None:
    """Return a field's keys in Request.headers and in an environ; None if it is not simple."""
    name = name.upper()
    return None if name in NOT_SIMPLE else (name, "HTTP_" + name.replace("-", "_"))


class SimpleRequest(Request):
    """Request that matches SIMPLE_REQUEST, with its environ, which hooks cannot change."""

    version = (1, 1)
    fragment = ""
    scheme = "http"
    trailers: Any = ()
    proxy_protocol_info = None
    must_close = expects_continue = False
    body_is_collected = body_is_read = True

    def __init__(self, client: Any, environ: dict[str, Any], headers: Any, connection: str) -> None:
        self.peer_addr = self.remote_addr = client
        self.environ, self.headers = environ, headers
        self.method, self.uri = environ["REQUEST_METHOD"], environ["RAW_URI"]
        self.path, self.query = environ["PATH_INFO"], environ["QUERY_STRING"]
        self.body = environ["wsgi.input"]
        self.closes = connection == "close"

    def should_close(self) -> bool:
        """Return whether this is the last request of the connection (RFC 9112 §9.3)."""
        return self.must_close or self.closes


class RequestParser:
    """Parser of the requests that arrive at the listener with the address `server`."""

    def __init__(self, cfg: Config, server: Any) -> None:
        self.cfg = cfg
        self.has_simple_requests = (
            isinstance(server, tuple)  # on a Unix socket, SERVER_NAME is taken from Host
            and not cfg.forwarded_allow_ips  # a trusted peer may set the scheme
            and not os.environ.get("SCRIPT_NAME")
            and not 0 < cfg.limit_request_line < MAX_SIMPLE_REQUEST
            and not 0 < cfg.limit_request_field_size < MAX_SIMPLE_REQUEST
            and not 0 < cfg.limit_request_fields < MAX_SIMPLE_FIELDS
        )
        if self.has_simple_requests:
            request = Request(cfg, Source(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), ("", 0))
            sock: Any = None  # create() only stores it
            _, environ = wsgi.create(request, sock, ("", 0), server, cfg)
            environ["wsgi.multithread"] = True
            self.template = {key: environ[key] for key in environ.keys() - REQUEST_KEYS}

    def parse(self, received: bytes, client: Any) -> tuple[Request, bytes] | None:
        """Return the first request of `received`, and the bytes that follow its header section.

        Returns None while the header section is incomplete. Raises gunicorn's ParseException.
        """
        end = received.find(b"\r\n\r\n")
        if self.has_simple_requests and 0 <= end <= MAX_SIMPLE_REQUEST - 4:
            simple = self.parse_simple(received[: end + 4].decode("latin-1"), client)
            if simple is not None:
                return simple, received[end + 4 :]
        if (len(received) if end < 0 else end) > MAX_HEADER_SECTION:
            # Without its end, so that gunicorn's parser reports which limit is exceeded.
            received = received[:MAX_HEADER_SECTION]
        elif end < 0 and received.count(b"\n") == received.count(b"\r\n"):
            return None
        source = Source(received)
        return Request(self.cfg, source, client), source.rest()

    def parse_simple(self, header_section: str, client: Any) -> SimpleRequest | None:
        """Return the request if it is a simple one."""
        match = SIMPLE_REQUEST.fullmatch(header_section)
        if match is None:
            return None
        environ = self.template.copy()
        headers = []
        for name, value in FIELD.findall(match[5]):
            keys = field_keys(name)
            if keys is None:
                return None
            headers.append((keys[0], value))
            environ[keys[1]] = value
        connection = environ.get("HTTP_CONNECTION", "keep-alive").lower()
        if (
            len(environ) != len(self.template) + len(headers)  # a field occurs twice
            or len(headers) > MAX_SIMPLE_FIELDS
            or connection not in ("close", "keep-alive")
            or not AUTHORITY.fullmatch(environ.get("HTTP_HOST", "/"))
        ):
            return None
        environ["REQUEST_METHOD"] = match[1]
        environ["RAW_URI"] = match[2]
        environ["PATH_INFO"] = match[3]
        environ["QUERY_STRING"] = match[4] or ""
        environ["SERVER_PROTOCOL"] = "HTTP/1.1"
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client[0], str(client[1])
        environ["wsgi.input"] = io.BytesIO()
        return SimpleRequest(client, environ, headers, connection)
