"""Commands as people type them, with a deadline."""

import os
import subprocess
from pathlib import Path

from tests.servers import ROOT

# A make among them is not part of the one that runs the tests.
OF_MAKE = ("MAKEFLAGS", "MAKELEVEL")
ENVIRON = {name: value for name, value in os.environ.items() if name not in OF_MAKE}


def run(
    *command: str, cwd: Path = ROOT, text: str | None = None, stderr: int = subprocess.PIPE
) -> str:
    """Run a command, with `text` on its input; return what it prints, without the last newline."""
    result = subprocess.run(
        command,
        cwd=cwd,
        env=ENVIRON,
        input=text,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, f"{' '.join(command)}: {result.stdout}{result.stderr}"
    return result.stdout.rstrip("\n")


def tracked(*patterns: str) -> list[str]:
    """Return the files that git knows, or would, by their path in the project."""
    known = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    return [name for name in run(*known, *patterns).splitlines() if (ROOT / name).exists()]
