"""Is what README.md teaches true of the code, and of what it prints?"""

import re
from typing import Any

import pytest

from tests.client import connect, read_answer
from tests.contract import HELLO
from tests.inprocess import call
from tests.markdown import README, Fence, fences
from tests.servers import ROOT, learners_server

ALONE, *EXCERPTS = fences(README, "python")
[MESSAGE] = fences(README, "http")
TRACE = fences(README, "text")
SOURCES = [path.read_text() for path in (ROOT / "app").glob("*.py")]


def pieces(text: str) -> list[str]:
    """Return what stands between the lines that say that something is left out."""
    return re.split(r"^ *\.\.\.\n", text, flags=re.MULTILINE)


def test_the_whole_application_is_one() -> None:
    names: dict[str, Any] = {}
    exec(ALONE.text, names)  # noqa: S102 -- it is our own
    answer = call(names["application"])
    assert (answer.status, answer.body) == (200, HELLO)
    assert answer.headers["Content-Length"] == str(len(HELLO))


@pytest.mark.parametrize("excerpt", EXCERPTS, ids=lambda excerpt: f"line {excerpt.line}")
def test_an_excerpt_is_what_stands_in_the_code(excerpt: Fence) -> None:
    assert any(all(piece in source for piece in pieces(excerpt.text)) for source in SOURCES)


def test_the_trace_is_what_the_server_prints() -> None:
    with learners_server("--trace") as (server, port):
        message = MESSAGE.text.replace("localhost:8000", f"localhost:{port}").replace("\n", "\r\n")
        with connect(port) as connection:
            connection.sendall(message.encode())
            assert read_answer(connection).body == HELLO
        server.wait_until(lambda: server.stdout[-1].startswith("the application returns"))
        printed = "\n".join([*server.stdout[2:], ""]).replace(str(port), "8000")
    for fence in TRACE:
        for piece in pieces(fence.text):
            before, found, printed = printed.partition(piece)
            assert found, f"{piece} is not in {before}"
