"""WSGI side of a request: hooks, the call of the application, the response, the access log."""

from collections.abc import Iterable
from datetime import timedelta
from functools import cached_property, lru_cache
from math import inf
from threading import TIMEOUT_MAX
from time import monotonic, perf_counter, time
from typing import TYPE_CHECKING, Any

from gunicorn import util
from gunicorn.http import wsgi
from gunicorn.http.errors import NoMoreData

from app.worker.request import MAX_COLLECTED_BODY, RequestTimeoutError

if TYPE_CHECKING:
    from app.worker.connection import Connection

# Formatting the date costs more than the rest of the header section; it is valid for a second.
http_date = lru_cache(maxsize=1)(util.http_date)


class Exchange(wsgi.Response):
    """A request and its response.

    It also implements the socket methods that gunicorn's Response uses: sendall() appends to
    `held`, which flush() or Connection.finish() sends.
    """

    req: Any  # None if the request was malformed
    _omits_body: bool
    result: Iterable[bytes] = ()
    in_pool = False  # whether a thread of the pool runs the exchange, not the event loop
    failed = False
    broken = False  # whether sending or receiving has failed
    keep_alive = False  # whether the response announced that the connection persists
    started = 0.0
    body_deadline = 0.0
    flushed = False  # whether a part of the response has been sent
    elapsed = 0.0  # seconds; infinite after an error, or flush(), which may wait for the client

    def __init__(self, connection: "Connection", request: Any) -> None:
        super().__init__(request, self, connection.listener.worker.cfg)  # type: ignore[arg-type] # see above
        self.connection = connection
        self.worker = connection.listener.worker
        self.environ: dict[str, Any] = {}
        self.held = bytearray()

    def serve(self) -> None:
        """Call the application and send its response."""
        self.call()
        self.respond()

    def call(self) -> bool:
        """Call the application; return whether the content of the response is in memory."""
        worker, connection, request = self.worker, self.connection, self.req
        try:
            self.started = perf_counter()
            worker.pre_request(worker, request)
            if request.environ is None:
                sock: Any = self  # create() stores it in a Response that is not used
                _, request.environ = wsgi.create(
                    request, sock, connection.client, connection.listener.address, self.cfg
                )
                request.environ["wsgi.multithread"] = True
            self.environ = request.environ
            self.environ["gunicorn.socket"] = connection.transport.get_extra_info("socket")
            self.environ["wsgi.early_hints"] = self.send_early_hints
            worker.count_request()
            self.result = worker.wsgi(self.environ, self.start_response)
        except BaseException as error:  # noqa: BLE001 -- fail() logs it
            self.fail(error)
        return isinstance(self.result, (list, tuple))

    def respond(self) -> None:
        """Send the result of the application, then call the post_request hook."""
        try:
            if not self.failed:
                self.send_result()
        except BaseException as error:  # noqa: BLE001 -- fail() logs it
            self.fail(error)
        try:
            self.worker.post_request(self.worker, self.req, self.environ, self)
        except Exception:
            self.worker.log.exception("Exception in post_request hook")
        if "socket" in vars(self):
            self.socket.close()

    def send_result(self) -> None:
        """Send a list or tuple at once, but each block of an iterator when it is yielded.

        PEP 3333, "Buffering and Streaming", does not allow the server to delay a block.
        """
        in_memory = isinstance(self.result, (list, tuple))
        try:
            for block in self.result:
                self.write(block)
                if not in_memory:
                    self.flush()
            self.close()
        finally:
            if hasattr(self.result, "close"):
                self.result.close()
        # Content shorter than Content-Length leaves the client waiting; HEAD, 204, 304 have none.
        self.keep_alive &= self._omits_body or self.response_length in (None, self.sent)
        self.elapsed += perf_counter() - self.started
        if not in_memory:
            self.flush()
        elif not self.in_pool:
            self.connection.transport.write(self.take_held())
        self.log_access()

    def fail(self, error: BaseException) -> None:
        """Respond to an error of the application or the client; called in an except clause."""
        self.failed, self.keep_alive, self.elapsed = True, False, inf
        if self.broken:
            self.worker.log.debug("Client disconnected: %s", error)
        elif self.flushed:
            self.worker.log.exception("Error handling request")  # noqa: LOG004 -- the caller's
        else:
            self.held.clear()
            self.worker.handle_error(self.req, self, self.connection.client, error)
            return
        self.log_access()

    def log_access(self) -> None:
        """Log the request in the access log."""
        duration = timedelta(seconds=perf_counter() - self.started)
        try:
            self.worker.log.access(self, self.req, self.environ, duration)
        except Exception:
            self.worker.log.exception("Exception in access log")

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        """Store status and headers; return the write() callable of PEP 3333."""
        if exc_info and not self.headers_sent:
            # gunicorn would append the new headers to those that they replace.
            self.headers, self.response_length = [], None
        super().start_response(status, headers, exc_info)
        return self.write_and_flush

    def write_and_flush(self, data: bytes) -> None:
        """Write `data` and flush it."""
        self.write(data)
        self.flush()

    def default_headers(self) -> list[str]:
        """Return the status line and the fields that the server sets; decide on persistence."""
        listener = self.connection.listener
        if not (
            self.req.body_is_read  # or else the start of the next request is unknown
            and self.worker.alive
            and listener.accepting  # or else other clients wait for a connection
            and listener.keepalive
        ):
            self.force_close()
        self.keep_alive = not self.should_close()
        major, minor = self.req.version
        lines = [
            f"HTTP/{major}.{minor} {self.status}\r\nServer: {self.version}\r\n",
            f"Date: {http_date(int(time()))}\r\n",
            f"Connection: {'keep-alive' if self.keep_alive else 'close'}\r\n",
        ]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked\r\n")
        return lines

    def send_early_hints(self, headers: Any) -> None:
        """Send an interim response with status 103 (RFC 8297)."""
        send = wsgi._make_early_hints_callback(self.req, self, self)  # type: ignore[attr-defined] # noqa: SLF001 -- gunicorn has no public function
        send(headers)
        self.flush()

    def take_held(self) -> bytearray:
        """Return the bytes that are to be sent."""
        held, self.held = self.held, bytearray()
        return held

    def flush(self) -> None:
        """Send the held bytes in the thread pool; on the event loop, hold them until the end.

        Raises TimeoutError if the client accepts no byte for `client_header_timeout` seconds.
        """
        self.elapsed = inf
        if not self.in_pool:
            return
        self.flushed = self.headers_sent
        data = memoryview(self.take_held())
        try:
            self.socket.settimeout(self.worker.client_header_timeout)
            while data:
                data = data[self.socket.send(data) :]
        except OSError:
            self.broken = True
            raise

    def receive(self, size: int) -> bytes:
        """Receive more of the request body in the thread pool; the whole has one deadline.

        At most `size` bytes, and at most MAX_COLLECTED_BODY, are received at once.
        Raises RequestTimeoutError, or NoMoreData if the client has closed its side.
        """
        if self.req.expects_continue and not self.headers_sent:
            self.req.expects_continue = False
            self.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.flush()
        self.body_deadline = self.body_deadline or monotonic() + (self.cfg.timeout or inf)
        remaining = self.body_deadline - monotonic()
        if remaining <= 0:
            raise RequestTimeoutError
        try:
            self.socket.settimeout(min(remaining, TIMEOUT_MAX))
            data: bytes = self.socket.recv(min(size, MAX_COLLECTED_BODY))
        except TimeoutError:
            raise RequestTimeoutError from None
        except OSError:
            self.broken = True
            raise
        if not data:
            raise NoMoreData
        return data

    @cached_property
    def socket(self) -> Any:
        """The client's socket for the thread pool, which may wait for the client."""
        return self.connection.transport.get_extra_info("socket").dup()

    def sendall(self, data: bytes) -> None:
        """Hold `data`."""
        self.held += data

    def gettimeout(self) -> float:
        """Return the timeout of a non-blocking socket, which gunicorn leaves as it is."""
        return 0.0
