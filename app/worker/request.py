"""HTTP/1.1 request parsing: bytes to request and environ (RFC 9112, PEP 3333).

gunicorn's parser decides every doubtful case. In front of it, a regular expression recognizes the
simple request: no body, no field that affects framing, every field once. Its environ is a copy of
the listener's template plus its fields. tests/unit/test_request.py compares both ways.
"""

import io
import os
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NoReturn

from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import errors, message, wsgi
from gunicorn.http.body import LengthReader
from gunicorn.http.unreader import Unreader

# Maximum size of the request line and header section, in bytes.
MAX_HEADER_SECTION = 16384
# Maximum size of a body that is collected before the application is called, in bytes.
MAX_COLLECTED_BODY = 65536
# The largest value that fits into the signed 64-bit integers of proxies.
MAX_CONTENT_LENGTH = 2**63 - 1

# RFC 3986 §3.2, without userinfo (RFC 9110 §4.2.4).
AUTHORITY = re.compile(
    r"(\[[A-Za-z0-9._~!$&'()*+,;=:-]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)


RESPONSE_ERRORS = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)  # type: ignore[attr-defined] # the stubs lack them
REQUEST_ERRORS = (errors.ParseException, errors.NoMoreData)


class RequestTimeoutError(TimeoutError):
    """The client did not send the request in time."""


def status_of(error: BaseException) -> int:
    """Return the status of the response to an exception that the application does not handle."""
    if isinstance(error, RequestTimeoutError):
        return 408
    if isinstance(error, RESPONSE_ERRORS):  # the application set an invalid header
        return 500
    return 400 if isinstance(error, REQUEST_ERRORS) else 500


def members(value: str) -> set[str]:
    """Return the members of a comma-separated list in lower case (RFC 9110 §5.6.1)."""
    return {member.strip(" \t").lower() for member in value.split(",")}


def raise_limit_exceeded() -> NoReturn:
    """Raise the exception for a header section that does not end within the maximum size."""
    raise errors.LimitRequestHeaders(f"header section exceeds {MAX_HEADER_SECTION} bytes")


class Source(Unreader):
    """Bytes for gunicorn's parser: those that are buffered, then those that receive() returns."""

    receive: Callable[[], bytes]

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.buf.write(data)
        self.receive = raise_limit_exceeded

    def chunk(self, size_hint: int | None = None) -> bytes:  # noqa: ARG002 -- gunicorn's signature
        """Return more bytes after the buffered ones have been read."""
        return self.receive()


class Request(message.Request):
    """gunicorn's request, with the checks of RFC 9110 and RFC 9112 that its parser omits."""

    # None only while gunicorn parses the request.
    method: Any
    uri: Any
    version: Any
    body: Any
    environ: Any = None
    authority: str | None = None  # of a request target that is not in origin form
    _expected_100_continue: bool
    _chunk_offset = 0  # of the first chunk-size line that has not been examined

    def __init__(self, cfg: Config, source: Source, client: Any) -> None:
        super().__init__(cfg, source, client)
        self.source = source
        # RFC 9110 §6.2: a response must not carry a version to which the server does not conform.
        self.version = min(self.version, (1, 1))
        # wsgi.create() would send "100 Continue" before the application reads the body.
        self.expects_continue, self._expected_100_continue = self._expected_100_continue, False

    def parse_request_line(self, line_bytes: bytes) -> None:
        """Parse the request line and check the authority of the request target."""
        super().parse_request_line(line_bytes)
        is_connect = self.method == "CONNECT"
        if is_connect or not (self.uri.startswith("/") or self.uri == "*"):
            self.authority = self.uri if is_connect else util.split_request_uri(self.uri).netloc
            match = AUTHORITY.fullmatch(self.authority)
            if match is None or not match[1]:
                raise errors.InvalidRequestLine(self.uri)

    def _apply_header_policy(self, name: str, value: str, *arguments: Any, **keywords: Any) -> Any:
        # RFC 9110 §10.1.1: Expect is a list, in which 100-continue may be repeated.
        if name == "EXPECT" and members(value) == {"100-continue"}:
            value = "100-continue"
        return super()._apply_header_policy(name, value, *arguments, **keywords)  # type: ignore[misc] # the stubs lack it

    def set_body_reader(self) -> None:
        """Check Host and the framing fields, then choose the reader of the body."""
        super().set_body_reader()
        host = next((value for name, value in self.headers if name == "HOST"), None)
        if (host is None and self.version != (1, 0)) or not AUTHORITY.fullmatch(host or ""):
            raise errors.InvalidHeader("HOST", req=self)
        if self.authority is not None:
            # RFC 9112 §3.2.2: the authority of the request target replaces Host.
            self.headers = [(k, self.authority if k == "HOST" else v) for k, v in self.headers]
        for name, value in self.headers:
            # RFC 9112 §6.1: gunicorn decodes no other transfer coding than chunked.
            if name == "TRANSFER-ENCODING" and value.lower() != "chunked":
                raise errors.UnsupportedTransferCoding(value)
        if getattr(self.body.reader, "length", 0) > MAX_CONTENT_LENGTH:
            raise errors.InvalidHeader("CONTENT-LENGTH", req=self)

    def should_close(self) -> bool:
        """Return whether this is the last request of the connection (RFC 9112 §9.3)."""
        options = members(",".join(value for name, value in self.headers if name == "CONNECTION"))
        persistent = self.version >= (1, 1) or "keep-alive" in options
        return self.must_close or self.method == "CONNECT" or "close" in options or not persistent

    @property
    def body_is_collected(self) -> bool:
        """Whether the body is in memory."""
        return isinstance(self.body, io.BytesIO)

    @property
    def body_is_read(self) -> bool:
        """Whether the body has been read to its end, so that the next request can be found."""
        if self.body_is_collected:
            return True
        reader = self.body.reader
        ended = reader.length == 0 if isinstance(reader, LengthReader) else not reader.parser
        return ended and not self.body.failed

    def bytes_of_body(self, received: bytes) -> int:
        """Return how many bytes have to arrive before the body can be decoded.

        For a chunked body, that is a lower bound until its end, or a malformed chunk, is received.
        """
        if isinstance(self.body.reader, LengthReader):
            return self.body.reader.length
        while (end := received.find(b"\r\n", self._chunk_offset)) >= 0:
            try:
                size = int(received[self._chunk_offset : end].partition(b";")[0], 16)
            except ValueError:
                return end
            if size == 0 and (end := received.find(b"\r\n\r\n", end)) < 0:
                break
            if size <= 0:
                return end
            self._chunk_offset = end + 2 + size + 2
        return max(self._chunk_offset, len(received)) + 1

    def collect_body(self, received: bytes) -> bytes:
        """Decode the body at the start of `received` and return the bytes that follow it.

        Raises gunicorn's ParseException or NoMoreData for a malformed body.
        """
        self.source.receive = bytes
        self.source.unread(received)
        self.body = io.BytesIO(self.body.read())
        return self.source.take_buffered()


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
        return Request(self.cfg, source, client), source.take_buffered()

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
