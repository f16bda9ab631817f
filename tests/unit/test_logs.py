"""The logger by itself: levels, tracebacks, what Python says."""

import json
import logging
import os
import re
import select
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from gunicorn.config import Config

from app.logs import Logger

LEVELS = ["debug", "info", "warning", "error", "critical"]
Make = Callable[[str], Logger]


@pytest.fixture
def make_logger() -> Iterator[Make]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]

    def make(loglevel: str) -> Logger:
        # Else basicConfig would close those of pytest.
        root.handlers.clear()
        config = Config()
        config.set("loglevel", loglevel)
        return Logger(config)

    yield make
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out, err = capfd.readouterr()
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


class Request:
    method, path, query = "GET", "/hello", ""


class Response:
    status, sent = "200 OK", 20


def access(logger: Logger, seconds: float = 0.25, **environ: Any) -> None:
    full = {"REMOTE_ADDR": "127.0.0.1"} | environ
    logger.access(Response(), Request(), full, timedelta(seconds=seconds))  # type: ignore[arg-type] # all it reads of them


@pytest.mark.parametrize("level", LEVELS)
def test_the_log_level_is_the_lowest_that_is_logged(
    make_logger: Make, capfd: pytest.CaptureFixture[str], level: str
) -> None:
    logger = make_logger(level)
    for each in LEVELS:
        getattr(logger, each)("a message")
        logging.getLogger("of.someone.else").log(logging.getLevelNamesMapping()[each.upper()], "m")
    logged = [line["level"] for line in lines(capfd)]
    assert logged == [each for each in LEVELS[LEVELS.index(level) :] for _ in range(2)]


@pytest.mark.parametrize("level", LEVELS)
def test_requests_are_logged_at_info(
    make_logger: Make, capfd: pytest.CaptureFixture[str], level: str
) -> None:
    access(make_logger(level))
    assert len(lines(capfd)) == (level in ("debug", "info"))


@pytest.mark.parametrize(("seconds", "logged"), [(0.25, 0.25), (-3600, 0)])
def test_duration_is_in_seconds_and_not_negative(
    make_logger: Make, capfd: pytest.CaptureFixture[str], seconds: float, logged: float
) -> None:
    access(make_logger("info"), seconds)
    assert lines(capfd)[0]["duration"] == logged


def test_a_message_is_one_line(make_logger: Make, capfd: pytest.CaptureFixture[str]) -> None:
    text = 'first\nsecond\r\x00\x1b[2J \u2028 "quoted" é'
    make_logger("info").info("%s", text)
    [line] = lines(capfd)
    assert line["message"] == text
    assert set(line) == {"time", "level", "logger", "message"}


def test_a_long_message_is_cut(make_logger: Make, capfd: pytest.CaptureFixture[str]) -> None:
    make_logger("info").info("a" * 10000)
    [line] = lines(capfd)
    assert line["message"] == "a" * 1024


def test_a_flood_of_warnings_and_errors_is_cut_to_some_a_second(
    make_logger: Make, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = make_logger("debug")
    for now in (1000.0, 1000.9, 1001.0):
        monkeypatch.setattr("time.time", lambda now=now: now)
        monkeypatch.setattr("time.time_ns", lambda now=now: int(now * 1e9))
        for _ in range(8):
            logger.warning("a warning")
            logger.error("an error")
            logger.info("a word")
    logged = lines(capfd)
    assert [line["level"] for line in logged].count("info") == 24
    faults = [line for line in logged if line["level"] != "info"]
    assert [line["time"][17:19] for line in faults] == ["40"] * 10 + ["41"] * 10
    # Of 32 in the first second, 10 were logged.
    assert [line.get("dropped", 0) for line in faults] == [0] * 10 + [22] + [0] * 9


def test_a_traceback_is_a_field(make_logger: Make, capfd: pytest.CaptureFixture[str]) -> None:
    logger = make_logger("info")
    try:
        int("first\nsecond")
    except ValueError:
        logger.exception("a fault")
    [line] = lines(capfd)
    assert line["message"] == "a fault"
    assert line["traceback"].startswith("Traceback (most recent call last):\n")
    assert "ValueError: invalid literal" in line["traceback"]


def fail(depth: int, message: str) -> None:
    if depth == 0:
        raise ValueError(message)
    fail_differently(depth - 1, message)


def fail_differently(depth: int, message: str) -> None:
    fail(depth, message)


@pytest.mark.parametrize("depth", [0, 8, 300])
@pytest.mark.parametrize("message", ["short", "é" * 5000, "\N{GRINNING FACE}" * 5000])
def test_line_of_long_traceback_fits_into_pipe_buf_and_has_first_and_last_frames(
    make_logger: Make, capfd: pytest.CaptureFixture[str], depth: int, message: str
) -> None:
    try:
        fail(depth, message)
    except ValueError:
        make_logger("info").exception(message)
    out, _ = capfd.readouterr()
    [line] = out.splitlines()
    traceback = json.loads(line)["traceback"]
    assert len(line) < select.PIPE_BUF
    assert traceback.startswith("Traceback (most recent call last):\n  File ")
    assert "test_logs.py" in traceback.splitlines()[1]
    assert f"ValueError: {message[:20]}" in traceback
    frames = traceback.count("  File ")
    omitted = re.search(r"\.\.\. (\d+) frames omitted \.\.\.", traceback)
    assert frames + int(omitted[1] if omitted else 0) == 2 * depth + 2
    assert frames > 3 or depth == 0


def test_a_warning_of_python_is_a_line(
    make_logger: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        make_logger("info")
        warnings.warn("an old way", DeprecationWarning, stacklevel=1)
        # Within the block, which puts back what both have replaced.
        logging.captureWarnings(capture=False)
    [line] = lines(capfd)
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert "DeprecationWarning: an old way" in line["message"]


def test_a_reload_does_not_log_twice(make_logger: Make, capfd: pytest.CaptureFixture[str]) -> None:
    logger = make_logger("info")
    logger.setup(logger.cfg)
    logger.info("a message")
    assert len(lines(capfd)) == 1


def test_reload_keeps_number_of_dropped_warnings(
    make_logger: Make, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = make_logger("info")
    for now in (1000.0, 1001.0):
        monkeypatch.setattr("time.time", lambda now=now: now)
        monkeypatch.setattr("time.time_ns", lambda now=now: int(now * 1e9))
        for _ in range(12):
            logger.warning("a warning")
        logger.setup(logger.cfg)
    assert [line.get("dropped", 0) for line in lines(capfd)] == [0] * 10 + [2] + [0] * 9


def test_a_log_that_cannot_be_written_fails_no_request(
    make_logger: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = os.open(os.devnull, os.O_WRONLY)
    os.close(closed)
    monkeypatch.setattr("app.logs.STDOUT", closed)
    access(make_logger("info"))
