"""What the contract's table can't say of the application."""

from typing import Any

from app.application import application
from tests.inprocess import call


class Untouchable:
    """An input stream that nobody may read."""

    def __getattr__(self, name: str) -> None:
        raise AssertionError(name)


def call_bare(environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], list[bytes]]:
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: Any = None, /) -> Any:
        started.append((status, headers))

    body = list(application(environ, start_response))
    [(status, headers)] = started
    return status, headers, body


def test_a_path_that_is_absent_is_not_found() -> None:
    assert call_bare({"REQUEST_METHOD": "GET"})[0] == "404 Not Found"


def test_a_path_that_is_empty_is_not_found() -> None:
    assert call(application, target="").status == 404


def test_where_the_application_is_mounted_does_not_matter() -> None:
    assert call(application, SCRIPT_NAME="/demo").status == 200


def test_the_body_of_a_request_is_not_read() -> None:
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/hello", "wsgi.input": Untouchable()}
    assert call_bare(environ)[0] == "200 OK"


def test_who_changes_the_headers_changes_those_of_one_answer() -> None:
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/hello"}
    _, headers, _ = call_bare(environ)
    assert type(headers) is list
    headers.clear()
    assert call_bare(environ)[1]


def test_the_environ_is_left_as_it_was() -> None:
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/hello"}
    call_bare(environ)
    assert environ == {"REQUEST_METHOD": "GET", "PATH_INFO": "/hello"}
