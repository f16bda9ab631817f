"""Log on standard output: one JSON object (RFC 8259) per line, which never blocks the service."""

import fcntl
import json
import logging
import os
import re
import select
import socket
import stat
import traceback
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from json.encoder import encode_basestring_ascii as quote
from threading import RLock
from time import time
from typing import Any

from gunicorn import glogging
from gunicorn.config import Config
from gunicorn.http import Request
from gunicorn.http.wsgi import Response
from prometheus_client import Counter

from app.shared_memory import shared_file

Environ = MutableMapping[str, Any]

# A key of the environ: False there keeps a request out of the access log.
ACCESS_LOG = "app.access_log"

STDOUT = 1

# A pipe takes a line of up to 4,096 bytes in one piece (PIPE_BUF, pipe(7)), so that the lines of
# several processes do not mix.
MAX_LINE = 4096
# Maximum length of a field value that a client sends, in characters. The escape sequence of a
# character has up to 6.
MAX_FIELD = 256
# Maximum sizes of a message and of a traceback, in bytes and with escape sequences.
MAX_MESSAGE, MAX_TRACEBACK = 1024, 2560
# Maximum number of a traceback's frames and other parts; a frame takes at least 60 bytes.
MAX_TRACEBACK_PARTS = 40
# Maximum number of warnings and errors per second and process: clients can cause any number.
MAX_PER_SECOND = 10

# A template: json.dumps of the whole would take several times as long.
ACCESS_LINE = (
    '{"time": "%s", "level": "info", "logger": "gunicorn.access", "remote": %s, "method": %s, '
    '"path": %s, "query": %s, "status": %d, "bytes": %d, "duration": %.6f, "user_agent": %s, '
    '"trace_id": %s}\n'
)

# W3C Trace Context, "traceparent Header", version 00; an id of zeros only is invalid.
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

DROPPED = Counter(
    "log_lines_dropped_total",
    "Log lines that were not written.",
    ("reason",),
    registry=None,
)
# The reader of the log is too slow; writing fails; the limit of warnings and errors per second.
BLOCKED, FAILED, RATE_LIMIT = "blocked", "failed", "rate_limit"


def rfc3339(timestamp: float) -> str:
    """Format seconds since the epoch as in RFC 3339, in UTC."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def escaped_size(text: str) -> int:
    """Return the size of `text` in a JSON string."""
    return len(quote(text)) - 2


def shorten(text: str, size: int) -> str:
    """Return the start of `text` that takes at most `size` bytes in a JSON string."""
    text = text[:size]
    while (excess := escaped_size(text) - size) > 0:
        # An escaped character takes up to 12 bytes.
        text = text[: -(excess // 12 or 1)]
    return text


def format_traceback(exc_info: Any) -> str:
    """Return the traceback of at most MAX_TRACEBACK bytes, without the frames in the middle."""
    parts = [shorten(part, MAX_TRACEBACK // 4) for part in traceback.format_exception(*exc_info)]
    for kept in range(min(len(parts), MAX_TRACEBACK_PARTS), 2, -1):
        end = len(parts) - (kept + 1) // 2
        omitted = sum(part.startswith("  File ") for part in parts[kept // 2 : end])
        notice = f"  ... {omitted} frames omitted ...\n" if omitted else ""
        text = "".join((*parts[: kept // 2], notice, *parts[end:])).rstrip("\n")
        if escaped_size(text) <= MAX_TRACEBACK:
            break
    return text


def write_without_blocking(fd: int) -> Callable[[bytes], int]:
    """Return a function that writes to `fd`, and raises BlockingIOError instead of waiting.

    It does not set O_NONBLOCK on the open file description, which the shell and others share.
    """
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode):
            return partial(os.write, fd)
        if stat.S_ISSOCK(mode):
            send = socket.socket(fileno=os.dup(fd)).send
            return lambda data: send(data, socket.MSG_DONTWAIT)
        return partial(os.write, reopen(fd))
    except OSError:
        if os.isatty(fd):
            # A write could block even if the terminal is ready. This one fails.
            return partial(os.write, os.open(os.devnull, os.O_RDONLY))
        return partial(write_if_ready, fd, shared_file("log"))


def reopen(fd: int) -> int:
    """Return a non-blocking descriptor for the same pipe or terminal.

    It has an open file description of its own. Raises OSError without /proc, and for a pipe or
    terminal of another user, unless it is the controlling terminal.
    """
    flags = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE | os.O_NONBLOCK | os.O_NOCTTY
    try:
        return os.open(f"/proc/self/fd/{fd}", flags)
    except OSError:
        os.tcgetpgrp(fd)  # fails if it is not the controlling terminal
        return os.open("/dev/tty", flags)


def write_if_ready(fd: int, file: Any, data: bytes) -> int:
    """Write to `fd` if it accepts data.

    The lock on `file` keeps other workers from writing before this one does, which would block.
    """
    fcntl.lockf(file, fcntl.LOCK_EX)
    try:
        if not select.select((), (fd,), (), 0)[1]:
            raise BlockingIOError
        return os.write(fd, data)
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN)


def may_accept_part(fd: int) -> bool:
    """Return whether `fd` may accept a part of a line."""
    try:
        return os.isatty(fd) or stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


class Output:
    """Writes lines to a file descriptor without ever waiting for the reader.

    Lines that cannot be written are dropped and counted. When the descriptor accepts data again,
    a line states how many were dropped. An event loop writes the lines of an iteration at once, at
    most MAX_LINE bytes.
    """

    def __init__(self, fd: int) -> None:
        self.write = write_without_blocking(fd)
        # A terminal or socket may accept a part of a line. The process that has the rest locks this
        # file exclusively, so that no other process writes in between.
        self.file = shared_file("log") if may_accept_part(fd) else None
        self.reset()
        os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        """Forget the lines of the parent process."""
        self.lock = RLock()  # a signal handler may log while its thread holds the lock
        self.batch, self.lines = b"", 0  # lines to write, and their number
        self.rest = b""  # of a batch that has been written in part
        self.dropped = 0

    def write_line(self, line: bytes, *, now: bool = True) -> None:
        """Write or drop a line, at the latest when flush() is called."""
        with self.lock:
            if len(self.batch) + len(line) > MAX_LINE:
                self._write_batch()
            self.batch += line
            self.lines += 1
            if now:
                self._write_batch()

    def flush(self) -> None:
        """Write the lines that wait. Report dropped lines if the descriptor accepts data again."""
        if self.batch or self.rest or self.dropped:
            with self.lock:
                self._write_batch()

    def _write_batch(self) -> None:
        reason = self._report() or self._try(self.batch)
        if reason and self.lines:
            self.dropped += self.lines
            DROPPED.labels(reason).inc(self.lines)
        self.batch, self.lines = b"", 0

    def _report(self) -> str:
        if not self.dropped:
            return ""
        fields = {
            "time": rfc3339(time()),
            "level": "warning",
            "logger": __name__,
            "message": "Log lines dropped",
            "dropped": self.dropped,
        }
        reason = self._try(json.dumps(fields).encode() + b"\n")
        if not reason:
            self.dropped = 0
        return reason

    def _try(self, data: bytes) -> str:
        """Write `data`; return the reason if that is not possible."""
        if not (data or self.rest):
            return ""
        try:
            if self.file is not None:
                fcntl.lockf(self.file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if self.rest:
                self.rest = self.rest[self.write(self.rest) :]
                if self.rest:
                    return BLOCKED
            self.rest = data[self.write(data) :]
        except BlockingIOError:
            return BLOCKED
        except OSError:
            return FAILED
        finally:
            if self.file is not None:
                with suppress(OSError):  # another process is writing
                    fcntl.lockf(self.file, fcntl.LOCK_UN)
                    if self.rest:
                        fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return ""


class Handler(logging.Handler):
    """Writes the records of the logging module as JSON, a traceback in a field of its own."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self.output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record`; json.dumps escapes control characters and all that is not ASCII."""
        fields: dict[str, object] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": shorten(record.name, MAX_FIELD),
            "message": shorten(record.getMessage(), MAX_MESSAGE),
        }
        if dropped := getattr(record, "dropped", 0):
            fields["dropped"] = dropped
        if record.exc_info and record.exc_info[0]:
            fields["traceback"] = format_traceback(record.exc_info)
        self.output.write_line(json.dumps(fields).encode() + b"\n")

    def flush(self) -> None:
        """Report dropped lines."""
        self.output.flush()


class RateLimitFilter(logging.Filter):
    """Drops the warnings and errors of a second that exceed MAX_PER_SECOND.

    The next one states how many were dropped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reset()
        os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        """Forget the warnings and errors of the parent process."""
        self.second = self.passed = self.dropped = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for warnings and errors that exceed the rate limit."""
        if record.levelno < logging.WARNING:
            return True
        if self.second != int(record.created):
            self.second, self.passed = int(record.created), 0
        if self.passed == MAX_PER_SECOND:
            self.dropped += 1
            DROPPED.labels(RATE_LIMIT).inc()
            return False
        self.passed += 1
        record.dropped, self.dropped = self.dropped, 0
        return True


class Logger(glogging.Logger):
    """gunicorn's logger, without its own handlers and formats."""

    handler: Handler

    def setup(self, cfg: Config) -> None:
        """Set up the logging module; gunicorn calls this at startup and at each reload."""
        self.cfg = cfg
        self.error_log.propagate = True
        if not hasattr(self, "handler"):
            self.handler = Handler(Output(STDOUT))
            self.handler.addFilter(RateLimitFilter())
        # Created now, so that the series start at 0.
        for reason in (BLOCKED, FAILED, RATE_LIMIT):
            DROPPED.labels(reason)
        logging.basicConfig(level=cfg.loglevel.upper(), handlers=[self.handler], force=True)
        logging.captureWarnings(capture=True)
        self.access_enabled = logging.getLogger().isEnabledFor(logging.INFO)

    def access(
        self, resp: Response, req: Request, environ: Environ, request_time: timedelta
    ) -> None:
        """Write a line of the access log; gunicorn calls this after the response."""
        if not self.access_enabled or environ.get(ACCESS_LOG) is False:
            return
        trace = TRACEPARENT.fullmatch(environ.get("HTTP_TRACEPARENT", ""))
        for size in (MAX_FIELD, MAX_FIELD // 4):
            line = ACCESS_LINE % (
                rfc3339(time()),
                quote(environ.get("REMOTE_ADDR", "")),
                quote(req.method or ""),
                quote((req.path or "")[:size]),
                quote((req.query or "")[:size]),
                # There is none if the application never called start_response.
                int((resp.status or "500")[:3]),
                resp.sent,
                # The clock of gunicorn's own workers is not monotonic.
                max(0.0, request_time.total_seconds()),
                quote(environ.get("HTTP_USER_AGENT", "")[:size]),
                f'"{trace[1]}"' if trace else "null",
            )
            if len(line) <= MAX_LINE:
                break
        # On an event loop, Listener calls flush().
        self.handler.output.write_line(line.encode(), now=getattr(resp, "in_pool", True))

    def flush(self) -> None:
        """Write the lines that wait."""
        self.handler.flush()
