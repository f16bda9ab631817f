"""Prometheus metrics of the service, in a bounded number of time series.

They stay exact when workers are killed: see app/shared_memory.py.
"""

import os
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from functools import cache
from http import HTTPMethod
from time import perf_counter
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import PLATFORM_COLLECTOR, Histogram, ProcessCollector
from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from app import __version__
from app.shared_memory import Series, Value, parse_key
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
# Initialised to 0: rate() cannot see the first increment of a series that did not exist.
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


def initialise() -> None:
    """Create the expected series; called in each worker before its first request."""
    for labels in EXPECTED_SERIES:
        _series(*labels)


def merge(slots: Iterable[tuple[bytes, float]]) -> Iterable[Metric]:
    """Add up the values of the slots, and the buckets of each histogram.

    After a reload with edited metrics, a slot may contain several documentations of a metric, of
    which the last one is used, and buckets in any order.
    """
    totals: dict[Series, float] = defaultdict(float)
    documentation: dict[str, str] = {}
    for key, value in slots:
        series, documentation[series.metric] = parse_key(key)
        totals[series] += value
    metrics: dict[str, Metric] = {}
    cumulative: dict[Any, float] = defaultdict(float)
    for series, value in sorted(totals.items(), key=order):
        type_, name, sample, labels, le = series
        metric = metrics.setdefault(name, Metric(name, documentation[name], type_))
        if not le:
            metric.add_sample(sample, dict(labels), value)
            continue
        cumulative[name, labels] += value
        metric.add_sample(sample, dict(labels) | {"le": le}, cumulative[name, labels])
        if le == "+Inf":
            metric.add_sample(f"{name}_count", dict(labels), cumulative[name, labels])
    return metrics.values()


def order(item: tuple[Series, float]) -> Any:
    """Return the sort key of a time series: the buckets of a histogram ascend."""
    series, _ = item
    return series.metric, series.labels, float(series.le or "-inf")


class Exposition(Collector):
    """Content of a scrape: the sums of all slots, the master process, the service."""

    master = ProcessCollector(pid=os.getppid, registry=None)
    target = InfoMetricFamily("target", "The service that is scraped.", RESOURCE)

    def collect(self) -> Iterator[Metric]:
        """Read the metrics."""
        yield from merge(Value.slots.read())
        yield from self.master.collect()
        yield from PLATFORM_COLLECTOR.collect()
        yield self.target
