"""How are requests counted? Exactly, whoever dies, in a bounded number of files and series.

In prometheus-client's multiprocess mode each process counts in files of its own, named after its
id, and a worker that dies leaves them. Here they are named after slots: the arbiter lends a new
worker the lowest slot that no living worker holds, and it counts on from where the last stopped.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Container, Iterable, Iterator
from functools import cache
from http import HTTPMethod
from pathlib import Path
from time import perf_counter
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import PLATFORM_COLLECTOR, Counter, Histogram, ProcessCollector, values
from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app import __version__
from app.worker.request import status_of

# Named here, as the annotations of a nested function are evaluated at each request.
Headers = list[tuple[str, str]]

# Names and labels follow OpenTelemetry's semantic conventions for HTTP, in Prometheus spelling.
REQUEST_DURATION = Histogram(
    "http_server_request_duration_seconds",
    "Time the application took to answer a request.",
    ("http_request_method", "http_route", "http_response_status_code"),
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
    registry=None,
)
# They exist from the start: rate() does not see a series rise from nothing to 1.
EXPECTED_SERIES = (
    ("GET", "/hello", "200"),
    ("HEAD", "/hello", "200"),
    ("GET", "/hello", "500"),
    ("GET", "", "404"),
)
# Who we are, in OpenTelemetry's names; an image knows of what it was built, a pod where it runs.
RESOURCE = {
    "service_name": "hello-wsgi",
    "service_version": os.environ.get("IMAGE_VERSION", __version__),
    "vcs_ref_head_revision": os.environ.get("IMAGE_REVISION", ""),
    "k8s_pod_name": os.environ.get("POD_NAME", ""),
    "k8s_node_name": os.environ.get("NODE_NAME", ""),
}
# RFC 9110 section 9, and PATCH of RFC 5789.
KNOWN_METHODS = frozenset(HTTPMethod)


@cache  # labels() alone takes longer than observe().
def _series(method: str, route: str, status: str) -> Histogram:
    return REQUEST_DURATION.labels(method, route, status)


def instrument(application: WSGIApplication, routes: Container[str]) -> WSGIApplication:
    """Wrap `application` so that its requests are counted (PEP 3333, "Middleware").

    A request is counted before its answer leaves, so that none is answered and not counted. The
    application must call start_response before it returns, which a generator does not.
    """

    def instrumented(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started = perf_counter()
        code = "500"

        def starting(status: str, headers: Headers, exc_info: Any = None, /) -> Any:
            nonlocal code
            code = status[:3]
            return start_response(status, headers, exc_info)

        try:
            return application(environ, starting)
        except BaseException as error:
            # No header has been sent yet, so this is the status of the response.
            code = str(status_of(error))
            raise
        finally:
            method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
            method = method if method in KNOWN_METHODS else "_OTHER"
            route = path if path in routes else ""
            _series(method, route, code).observe(perf_counter() - started)

    return instrumented


def _count_in(slot: int) -> None:
    """Make the series that come into being from now on count in the files of `slot`."""
    values.ValueClass = values.MultiProcessValue(lambda: slot)


def use_slot(slot: int) -> None:
    """Count in `slot`: a worker's first call, before any series exists in its process."""
    _count_in(slot)
    for labels in EXPECTED_SERIES:
        _series(*labels)


class Slots:
    """The arbiter's side: it owns the directory of the files and lends all slots but 0, its own.

    `directory` is made if it is missing, and emptied of the files of an earlier run. Without one
    it is a temporary directory in `parent` (see tempfile), removed by close().
    """

    def __init__(self, directory: Path | None, parent: str | None = None) -> None:
        self.temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="hello-wsgi-", dir=parent))
        self.directory.mkdir(parents=True, exist_ok=True)
        for file in self.directory.glob("*.db"):
            file.unlink()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.directory)
        _count_in(0)
        self.spawned = Counter(
            "gunicorn_workers_spawned_total", "Workers started since gunicorn did.", registry=None
        )

    def lend(self, taken: Container[int]) -> int:
        """Return the lowest slot that is not `taken` by a worker that may still be alive."""
        self.spawned.inc()
        return next(slot for slot in itertools.count(1) if slot not in taken)

    def close(self) -> None:
        """Remove the directory, if it is ours."""
        if self.temporary:
            shutil.rmtree(self.directory, ignore_errors=True)


class Exposition(Collector):
    """What a scrape shows: all slots added up, the arbiter's process, who we are."""

    arbiter = ProcessCollector(pid=os.getppid, registry=None)
    target = InfoMetricFamily("target", "The service that is scraped.", RESOURCE)

    def collect(self) -> Iterator[Metric]:
        """Read the metrics."""
        files = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("*.db")
        # A file is empty for a moment when it is new, and for good if its worker dies just then.
        # In another order their sums might round down, which looks like a restart of the counter.
        written = sorted(str(file) for file in files if file.stat().st_size)
        yield from MultiProcessCollector.merge(written)
        yield from self.arbiter.collect()
        yield from PLATFORM_COLLECTOR.collect()
        yield self.target
