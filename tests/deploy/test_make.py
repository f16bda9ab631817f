"""Required versions of programs, checked by the Makefile, and clones on Windows."""

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

PROGRAMS = """#!/bin/sh
case "$(basename "$0") $1 $2" in
    "docker version"*) echo "{ENGINE}" ;;
    "docker compose version") echo "v{COMPOSE}" ;;
    "docker buildx version") echo "github.com/docker/buildx v{BUILDX} 0123456" ;;
    "kubectl version"*) echo "Client Version: v{KUBECTL}" ;;
esac
"""


def make(directory: Path, target: str, versions: dict[str, str]) -> tuple[int, str]:
    """Run make with programs of these versions; return the exit status and the first error line."""
    for name in ("docker", "kubectl", "kind"):
        program = directory / name
        program.write_text(PROGRAMS.format(**versions))
        program.chmod(0o755)
    environ = ENVIRON | {"PATH": f"{directory}{os.pathsep}{os.environ['PATH']}"}
    command = ["make", "--no-print-directory", target]
    made = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30, check=False
    )
    return made.returncode, made.stderr.partition("\n")[0]


def test_minimum_versions_of_docker_are_accepted(tmp_path: Path) -> None:
    assert make(tmp_path, "check-docker", MINIMUM) == (0, "")


@pytest.mark.parametrize(
    ("target", "name", "program", "version"),
    [
        ("check-docker", "ENGINE", "Docker Engine", ""),
        ("check-docker", "ENGINE", "Docker Engine", "24.0.9"),
        ("up", "COMPOSE", "Docker Compose", "2.9.0"),
        ("push", "BUILDX", "Docker Buildx", "0.9.1"),
        ("kind-up", "KUBECTL", "kubectl", "1.9.0"),
    ],
)
def test_older_program_aborts_with_one_line_error(
    tmp_path: Path, target: str, name: str, program: str, version: str
) -> None:
    found = version or "none"
    error = f"{program} {MINIMUM[name]} or newer is required, found: {found}"
    assert make(tmp_path, target, MINIMUM | {name: version}) == (2, error)


def test_requirements_in_readme_are_those_of_makefile() -> None:
    versions = {row[0]: row[1] for row in table(README, "Python")}
    names = {"KUBECTL": "kubectl"}
    shown = {name: versions[names.get(name, f"Docker {name.title()}")] for name in MINIMUM}
    assert shown == MINIMUM


def test_clone_on_windows_has_unix_line_endings(tmp_path: Path) -> None:
    windows = ("-c", "core.autocrlf=true", "-c", "core.eol=crlf")
    run("git", *windows, "clone", "--quiet", str(ROOT), str(tmp_path / "clone"))
    text = run("git", "grep", "-I", "--files-with-matches", "", cwd=tmp_path / "clone").splitlines()
    assert {"Makefile", ".ci/run"} <= {*text}
    assert [name for name in text if b"\r" in (tmp_path / "clone" / name).read_bytes()] == []
