"""The middleware by itself, counting in memory."""

import itertools
from typing import Any

import pytest

from app.application import ROUTES, application
from app.metrics import KNOWN_METHODS, REQUEST_DURATION, instrument
from tests.inprocess import call

instrumented = instrument(application, ROUTES)


def count(method: str, route: str, status: str) -> float:
    """Return the number of requests so far."""
    labels = {
        "http_request_method": method,
        "http_route": route,
        "http_response_status_code": status,
    }
    return sum(
        sample.value
        for metric in REQUEST_DURATION.collect()
        for sample in metric.samples
        if sample.name.endswith("_count") and sample.labels == labels
    )


@pytest.mark.parametrize(
    ("method", "target", "labels"),
    [
        ("GET", "/hello", ("GET", "/hello", "200")),
        ("HEAD", "/hello?q", ("HEAD", "/hello", "200")),
        ("POST", "/hello", ("POST", "/hello", "405")),
        ("BREW", "/hello", ("_OTHER", "/hello", "405")),
        ("GET", "/missing", ("GET", "", "404")),
        ("BREW", "/missing", ("_OTHER", "", "404")),
    ],
)
def test_a_request_is_counted_once_by_method_route_and_status(
    method: str, target: str, labels: tuple[str, str, str]
) -> None:
    before = count(*labels)
    assert str(call(instrumented, method, target).status) == labels[2]
    assert count(*labels) == before + 1


def test_a_request_is_counted_before_its_answer_leaves() -> None:
    before = count("GET", "/hello", "200")
    environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "PATH_INFO": "/hello"}
    answer = instrumented(environ, lambda *_: print)
    assert count("GET", "/hello", "200") == before + 1
    assert list(answer)


@pytest.mark.parametrize("started", [False, True])
def test_a_request_that_raises_is_counted_as_500(*, started: bool) -> None:
    def raising(_: Any, start_response: Any) -> list[bytes]:
        if started:
            start_response("200 OK", [("Content-Type", "text/plain")])
        raise RuntimeError

    before = count("GET", "/hello", "500")
    with pytest.raises(RuntimeError):
        call(instrument(raising, ROUTES))
    assert count("GET", "/hello", "500") == before + 1


def test_exc_info_and_write_pass_through() -> None:
    passed: list[Any] = []

    def start_response(*arguments: Any) -> Any:
        passed.append(arguments)
        return "write"

    def answering(_: Any, start_response: Any) -> list[bytes]:
        assert start_response("200 OK", []) == "write"
        assert start_response("500 Oh", [], "exc_info") == "write"
        return []

    environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "PATH_INFO": "/hello"}
    instrument(answering, ROUTES)(environ, start_response)
    assert passed == [("200 OK", [], None), ("500 Oh", [], "exc_info")]


@pytest.mark.usefixtures("slots")
def test_closed_set_of_series_fits_into_slot(caplog: pytest.LogCaptureFixture) -> None:
    statuses = ("200", "400", "404", "405", "408", "500")
    for labels in itertools.product((*KNOWN_METHODS, "_OTHER"), (*ROUTES, ""), statuses):
        REQUEST_DURATION.labels(*labels)
    assert caplog.messages == []
