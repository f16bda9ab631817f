"""Clones on Windows, and the Makefile's check of the required versions of Docker."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.markdown import README, table
from tests.servers import ROOT
from tests.shell import ENVIRON, run

MAKEFILE = (ROOT / "Makefile").read_text()
MINIMUM = dict(re.findall(r"^MIN_(\w+) := (.+)$", MAKEFILE, re.MULTILINE))

DOCKER = """#!/bin/sh
case "$1 $2" in
    version*) echo "{ENGINE}" ;;
    "compose version") echo "v{COMPOSE}" ;;
    "buildx version") echo "github.com/docker/buildx v{BUILDX} 0123456" ;;
esac
"""


def check_docker(directory: Path, versions: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run make check-docker with a docker command that prints these versions."""
    program = directory / "docker"
    program.write_text(DOCKER.format(**versions))
    program.chmod(0o755)
    environ = ENVIRON | {"PATH": f"{directory}{os.pathsep}{os.environ['PATH']}"}
    command = ["make", "--no-print-directory", "check-docker"]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_minimum_versions_of_docker_are_accepted(tmp_path: Path) -> None:
    checked = check_docker(tmp_path, MINIMUM)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "component", "version"),
    [
        ("ENGINE", "Docker Engine", "24.0.9"),
        ("COMPOSE", "Docker Compose", "2.9.0"),
        ("BUILDX", "Docker Buildx", "0.9.1"),
    ],
)
def test_older_docker_aborts_with_one_line_error(
    tmp_path: Path, name: str, component: str, version: str
) -> None:
    checked = check_docker(tmp_path, MINIMUM | {name: version})
    assert checked.returncode != 0
    required = f"{component} {MINIMUM[name]} or newer is required, and found {version}"
    assert checked.stderr.splitlines()[0] == required


def test_missing_engine_aborts_with_one_line_error(tmp_path: Path) -> None:
    checked = check_docker(tmp_path, MINIMUM | {"ENGINE": ""})
    assert checked.returncode != 0
    required = f"Docker Engine {MINIMUM['ENGINE']} or newer is required, and was not found"
    assert checked.stderr.splitlines()[0] == required


def test_requirements_in_readme_are_those_of_makefile() -> None:
    versions = {row[0]: row[1] for row in table(README, "Python")}
    shown = {name: versions[f"Docker {name.title()}"] for name in MINIMUM}
    assert shown == MINIMUM


def test_clone_on_windows_has_unix_line_endings(tmp_path: Path) -> None:
    windows = ("-c", "core.autocrlf=true", "-c", "core.eol=crlf")
    run("git", *windows, "clone", "--quiet", str(ROOT), str(tmp_path / "clone"))
    text = run("git", "grep", "-I", "--files-with-matches", "", cwd=tmp_path / "clone").splitlines()
    assert {"Makefile", ".ci/run"} <= {*text}
    assert [name for name in text if b"\r" in (tmp_path / "clone" / name).read_bytes()] == []
