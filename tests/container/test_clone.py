"""Clones whose location, modes and history differ from a developer's."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.container.stack import FREE_PORTS, Stack
from tests.docker import docker
from tests.servers import ROOT, eventually
from tests.shell import run, tracked

PROJECT = "hello-wsgi-clone"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Copy the tracked files to a path with a space, readable only by their owner."""
    directory = tmp_path / "a clone"
    before = os.umask(0o077)
    try:
        for name in tracked():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, directory / name)
    finally:
        os.umask(before)
    return directory


@pytest.mark.parametrize("repository", [False, True], ids=["no repository", "no commits"])
def test_make_up_works_in_private_clone_without_commits(clone: Path, *, repository: bool) -> None:
    if repository:
        run("git", "init", "--quiet", cwd=clone)
    stack = Stack(PROJECT, clone)
    make = (*FREE_PORTS, f"COMPOSE_PROJECT_NAME={PROJECT}", "make", "up")
    try:
        printed = run(*make, cwd=clone, stderr=subprocess.STDOUT)
        assert "fatal" not in printed
        assert f"service:    http://localhost:{stack.container('app').port}/hello" in printed
        eventually(lambda: stack.query('sum(up{job="hello-wsgi"})') == [1])
        labels = stack.container("app").inspect()["Config"]["Labels"]
        assert labels["org.opencontainers.image.revision"] == "unknown"
    finally:
        stack.down()
        docker("image", "rm", "--force", f"{PROJECT}-prometheus")
