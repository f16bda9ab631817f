"""The management port's application by itself."""

import pytest

from app.management import management
from tests.inprocess import call
from tests.scrape import parse

pytestmark = pytest.mark.usefixtures("slots")


@pytest.mark.parametrize("target", ["/livez", "/readyz"])
def test_a_probe_is_answered(target: str) -> None:
    answer = call(management, "GET", target)
    assert (answer.status, answer.body) == (200, b'{"status": "ok"}')


@pytest.mark.parametrize("target", ["/livez", "/readyz", "/metrics", "/missing"])
def test_head_is_get_without_a_body(target: str) -> None:
    get, head = call(management, "GET", target), call(management, "HEAD", target)
    assert (head.status, head.body) == (get.status, b"")
    assert head.headers.keys() == get.headers.keys()


@pytest.mark.parametrize("target", ["/", "/hello", "/metrics/", "/livez/", "//readyz"])
def test_any_other_path_is_not_found(target: str) -> None:
    answer = call(management, "GET", target)
    assert (answer.status, answer.body) == (404, b'{"error": "Not Found"}')


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_any_other_method_is_not_allowed(method: str) -> None:
    answer = call(management, method, "/metrics")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_a_query_hides_no_metric() -> None:
    answer = call(management, "GET", "/metrics?name[]=nothing")
    assert {series.name for series in parse(answer.body.decode())} >= {"target_info", "python_info"}
