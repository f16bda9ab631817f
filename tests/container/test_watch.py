"""`docker compose watch`."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.client import DEADLINE, request
from tests.container.stack import Stack
from tests.servers import ROOT, eventually
from tests.shell import run

IMAGE = "hello-wsgi:watched"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Copy the project, to be edited; its image has another name, to leave ours as it is."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", ".*_cache", "build"))
    file = copy / "docker-compose.yml"
    file.write_text(file.read_text().replace("hello-wsgi:dev", IMAGE))
    return copy


@pytest.fixture
def stack(project: Path) -> Iterator[Stack]:
    try:
        with Stack("hello-wsgi-watch", project).up("app") as stack:
            yield stack
    finally:
        run("docker", "image", "rm", "--force", IMAGE)


def test_watch_follows_an_edit(stack: Stack, project: Path) -> None:
    def hello() -> bytes:
        # The container is being replaced: there may be none, or two.
        with suppress(OSError, AssertionError, ValueError):
            return request(stack.container("app").port, "GET", "/hello").body
        return b""

    assert hello() == b'{"message": "hello"}'
    with subprocess.Popen(
        (*stack.command, "watch", "app"),
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as watch:
        try:
            assert any("Watch enabled" in line for line in watch.stdout or ())
            source = project / "app/application.py"
            source.write_text(source.read_text().replace('"hello"}', '"edited"}'))
            eventually(lambda: hello() == b'{"message": "edited"}')
        finally:
            watch.terminate()
            watch.communicate(timeout=DEADLINE)
