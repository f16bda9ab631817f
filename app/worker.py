"""Who gets a thread? A request whose head is there, from a client that takes its answers.

gunicorn's thread worker lends a thread to whoever has begun to speak, however slowly it does, so a
few slow clients hold all threads. Here the event loop waits for the clients: for the head of a
request, for room to send an answer, and for the end of a connection.

Threads are lent one at a time as long as requests are quick: threads that compute at the same time
take the interpreter's lock from each other, and get less done than one.

It is for HTTP/1.1 without TLS, and leans on these parts of gunicorn 27.0:
- ThreadWorker: accept, enqueue_req, get_thread_pool, handle, on_pending_socket_readable,
  wait_for_and_dispatch_events, _cap_keepalive, _keepalive_after; alive, cfg, keepalived_conns,
  method_queue, nr_conns, pending_conns, poller, worker_connections; and that it submits nothing but
  connections to the pool, and closes what has been in the two queues for too long;
- TConn: close, init, initialized, parser, sock, timeout; of the parser, finish_body, mesg_class,
  unreader.buf;
- STOP_KEEPALIVE_LINGER, util.write_error, http.errors.
"""

import errno
import select
import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from time import monotonic
from typing import Any, NoReturn

from gunicorn import util
from gunicorn.http.errors import LimitRequestHeaders, ParseException
from gunicorn.workers.gthread import (  # type: ignore[attr-defined] # the stubs lack the first
    STOP_KEEPALIVE_LINGER,
    TConn,
    ThreadWorker,
)

# Bytes that are kept of a head whose end has not come.
LONGEST_HEAD = 16384
# Bytes of a body that are passed over if the application has not read them.
LONGEST_UNREAD_BODY = 65536
# Connections that are accepted before the loop turns to those it has: were it one, the last of
# many would wait as many turns.
ACCEPTED_AT_ONCE = 16
# Seconds without a finished request after which one more thread is lent.
PATIENCE = 0.002


class Connection(TConn):
    """A connection whose client keeps the loop waiting, and no thread."""

    parser: Any  # gunicorn has several, of which only that of HTTP/1.1 comes here

    def __init__(self, worker: "Worker", *arguments: Any) -> None:
        super().__init__(worker.cfg, *arguments)
        self.worker = worker

    def awaits(self) -> int:
        """Read on in a head; return the event that has to come before a thread can serve, or 0."""
        if not self.initialized:
            self.init()
            self.sock.setblocking(False)
        received = self.parser.unreader.buf
        if not _is_enough(received.getvalue()):
            try:
                data = self.sock.recv(8192)
            except BlockingIOError:
                return EVENT_READ
            except OSError:
                data = b""
            received.write(data)
            if data and not _is_enough(received.getvalue()):
                return EVENT_READ
        if len(received.getvalue()) > LONGEST_HEAD:
            self.parser.mesg_class = _refuse
        room = select.poll()
        room.register(self.sock, select.POLLOUT)
        return 0 if room.poll(0) else EVENT_WRITE

    def close(self, graceful: bool = False) -> None:
        """Close the connection, gracefully or at once; to an unfinished request, answer 408."""
        if graceful:
            self.worker.linger(self)
            return
        if self.parser and self.parser.unreader.buf.getvalue():
            with suppress(OSError):
                util.write_error(self.sock, 408, "Request Timeout", "")
        super().close()


def _is_enough(head: bytes) -> bool:
    """Tell if the parser needs no more: the end is there, or a reason to refuse the request."""
    bare_lf = head.count(b"\n") != head.count(b"\r\n")
    return b"\r\n\r\n" in head or bare_lf or len(head) > LONGEST_HEAD


def _refuse(*_: object) -> NoReturn:
    raise LimitRequestHeaders(f"a head of more than {LONGEST_HEAD} bytes")


class Worker(ThreadWorker):
    """gunicorn's thread worker, but no thread waits for a client."""

    # Seconds that a client has for the head of a request, and to make room for an answer, and to
    # close.
    client_header_timeout: float = 5
    lend: Callable[[Callable[[], None]], Future[None]]

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.ready: deque[tuple[Connection, Future[bool]]] = deque()
        self.lent: list[Future[None]] = []

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """Return the pool; what gunicorn submits to it is admitted before a thread is lent."""
        pool = super().get_thread_pool()
        self.lend, pool.submit = pool.submit, self.admit  # type: ignore[method-assign, assignment] # nothing but connections is submitted
        return pool

    def accept(self, listener: socket.socket) -> None:
        """Accept connections; at the limit, the one that has waited longest gives way."""
        for _ in range(ACCEPTED_AT_ONCE):
            if self.nr_conns >= self.worker_connections:
                return
            try:
                sock, client = listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self.evict()
                elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                    raise
                return
            self.nr_conns += 1
            if self.nr_conns >= self.worker_connections:
                self.evict()
            self.enqueue_req(Connection(self, sock, client, listener.getsockname()))

    def admit(self, _handle: object, conn: Connection) -> Future[bool]:
        """Have `conn` served if nobody has to wait for its client, or else wait for that."""
        result: Future[bool] = Future()
        if event := conn.awaits():
            # It is submitted again when that is over, and then has another future.
            self.wait(conn, event, self.on_waiting_socket_ready)
        else:
            self.ready.append((conn, result))
        return result

    def wait(self, conn: Connection, event: int, then: Callable[..., None]) -> None:
        """Wait for an event; if it does not come in time, gunicorn closes the connection."""
        longest = self.client_header_timeout if self.alive else STOP_KEEPALIVE_LINGER
        conn.timeout = monotonic() + min(longest, self.client_header_timeout)
        self.poller.register(conn.sock, event, partial(then, conn))
        self.pending_conns.append(conn)

    def on_waiting_socket_ready(self, conn: Connection, client: socket.socket) -> None:
        """Serve `conn` if it can be served; else let it wait on, with the time that is left."""
        if event := conn.awaits():
            self.poller.modify(client, event, self.poller.get_key(client).data)
        else:
            self.on_pending_socket_readable(conn, client)

    def linger(self, conn: Connection) -> None:
        """Close gracefully (RFC 9112 section 9.6): the client reads all before it is cut off."""
        self.nr_conns += 1  # It is not gone, as gunicorn takes it to be.
        with suppress(OSError):
            conn.sock.shutdown(socket.SHUT_WR)
        self.wait(conn, EVENT_READ, self.on_lingering_socket_readable)

    def on_lingering_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Read what nobody wants until the client closes."""
        with suppress(OSError):
            if client.recv(65536):
                return
        self.drop(conn, self.pending_conns)

    def evict(self) -> None:
        """Close the connection that has been idle longest, or else has waited longest."""
        if waiting := self.keepalived_conns or self.pending_conns:
            self.drop(waiting[0], waiting)

    def drop(self, conn: TConn, queue: deque[Any]) -> None:
        """Close a connection that waits in `queue`."""
        queue.remove(conn)
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def _cap_keepalive(self, deadline: float) -> None:
        # At a stop, no client is waited for longer than an idle one is.
        super()._cap_keepalive(deadline)  # type: ignore[misc] # the stubs do not have it
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout or deadline, deadline)

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        # Where the rest of a body is not here, or is broken, the next request can't be found.
        conn.sock.setblocking(False)
        try:
            return keepalive and conn.parser.finish_body(max_bytes=LONGEST_UNREAD_BODY)
        except (OSError, ParseException):
            return False

    def wait_for_and_dispatch_events(self, timeout: float | None) -> None:
        """Do a turn of the loop, and then serve what it has made ready."""
        super().wait_for_and_dispatch_events(timeout)
        if self.ready:
            self.lend_threads()

    def lend_threads(self) -> None:
        """Lend a thread, and one more each time that no request is finished for a while."""
        self.lent = [thread for thread in self.lent if not thread.done()]
        while self.ready and len(self.lent) < self.cfg.threads:
            thread = self.lend(self.serve)
            self.lent.append(thread)
            left = len(self.ready) + 1
            while not thread.done() and len(self.ready) < left:
                left = len(self.ready)
                with suppress(TimeoutError):
                    thread.result(PATIENCE)
            if not thread.done():
                # Something may become ready when the thread has just found nothing to do.
                thread.add_done_callback(lambda _: self.method_queue.defer(self.lend_threads))

    def serve(self) -> None:
        """Serve what is ready: the work of a thread."""
        with suppress(IndexError):
            while True:
                conn, result = self.ready.popleft()
                try:
                    result.set_result(self.handle(conn))
                except BaseException as error:  # noqa: BLE001 -- the loop is told
                    result.set_exception(error)
