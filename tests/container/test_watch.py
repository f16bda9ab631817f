"""Does `docker compose watch` follow an edit?"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.client import DEADLINE, request
from tests.docker import PORT
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
def compose(project: Path) -> Iterator[tuple[str, ...]]:
    """Return how compose is called there."""
    files = [
        f"--file={project}/{name}" for name in ("docker-compose.yml", "tests/container/ports.yml")
    ]
    command = ("docker", "compose", "--project-name=hello-wsgi-watch", *files)
    try:
        yield command
    finally:
        run(*command, "down", "--volumes", "--timeout=5")
        run("docker", "image", "rm", "--force", IMAGE)


def test_watch_follows_an_edit(compose: tuple[str, ...], project: Path) -> None:
    def hello() -> bytes:
        # The container that is asked may be the one that is being replaced.
        with suppress(OSError, AssertionError):
            port = run(*compose, "port", "app", str(PORT)).rpartition(":")[2]
            return request(int(port), "GET", "/hello").body
        return b""

    run(*compose, "up", "--detach", "--wait", "app")
    assert hello() == b'{"message": "hello"}'
    with subprocess.Popen(
        (*compose, "watch", "app"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as watch:
        try:
            assert any("Watch enabled" in line for line in watch.stdout or ())
            source = project / "app/application.py"
            source.write_text(source.read_text().replace('"hello"}', '"edited"}'))
            eventually(lambda: hello() == b'{"message": "edited"}')
        finally:
            watch.terminate()
            watch.communicate(timeout=DEADLINE)
