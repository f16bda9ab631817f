"""Whatever bytes come, the service answers as HTTP has it or closes, and lives on."""

import json
import os
import random
import signal

import pytest

from tests.client import CLOSING_GET, connect, read_to_end
from tests.contract import HELLO
from tests.hostile import LAST, MALFORMED, ODD, exchange, mutation, statuses
from tests.servers import Gunicorn, gunicorn

# For a longer run than that of each day.
MUTATIONS = int(os.environ.get("MUTATIONS", "1500"))
SEED = int(os.environ.get("MUTATIONS_SEED", "1"))

REASONS = {
    400: "Bad Request",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
}


def by_case(cases: dict[str, tuple[bytes, int]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("message", "status"), cases.values(), ids=cases)


@by_case(MALFORMED)
@pytest.mark.parametrize("port", ["port", "management_port"])
def test_what_is_not_http_is_answered_in_json_and_closed(
    service: Gunicorn, port: str, message: bytes, status: int
) -> None:
    with connect(getattr(service, port)) as connection:
        connection.sendall(message + CLOSING_GET)
        head, body = read_to_end(connection).split(b"\r\n\r\n")
    reason = REASONS[status]
    # The whole answer is known: so nothing of the request is in it.
    assert json.loads(body) == {"error": reason}
    lines = head.decode("ascii").split("\r\n")
    assert lines[0] == f"HTTP/1.1 {status} {reason}"
    assert lines[2].startswith("Date: ")
    assert [lines[1], *lines[3:]] == [
        "Server: gunicorn",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]


@by_case(LAST)
def test_what_leaves_the_next_request_in_doubt_is_the_last_of_its_connection(
    service: Gunicorn, message: bytes, status: int
) -> None:
    assert statuses(exchange(service.port, message + CLOSING_GET)) == [status]


@by_case(ODD)
def test_what_is_odd_but_http_is_answered_and_so_is_the_next(
    service: Gunicorn, message: bytes, status: int
) -> None:
    answers = exchange(service.port, message + CLOSING_GET)
    assert statuses(answers) == [status, 200]
    assert answers.endswith(HELLO)


def test_no_mutation_of_a_request_makes_more_than_an_answer_or_an_end() -> None:
    rng = random.Random(SEED)
    with gunicorn(workers=1, CLIENT_HEADER_TIMEOUT="1") as server:
        workers = server.workers()
        for _ in range(MUTATIONS):
            message = mutation(rng) + CLOSING_GET
            for status in statuses(exchange(server.port, message)):
                assert status < 500 or status == 501, message
        assert server.ask("/livez").status == 200
        assert server.workers() == workers
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert {line["level"] for line in server.log()} == {"info", "warning"}
    assert server.stderr == [], server.stdout[-4:]
