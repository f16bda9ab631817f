"""The contract, whoever calls the application: the tests, wsgiref, gunicorn."""

from collections.abc import Callable, Iterator

import pytest

from app.application import application
from tests.client import Answer, request
from tests.contract import CONTRACT, TARGET_FORMS, Exchange
from tests.inprocess import call
from tests.servers import Gunicorn, learners_server

Ask = Callable[[str, str], Answer]

by_fact = pytest.mark.parametrize("exchange", CONTRACT, ids=lambda exchange: exchange.fact)
by_form = pytest.mark.parametrize("exchange", TARGET_FORMS, ids=lambda exchange: exchange.fact)


@pytest.fixture(scope="module")
def wsgiref_port() -> Iterator[int]:
    with learners_server() as (_, port):
        yield port


@pytest.fixture(params=["application", "wsgiref", "gunicorn"])
def caller(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ask(caller: str, service: Gunicorn, wsgiref_port: int) -> Ask:
    if caller == "application":
        return lambda method, target: call(application, method, target)
    port = service.port if caller == "gunicorn" else wsgiref_port
    return lambda method, target: request(port, method, target)


def expected_status(exchange: Exchange, caller: str) -> int:
    return exchange.wsgiref if caller == "wsgiref" and exchange.wsgiref else exchange.status


@by_fact
def test_the_answer_is_that_of_the_contract(exchange: Exchange, ask: Ask, caller: str) -> None:
    answer = ask(exchange.method, exchange.target)
    assert answer.status == expected_status(exchange, caller)
    if answer.status == exchange.status:
        assert answer.body == exchange.body
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers.get("Allow") == ("GET, HEAD" if answer.status == 405 else None)
        assert "Transfer-Encoding" not in answer.headers


@pytest.mark.parametrize("target", ["/hello", "/"])
def test_head_has_the_headers_of_get(target: str, ask: Ask) -> None:
    get, head = ask("GET", target), ask("HEAD", target)
    for answer in (get, head):
        answer.headers.pop("Date", None)
    assert head == get._replace(body=b"")
    assert head.headers["Content-Length"] == str(len(get.body))


@by_form
def test_gunicorn_reads_each_form_of_a_target(exchange: Exchange, service: Gunicorn) -> None:
    answer = request(service.port, exchange.method, exchange.target)
    assert (answer.status, answer.body) == (exchange.status, exchange.body)


@by_form
def test_wsgiref_differs_where_the_contract_says_so(exchange: Exchange, wsgiref_port: int) -> None:
    assert request(wsgiref_port, exchange.method, exchange.target).status == exchange.wsgiref
