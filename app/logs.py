"""What does the service say of itself? One JSON object a line (RFC 8259) on stdout.

A line of the access log goes out in one write, and is shorter than the 4096 bytes that a pipe
takes in one piece (PIPE_BUF, pipe(7)), so that the lines of several workers never mix.
"""

import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime, timedelta
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

# What a client sends is cut to so many characters; a line of its longest, with each character
# escaped, stays below PIPE_BUF.
LONGEST = 256

# W3C Trace Context, "traceparent Header", version 00; an id of zeros only is invalid.
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def rfc3339(timestamp: float) -> str:
    """Format seconds since the epoch as RFC 3339 has it, in UTC."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds")


class JSONFormatter(logging.Formatter):
    """Formats the records of the logging module, a traceback in a field of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Format `record`; json.dumps escapes control characters and all that is not ASCII."""
        fields = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class Logger(glogging.Logger):
    """gunicorn's logger, without the handlers and formats of its own."""

    def setup(self, cfg: Config) -> None:
        """Set up the logging module; gunicorn calls this at start and at each reload."""
        self.cfg = cfg
        self.error_log.propagate = True
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JSONFormatter())
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
        fields = {
            "time": rfc3339(time()),
            "level": "info",
            "logger": "gunicorn.access",
            "remote": environ["REMOTE_ADDR"],
            "method": req.method,
            "path": (req.path or "")[:LONGEST],
            "query": (req.query or "")[:LONGEST],
            # There is none if the application never called start_response.
            "status": int((resp.status or "500")[:3]),
            "bytes": resp.sent,
            "duration": request_time.total_seconds(),
            "user_agent": environ.get("HTTP_USER_AGENT", "")[:LONGEST],
            "trace_id": trace and trace[1],
        }
        # The answer has left: that nobody reads the log any more must not end the connection.
        with contextlib.suppress(OSError):
            os.write(STDOUT, json.dumps(fields).encode() + b"\n")
