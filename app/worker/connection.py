"""A client's connection: an asyncio protocol and its states."""

import asyncio
import enum
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from gunicorn.http.errors import NoMoreData

from app.worker.request import MAX_COLLECTED_BODY, Request, RequestTimeoutError
from app.worker.response import Exchange

if TYPE_CHECKING:
    from app.worker.listener import Listener


CRLF = b"\r\n"
# Seconds for which idle connections stay open during graceful shutdown: a request may already have
# been sent.
DRAIN_IDLE = 2


class State(enum.Enum):
    """States of a connection; the package's docstring has a diagram."""

    READING = enum.auto()  # waits for a header section, or for a body that is collected
    IN_APPLICATION = enum.auto()  # in the queue of the thread pool, or in one of its threads
    WRITING = enum.auto()  # waits until the kernel has accepted the response
    IDLE = enum.auto()  # waits for the first byte of another request
    LINGERING = enum.auto()  # waits until the client closes the connection (RFC 9112 §9.6)


class Queue(OrderedDict["Connection", None]):
    """Connections in the order of their deadlines, `timeout` seconds after they were added."""

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self.timeout = timeout


class Connection(asyncio.Protocol):
    """A client's connection. All methods run on the event loop."""

    transport: Any
    state = State.READING
    queue: Queue | None = None
    deadline = 0.0
    request: Request | None = None  # the request whose body is being collected
    keep_alive = False  # whether the response announced that the connection persists
    unsent = False  # whether a part of the response waits in the write buffer
    unsent_size = 0
    eof = False  # whether the client has closed its side

    def __init__(self, listener: "Listener", client: Any) -> None:
        self.listener = listener
        self.worker = listener.worker
        self.client = client
        self.received = b""

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request."""
        self.transport = transport
        # With 0, pause_writing() is called as soon as the kernel does not accept everything.
        transport.set_write_buffer_limits(0)
        self.wait(State.READING)

    def wait(self, state: State) -> None:
        """Enter a state that has a deadline."""
        queue = self.listener.idle if state is State.IDLE else self.listener.waiting
        if self.queue is queue:
            queue.move_to_end(self)
        else:
            self.leave_queue()
            queue[self] = None
            self.queue = queue
        self.state = state
        self.deadline = monotonic() + self.timeout

    @property
    def timeout(self) -> float:
        """Timeout of the state in seconds; shorter in a drain, unless a request is in flight."""
        timeout = (self.queue or self.listener.waiting).timeout
        in_flight = self.state is State.WRITING or self.request is not None
        return min(timeout, DRAIN_IDLE) if self.listener.draining and not in_flight else timeout

    def leave_queue(self) -> None:
        """Remove the deadline; the connection cannot be evicted."""
        if self.queue is not None:
            del self.queue[self]
            self.queue = None

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

    def pause_writing(self) -> None:
        """Note that the kernel's buffer is full."""
        self.unsent = True

    def resume_writing(self) -> None:
        """End the response: the kernel has accepted all bytes."""
        self.unsent = False
        self.end_response()

    def connection_lost(self, _error: Exception | None) -> None:
        """Remove the connection from its queue and from the listener."""
        self.leave_queue()
        self.listener.release()

    def advance(self) -> None:
        """Serve the next request if it has arrived."""
        if self.state not in (State.IDLE, State.READING) or self.transport.is_closing():
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
        request = self.request
        if request is None:
            # RFC 9112 §2.2: empty lines before a request are ignored, and do not begin it.
            start = 0
            while self.received.startswith(CRLF, start):
                start += len(CRLF)
            self.received = self.received[start:]
            if CRLF.startswith(self.received):
                return None
            parsed = self.listener.parser.parse(self.received, self.client)
            if parsed is None:
                if self.state is State.IDLE:
                    self.wait(State.READING)
                return None
            request, self.received = parsed
        if not request.body_is_collected:
            size = request.bytes_of_body(self.received)
            if size <= min(len(self.received), MAX_COLLECTED_BODY):
                self.received = request.collect_body(self.received)
            elif size <= MAX_COLLECTED_BODY and not request.expects_continue:
                if self.eof:
                    raise NoMoreData
                if self.request is None:
                    self.request = request
                    self.wait(State.READING)
                return None
        self.request = None
        return request

    def dispatch(self, request: Request) -> None:
        """Call the application: on the event loop if the path has proven quick, or in the pool."""
        exchange = Exchange(self, request)
        task = exchange.serve
        if not request.body_is_collected:
            request.source.unread(self.received)
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
        self.leave_queue()
        self.state = State.IN_APPLICATION
        self.listener.pool.submit(task, partial(self.finish, exchange))

    def refuse(self, error: Exception) -> None:
        """Respond to a malformed or timed-out request."""
        self.request = None
        exchange = Exchange(self, None)
        exchange.fail(error)
        self.finish(exchange)

    def finish(self, exchange: Exchange) -> None:
        """Send the rest of the response."""
        self.state = State.WRITING
        request = exchange.req
        if request is not None:
            self.listener.learn(request, exchange.elapsed)
            if not request.body_is_collected:
                self.received = request.source.take_buffered() + self.received
        self.keep_alive = exchange.keep_alive
        self.transport.write(exchange.take_held())
        if exchange.broken:
            self.close()
        elif self.unsent:
            self.unsent_size = self.transport.get_write_buffer_size()
            self.wait(State.WRITING)
        else:
            self.end_response()

    def end_response(self) -> None:
        """Keep the connection or close it, as the response announced."""
        if self.keep_alive:
            self.wait(State.IDLE)
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
            self.wait(State.LINGERING)
            self.transport.resume_reading()

    def expire(self) -> None:
        """Act on the deadline of the state."""
        unsent = self.transport.get_write_buffer_size()
        if self.state is State.WRITING and unsent < self.unsent_size:
            self.unsent_size = unsent
            self.wait(State.WRITING)
        elif self.state is State.READING and (self.received or self.request):
            self.refuse(RequestTimeoutError())
        else:
            self.close()

    def close(self) -> None:
        """Close the connection at once."""
        self.leave_queue()
        self.transport.abort()
