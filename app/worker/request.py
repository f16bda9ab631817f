"""gunicorn's HTTP/1.1 request, extended by the checks of RFC 9110 and 9112 that gunicorn omits."""

import io
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NoReturn

from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import errors, message
from gunicorn.http.body import LengthReader
from gunicorn.http.unreader import Unreader

# Maximum size of the request line and header section, in bytes.
MAX_HEADER_SECTION = 16384
# Maximum size of a body that is collected before the application is called, in bytes.
MAX_COLLECTED_BODY = 65536
# Maximum number of bytes that gunicorn's parser gets at once, unless it asks for more. The parser
# copies them for each chunk of a chunked body.
READ_SIZE = 8192
# The largest value that fits into the signed 64-bit integers of proxies.
MAX_CONTENT_LENGTH = 2**63 - 1

# RFC 3986 §3.2, without userinfo (RFC 9110 §4.2.4).
AUTHORITY = re.compile(
    r"(\[[A-Za-z0-9._~!$&'()*+,;=:-]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)


class RequestTimeoutError(TimeoutError):
    """The client did not send the request in time."""


# Statuses of the responses to exceptions, of which the first that matches counts.
STATUSES: tuple[tuple[Any, HTTPStatus], ...] = (
    (RequestTimeoutError, HTTPStatus.REQUEST_TIMEOUT),
    (errors.LimitRequestLine, HTTPStatus.REQUEST_URI_TOO_LONG),
    (errors.LimitRequestHeaders, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    (errors.ExpectationFailed, HTTPStatus.EXPECTATION_FAILED),
    (errors.UnsupportedTransferCoding, HTTPStatus.NOT_IMPLEMENTED),
    (errors.ConfigurationProblem, HTTPStatus.INTERNAL_SERVER_ERROR),
    # The application has set an invalid header.
    (errors.InvalidResponseHeader, HTTPStatus.INTERNAL_SERVER_ERROR),  # type: ignore[attr-defined] # the stubs lack it
    (errors.InvalidResponseHeaderName, HTTPStatus.INTERNAL_SERVER_ERROR),  # type: ignore[attr-defined] # as above
    ((errors.ParseException, errors.NoMoreData), HTTPStatus.BAD_REQUEST),
    (BaseException, HTTPStatus.INTERNAL_SERVER_ERROR),
)


def status_of(error: BaseException) -> HTTPStatus:
    """Return the status of the response to an exception that the application does not handle."""
    return next(status for kind, status in STATUSES if isinstance(error, kind))


def members(value: str) -> set[str]:
    """Return the members of a comma-separated list in lower case (RFC 9110 §5.6.1)."""
    return {member.strip(" \t").lower() for member in value.split(",")}


def raise_limit_exceeded(_size: int) -> NoReturn:
    """Raise the exception for a header section that does not end within the maximum size."""
    raise errors.LimitRequestHeaders(f"header section exceeds {MAX_HEADER_SECTION} bytes")


class Source(Unreader):
    """Bytes for gunicorn's parser: those that have been received, then those of receive()."""

    receive: Callable[[int], bytes]

    def __init__(self, received: bytes) -> None:
        super().__init__()
        self.received = io.BytesIO(received)
        self.receive = raise_limit_exceeded

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next bytes, or b"" if there are none."""
        size = size_hint or READ_SIZE
        return self.received.read(size) or self.receive(size)

    def rest(self) -> bytes:
        """Return the received bytes that the parser has not consumed."""
        return self.take_buffered() + self.received.read()


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
        """Return the number of bytes that must arrive before collect_body() can be called.

        For a chunked body, it exceeds the size of `received` until its end, or a malformed chunk,
        has arrived.
        """
        if isinstance(self.body.reader, LengthReader):
            return self.body.reader.length
        while self._chunk_offset <= MAX_COLLECTED_BODY:
            end = received.find(b"\r\n", self._chunk_offset)
            if end < 0:
                break
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
        self.source.received = io.BytesIO(received)
        self.source.receive = lambda _size: b""
        self.body = io.BytesIO(self.body.read())
        return self.source.rest()
