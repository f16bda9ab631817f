"""Section "Use it as a template" of README.md, applied to a copy, whose tests then run."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.client import DEADLINE
from tests.markdown import README, fences
from tests.servers import ROOT
from tests.shell import run, tracked

[DIFF] = fences(README, "diff")
[RENAME] = [fence for fence in fences(README, "console") if "git mv" in fence.text]
COMMANDS = [line.removeprefix("$ ") for line in RENAME.text.splitlines()]
# Tests that know the name of the service, or its endpoints.
TESTS = ["tests/unit", "tests/deploy", "tests/docs", "tests/server/test_contract.py"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a repository with what git knows of ours, as it is."""
    for name in tracked():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    if (ROOT / ".mypy_cache").is_dir():
        # It spares the check of the packages.
        shutil.copytree(ROOT / ".mypy_cache", tmp_path / ".mypy_cache")
    # make uses our environment, and, as these look older than it, leaves it as it is.
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    for lock in tmp_path.glob("requirements*.txt"):
        os.utime(lock, (0, 0))
    run("git", "init", "--quiet", cwd=tmp_path)
    run("git", "add", "--all", cwd=tmp_path)
    author = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    run("git", *author, "commit", "--quiet", "--message=As it is", cwd=tmp_path)
    return tmp_path


@pytest.mark.timeout(4 * DEADLINE)
def test_a_copy_with_another_name_and_one_more_endpoint_passes_lint_and_tests(copy: Path) -> None:
    for command in COMMANDS:
        run("bash", "-c", command, cwd=copy)
    run("git", "apply", "-", text=DIFF.text, cwd=copy)
    run("make", "lint", cwd=copy)
    names = run("git", "grep", "--ignore-case", "--name-only", "-E", "hello[-_]?wsgi", cwd=copy)
    assert names == "LICENSE"
    run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *TESTS, cwd=copy)
