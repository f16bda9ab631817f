"""What does the service say of itself? One JSON object a line (RFC 8259) on stdout."""

import json
import logging
import os
import re
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from json.encoder import encode_basestring_ascii as quote
from time import time
from typing import Any

from gunicorn import glogging
from gunicorn.config import Config
from gunicorn.http import Request
from gunicorn.http.wsgi import Response

Environ = MutableMapping[str, Any]

# A key of the environ: False there keeps a request out of the access log.
ACCESS_LOG = "app.access_log"

STDOUT = 1

# What a client sends is cut to so many characters. Even with each of them escaped, a line is then
# shorter than what a pipe takes in one piece, 4096 bytes (PIPE_BUF, pipe(7)), and goes out in one
# write: so the lines of several workers never mix.
LONGEST = 256

# Warnings and errors that a process logs in a second: a client can cause any number of them.
MOST_A_SECOND = 10

# A template: json.dumps of the whole would take several times as long.
ACCESS_LINE = (
    '{"time": "%s", "level": "info", "logger": "gunicorn.access", "remote": %s, "method": %s, '
    '"path": %s, "query": %s, "status": %d, "bytes": %d, "duration": %.6f, "user_agent": %s, '
    '"trace_id": %s}\n'
)

# W3C Trace Context, "traceparent Header", version 00; an id of zeros only is invalid.
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def rfc3339(timestamp: float) -> str:
    """Format seconds since the epoch as RFC 3339 has it, in UTC."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


class JSONFormatter(logging.Formatter):
    """Formats the records of the logging module, a traceback in a field of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Format `record`; json.dumps escapes control characters and all that is not ASCII."""
        fields: dict[str, object] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[: 4 * LONGEST],
        }
        if dropped := getattr(record, "dropped", 0):
            fields["dropped"] = dropped
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class Flood(logging.Filter):
    """Drops warnings and errors that are too many for a second; the next one tells how many."""

    second = 0
    passed = 0
    dropped = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell if `record` may pass; what is no warning and no error may."""
        if record.levelno < logging.WARNING:
            return True
        if self.second != int(record.created):
            self.second, self.passed = int(record.created), 0
        if self.passed == MOST_A_SECOND:
            self.dropped += 1
            return False
        self.passed += 1
        record.dropped, self.dropped = self.dropped, 0
        return True


class Logger(glogging.Logger):
    """gunicorn's logger, without the handlers and formats of its own."""

    def setup(self, cfg: Config) -> None:
        """Set up the logging module; gunicorn calls this at start and at each reload."""
        self.cfg = cfg
        self.error_log.propagate = True
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JSONFormatter())
        handler.addFilter(Flood())
        logging.basicConfig(level=cfg.loglevel.upper(), handlers=[handler], force=True)
        logging.captureWarnings(capture=True)
        self.access_enabled = logging.getLogger().isEnabledFor(logging.INFO)

    def access(
        self, resp: Response, req: Request, environ: Environ, request_time: timedelta
    ) -> None:
        """Write the access log's line; gunicorn calls this when the answer has left."""
        if not self.access_enabled or environ.get(ACCESS_LOG) is False:
            return
        trace = TRACEPARENT.fullmatch(environ.get("HTTP_TRACEPARENT", ""))
        line = ACCESS_LINE % (
            rfc3339(time()),
            quote(environ["REMOTE_ADDR"]),
            quote(req.method or ""),
            quote((req.path or "")[:LONGEST]),
            quote((req.query or "")[:LONGEST]),
            # There is none if the application never called start_response.
            int((resp.status or "500")[:3]),
            resp.sent,
            request_time.total_seconds(),
            quote(environ.get("HTTP_USER_AGENT", "")[:LONGEST]),
            f'"{trace[1]}"' if trace else "null",
        )
        # Nobody may read the log any more, which is no reason to end the connection.
        with suppress(OSError):
            os.write(STDOUT, line.encode())
