"""Request parsing: simple requests are parsed as gunicorn's parser parses them."""

import os
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.errors import LimitRequestHeaders, ParseException
from hypothesis import given
from hypothesis import strategies as st

from app.worker.parser import RequestParser, SimpleRequest
from app.worker.request import MAX_HEADER_SECTION
from tests.contract import CONTRACT, TARGET_FORMS
from tests.hostile import LAST, MALFORMED, ODD, mutation
from tests.servers import ROOT

# For a longer run.
MUTATIONS = int(os.environ.get("MUTATIONS", "3000"))
SEED = int(os.environ.get("MUTATIONS_SEED", "1"))
SERVER, CLIENT = ("127.0.0.1", 8000), ("127.0.0.1", 5)
SIMPLE = [
    b"GET /hello HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n",
    b"GET /hello?a=1&b=%20 HTTP/1.1\r\nHost: [::1]:80\r\nConnection: keep-alive\r\nA: b\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8\r\n\r\n",
    b"HEAD /a/b.c;d=e HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes=0-1\r\n\r\nnext",
    b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\ntraceparent: 00-a-b-01\r\n\r\n",
]
PIECES = [
    b"\r", b"\n", b"\r\n", b"\x00", b" ", b":", b": ", b"\t", b"%41", b"#", b"?", b"/", b"//", b"_",
    b"\x7f", b"\xe9", b"Host: y\r\n", b"Content-Length: 5\r\n", b"content-type: a\r\n",
    b"Connection: TE\r\n", b"Connection: Keep-Alive\r\n", b"Expect: 100-continue\r\n", b"X: y\r\n",
    b"x: z\r\n", b"X-Y: z \r\n", b"X_Y: z\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Upgrade: h2c\r\n", b"HTTP/1.0", b"[", b"]", b"\\", b'"', b"<", b"^", b"a" * 5000,
    b"A: b\r\n" * 60,
]  # fmt: skip
# Objects that are made for each request.
IDENTITIES = {"gunicorn.socket", "wsgi.early_hints", "wsgi.errors", "wsgi.input"}
SETTINGS = {
    "http_parser": "python",
    "forwarded_allow_ips": "",
    "forwarder_headers": "",
    "limit_request_line": 8190,
}


def config(**settings: object) -> Config:
    cfg = Config()
    for name, value in (SETTINGS | settings).items():
        cfg.set(name, value)
    return cfg


PARSER, GUNICORN = RequestParser(config(), SERVER), RequestParser(config(), SERVER)
GUNICORN.has_simple_requests = False


def parse(parser: RequestParser, received: bytes) -> tuple[bool, object]:
    """Return whether the request is simple, and everything that a server makes of it."""
    try:
        parsed = parser.parse(received, CLIENT)
    except (ParseException, OSError) as error:
        return False, type(error)
    if parsed is None:
        return False, "incomplete"
    request, rest = parsed
    environ = request.environ
    if environ is None:
        sock: Any = None
        _, environ = wsgi.create(request, sock, CLIENT, SERVER, parser.cfg)
        environ["wsgi.multithread"] = True
    assert environ.keys() >= {"wsgi.errors", "wsgi.input"}
    names = ("method", "uri", "path", "query", "fragment", "version", "headers", "scheme")
    return isinstance(request, SimpleRequest), (
        {key: value for key, value in environ.items() if key not in IDENTITIES},
        [getattr(request, name) for name in (*names, "must_close", "peer_addr", "remote_addr")],
        request.should_close(),
        request.expects_continue,
        request.body_is_collected or request.bytes_of_body(rest) == 0,
        rest,
    )


def is_simple_and_same(received: bytes) -> bool:
    """Assert that both ways agree; return whether the request is simple."""
    is_simple, result = parse(PARSER, received)
    assert result == parse(GUNICORN, received)[1], received
    return is_simple


def simple_mutation(rng: random.Random) -> bytes:
    mutated = bytearray(rng.choice(SIMPLE))
    for _ in range(rng.randint(0, 3)):
        start = rng.randrange(len(mutated) + 1)
        line = mutated.find(b"\r\n", start) + 2
        begin, end, piece = rng.choice(
            [
                (start, start, rng.choice(PIECES)),
                (line, line, rng.choice(PIECES)),
                (start, start + 2, bytes([rng.randrange(256)])),
                (start, start + rng.randint(1, 6), b""),
            ]
        )
        mutated[begin:end] = piece
    return bytes(mutated)


def request_files() -> list[bytes]:
    """Read the requests of gunicorn's own tests, in which only escapes stand for line ends."""
    files = sorted((ROOT / ".venv/gunicorn/tests/requests").glob("*/*.http"))
    assert len(files) > 100, "run make test, which downloads gunicorn's source"
    return [
        re.sub(
            rb"\\(r|n|0[0-7]{2})",
            lambda escape: {b"r": b"\r", b"n": b"\n"}.get(escape[1]) or bytes([int(escape[1], 8)]),
            file.read_bytes().replace(b"\n", b""),
        )
        for file in files
    ]


def contract() -> list[bytes]:
    return [
        f"{exchange.method} {exchange.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        for exchange in CONTRACT + TARGET_FORMS
    ]


@pytest.mark.parametrize(
    ("corpus", "simple"),
    [
        (SIMPLE, len(SIMPLE)),
        (contract(), 10),
        ([message for message, _ in (MALFORMED | LAST | ODD).values()], 1),
        (request_files(), 1),
    ],
    ids=["simple", "contract", "hostile", "gunicorn"],
)
def test_simple_request_is_parsed_as_gunicorn_parses_it(corpus: list[bytes], simple: int) -> None:
    assert sum(map(is_simple_and_same, corpus)) >= simple


@pytest.mark.parametrize(("mutate", "simple"), [(mutation, 1), (simple_mutation, MUTATIONS / 10)])
def test_mutated_request_is_parsed_as_gunicorn_parses_it(
    mutate: Callable[[random.Random], bytes], simple: float
) -> None:
    rng = random.Random(SEED)
    assert sum(is_simple_and_same(mutate(rng)) for _ in range(MUTATIONS)) >= simple


FIELD_NAMES = st.from_regex(r"[A-Za-z_-][A-Za-z0-9!_-]{0,20}", fullmatch=True)
LATIN_1 = st.text(st.characters(max_codepoint=255), max_size=20)
FIELDS = st.lists(st.tuples(FIELD_NAMES, LATIN_1), max_size=4)
TARGETS = st.from_regex(r"/[!-~]{0,20}", fullmatch=True)


@given(st.sampled_from(["GET", "HEAD", "PUT"]), TARGETS, FIELDS)
def test_generated_request_is_parsed_as_gunicorn_parses_it(
    method: str, target: str, fields: list[tuple[str, str]]
) -> None:
    lines = [f"{method} {target} HTTP/1.1", "Host: x", *map(": ".join, fields), "", ""]
    is_simple_and_same("\r\n".join(lines).encode("latin-1"))


@pytest.mark.parametrize(
    ("server", "settings"),
    [
        ("/run/hello.sock", {}),
        (SERVER, {"forwarded_allow_ips": "127.0.0.1"}),
        (SERVER, {"limit_request_line": 1000}),
        (SERVER, {"limit_request_fields": 10}),
        (SERVER, {"limit_request_field_size": 1000}),
    ],
)
def test_setting_that_changes_parsing_disables_simple_requests(
    server: Any, settings: dict[str, object]
) -> None:
    assert not RequestParser(config(**settings), server).has_simple_requests


def test_script_name_disables_simple_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPT_NAME", "/prefix")
    assert not RequestParser(config(), SERVER).has_simple_requests


PIECES_OF_HEADER = st.sampled_from(
    [b"GET /hello HTTP/1.1", b"\r\n", b"\n", b"\r", b"Host: x", b"A", b":", b" ", b"\x00", b"\xff"]
)


@given(st.lists(PIECES_OF_HEADER | st.binary(max_size=3)))
def test_parser_waits_only_for_header_section_that_may_become_valid(pieces: list[bytes]) -> None:
    received = b""
    for piece in pieces:
        received += piece
        try:
            if GUNICORN.parse(received, CLIENT) is not None:
                assert b"\r\n\r\n" in received
                return
        except LimitRequestHeaders:
            raise AssertionError(received) from None  # gunicorn wanted more of a small section
        except ParseException:
            return
        assert len(received) < MAX_HEADER_SECTION


CHUNKS = st.lists(st.binary(min_size=1, max_size=30), max_size=5)


@given(CHUNKS, st.sampled_from([b"", b"A: b\r\n"]), st.integers(1, 20))
def test_end_of_chunked_body_is_found_in_any_segmentation(
    chunks: list[bytes], trailer: bytes, step: int
) -> None:
    body = b"".join(b"%x;a=b\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    body += b"0\r\n" + trailer + b"\r\n"
    header_section = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    parsed = PARSER.parse(header_section, CLIENT)
    assert parsed is not None
    request, _ = parsed
    assert all(request.bytes_of_body(body[:end]) > end for end in range(0, len(body), step))
    assert request.bytes_of_body(body + b"next") <= len(body)
    assert request.collect_body(body + b"next") == b"next"
    assert request.body.read() == b"".join(chunks)
