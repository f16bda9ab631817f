"""Properties of settings, application and access log for generated input."""

import json
import re
from datetime import timedelta
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

import app.logs
from app.application import application
from app.settings import LOG_LEVELS, Settings
from tests.inprocess import call

NAMES = [name.upper() for name in Settings._fields]
# The environment has no NUL; what is not UTF-8 in it, Python shows as surrogates.
VALUES = st.text(st.characters(exclude_characters="\0"), max_size=300) | st.integers().map(str)
LATIN_1 = st.text(st.characters(max_codepoint=255))
TOKENS = st.from_regex(r"[A-Z!#$%&'*+.^_`|~-]{1,20}", fullmatch=True)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_settings_are_in_their_ranges_or_refused_by_name(environ: dict[str, str]) -> None:
    try:
        settings = Settings.from_environ(environ)
    except ValueError as error:
        refusal = str(error)
    else:
        assert settings.log_level in LOG_LEVELS
        assert 0 <= settings.port <= 65535
        assert 1 <= settings.threads <= 256
        return
    refused = re.fullmatch(r"([A-Z_]+)='?.* is not allowed: it .+", refusal, re.DOTALL)
    assert refused is not None
    assert refused[1] in environ


@given(TOKENS, LATIN_1, LATIN_1)
def test_every_request_is_answered_in_json(method: str, path: str, query: str) -> None:
    answer = call(
        application, method, REQUEST_METHOD=method, PATH_INFO="/" + path, QUERY_STRING=query
    )
    assert answer.status in (200, 404, 405)
    if method != "HEAD":
        assert int(answer.headers["Content-Length"]) == len(answer.body)
        assert json.loads(answer.body)


@given(LATIN_1, LATIN_1, LATIN_1, LATIN_1)
def test_a_request_is_one_line_of_the_log_and_forges_nothing(
    path: str, query: str, agent: str, traceparent: str
) -> None:
    lines: list[bytes] = []
    output = SimpleNamespace(write_line=lambda line, **_: lines.append(line))
    logger = SimpleNamespace(access_enabled=True, handler=SimpleNamespace(output=output))
    request = SimpleNamespace(method="GET", path=path, query=query)
    response = SimpleNamespace(status="200 OK", sent=20)
    environ = {
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_USER_AGENT": agent,
        "HTTP_TRACEPARENT": traceparent,
    }
    app.logs.Logger.access(logger, response, request, environ, timedelta())  # type: ignore[arg-type] # all it reads of them
    [line] = lines[0].decode("ascii").splitlines()
    fields = json.loads(line)
    logged = (fields["path"], fields["query"], fields["user_agent"])
    assert logged in [(path[:size], query[:size], agent[:size]) for size in (256, 64)]
    assert len(lines[0]) <= 4096
    assert fields["status"] == 200
