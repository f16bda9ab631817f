"""A client's connection: an asyncio protocol and its states."""

import asyncio
import enum
import io
import re
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from gunicorn.http.errors import NoMoreData

from app.worker.request import MAX_COLLECTED_BODY, Request, RequestTimeoutError
from app.worker.response import Exchange

if TYPE_CHECKING:
    from app.worker.listener import Listener


# RFC 9112 §2.2: empty lines before a request are ignored. They do not start its timeout.
EMPTY_LINES = re.compile(rb"(?:\r\n)++")


class State(enum.IntEnum):
    """States of a connection; the package's docstring has a diagram.

    In the first three, no complete request has arrived; advance() relies on this order.
    """

    IDLE = enum.auto()  # waits for the first byte of another request
    READING = enum.auto()  # waits for a header section
    COLLECTING = enum.auto()  # waits for the rest of a small body
    IN_APPLICATION = enum.auto()  # in the queue of the thread pool, or in one of its threads
    WRITING = enum.auto()  # waits until the kernel has accepted the response
    LINGERING = enum.auto()  # waits until the client closes the connection (RFC 9112 §9.6)


class Connection(asyncio.Protocol):
    """A client's connection. All methods run on the event loop."""

    transport: Any
    state = State.READING
    entered = 0.0  # when the connection entered the state, or made progress in WRITING
    request: Request | None = None  # the request whose body is being collected
    keep_alive = False  # whether the response announced that the connection persists
    unsent = 0  # bytes of the response in the write buffer, when last examined
    eof = False  # whether the client has closed its side

    def __init__(self, listener: "Listener", client: Any) -> None:
        self.listener = listener
        self.client = client
        self.received = b""

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request."""
        self.transport = transport
        # With 0, resume_writing() is called when the kernel has accepted everything.
        transport.set_write_buffer_limits(0)
        self.enter(State.READING)

    def enter(self, state: State) -> None:
        """Enter `state` and append the connection to its queue."""
        self.leave()
        self.listener.queues[state][self] = None
        self.state = state
        self.entered = monotonic()

    def leave(self) -> None:
        """Leave the queue of the state."""
        self.listener.queues[self.state].pop(self, None)

    def data_received(self, data: bytes) -> None:
        """Serve the next request if it is complete."""
        if self.state is State.LINGERING:
            return
        self.received += data
        self.advance()
        if len(self.received) > MAX_COLLECTED_BODY:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """Serve the requests that have been received; return False to close the connection."""
        self.eof = True
        self.advance()
        return self.state is not State.LINGERING

    def resume_writing(self) -> None:
        """End the response: the kernel has accepted all bytes."""
        # Not at once: asyncio does not expect that this method closes the transport.
        self.listener.loop.call_soon(self.end_response)

    def connection_lost(self, _error: Exception | None) -> None:
        """Remove the connection from its queue and from the listener."""
        self.leave()
        self.listener.release()

    def advance(self) -> None:
        """Serve the next request if it has arrived."""
        if self.state > State.COLLECTING or self.transport.is_closing():
            return
        try:
            request = self.take_request()
        except Exception as error:  # noqa: BLE001 -- handle_error() selects the status
            self.refuse(error)
            return
        if request is not None:
            self.dispatch(request)
        elif self.eof:
            self.transport.close()
        else:
            self.transport.resume_reading()

    def take_request(self) -> Request | None:
        """Return the next request when its header section, and a small body, have arrived."""
        request = self.request or self.take_header_section()
        if request is None or request.body_is_collected:
            return request
        size = request.bytes_of_body(self.received)
        if size <= min(len(self.received), MAX_COLLECTED_BODY):
            self.received = request.collect_body(self.received)
        elif size <= MAX_COLLECTED_BODY and not request.expects_continue:
            if self.eof:
                raise NoMoreData
            if self.request is None:
                self.request = request
                self.enter(State.COLLECTING)
            return None
        self.request = None
        return request

    def take_header_section(self) -> Request | None:
        """Return the next request, without its body, when its header section has arrived."""
        if lines := EMPTY_LINES.match(self.received):
            self.received = self.received[lines.end() :]
        if self.received in (b"", b"\r"):
            return None
        parsed = self.listener.parser.parse(self.received, self.client)
        if parsed is not None:
            request, self.received = parsed
            return request
        if self.state is State.IDLE:
            self.enter(State.READING)
        return None

    def dispatch(self, request: Request) -> None:
        """Call the application: on the event loop if the path has proven quick, or in the pool."""
        exchange = Exchange(self, request)
        task = exchange.serve
        if not request.body_is_collected:
            request.source.received = io.BytesIO(self.received)
            request.source.receive = exchange.receive
            self.received = b""
        elif self.listener.is_quick(request):
            # To the application, no event loop runs in this thread: it may run one of its own.
            asyncio._set_running_loop(None)  # noqa: SLF001 -- documented for event loops
            try:
                if exchange.call():
                    exchange.respond()
                    self.finish(exchange)
                    return
            finally:
                asyncio._set_running_loop(self.listener.loop)  # noqa: SLF001 -- as above
            task = exchange.respond
        exchange.in_pool = True
        # Until finish(), the event loop neither reads from the socket, nor writes, nor closes it.
        self.transport.pause_reading()
        self.enter(State.IN_APPLICATION)
        self.listener.pool.submit(task, partial(self.finish, exchange))

    def refuse(self, error: Exception) -> None:
        """Respond to a malformed or timed-out request."""
        exchange = Exchange(self, None)
        exchange.fail(error)
        self.finish(exchange)

    def finish(self, exchange: Exchange) -> None:
        """Send the rest of the response."""
        request = exchange.req
        if request is not None:
            self.listener.learn(request, exchange.elapsed)
            if not request.body_is_collected:
                self.received = request.source.rest() + self.received
        self.keep_alive = exchange.keep_alive
        self.transport.write(exchange.take_held())
        if exchange.broken:
            self.close()
        elif unsent := self.transport.get_write_buffer_size():
            self.unsent = unsent
            self.enter(State.WRITING)
        else:
            self.end_response()

    def end_response(self) -> None:
        """Keep the connection or close it, as the response announced."""
        if self.keep_alive:
            self.enter(State.IDLE)
            if self.received or self.eof:
                self.listener.loop.call_soon(self.advance)
            else:
                self.transport.resume_reading()
        elif self.eof:
            self.transport.close()
        else:
            # RFC 9112 §9.6: a client that still sends would lose the response to a reset.
            with suppress(OSError):  # the client has reset the connection
                self.transport.write_eof()
            self.received = b""
            self.enter(State.LINGERING)
            self.transport.resume_reading()

    def expire(self) -> None:
        """Act on the timeout of the state."""
        unsent = self.transport.get_write_buffer_size()
        if self.state is State.WRITING and unsent < self.unsent:
            self.unsent = unsent
            self.enter(State.WRITING)
        elif self.state is State.COLLECTING or (self.state is State.READING and self.received):
            self.refuse(RequestTimeoutError())
        else:
            self.close()

    def close(self) -> None:
        """Close the connection at once."""
        self.leave()
        self.transport.abort()
