"""Do the commands of README.md work as they are written? `make readme` runs them, in their order.

Each is run in the project's folder, on the ports that README names, and has to print what README
shows below it. A server runs until the block after it, which asks it in another terminal, is over.
"""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import IO

import pytest

from tests.client import DEADLINE, request
from tests.markdown import README, Fence, fences
from tests.servers import ROOT, eventually
from tests.shell import ENVIRON, run

PORTS = (8000, 8001, 8002, 9090)
SERVERS = ("make run", "python3 -m app", ".venv/bin/gunicorn", "docker run", "pipx run")
# What is run by others, and the file in which it stands.
ELSEWHERE = (
    ("make test", ROOT / ".ci/run"),
    ("make kind-up", ROOT / ".github/workflows/ci.yml"),
)
# What is done to a copy: see test_example.py.
BLOCKS = [block for block in fences(README, "console") if "git mv" not in block.text]
# What is another each time: the date, the time of a sample, and the version of a Python.
VARYING = r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT|(?<=\[)[\d.]+(?=,)|CPython/[\d.]+"
# pipx is at hand after `make readme`, as what README says that one has.
ENVIRON["PATH"] += f":{ROOT}/.venv/bin"
SHELL = ("bash", "-c")


def matches(shown: str, printed: str) -> bool:
    """Tell if that was printed: `...` stands for any lines, what varies for its like."""
    lines = re.sub(VARYING, "VARYING", shown).splitlines(keepends=True)
    pattern = "".join(r"(.*\n)*" if line == "...\n" else re.escape(line) for line in lines)
    return re.fullmatch(pattern, re.sub(VARYING, "VARYING", printed)) is not None


class Terminal:
    """A terminal with a server in it."""

    def __init__(self, command: str, shown: str, output: IO[str]) -> None:
        self.output = output
        self.port = int((re.findall(r"localhost:(\d+)", command) or ["8000"])[0])
        assert not self.answers(), f"{command}: port {self.port} is taken"
        self.process = subprocess.Popen(
            [*SHELL, command],
            cwd=ROOT,
            env=ENVIRON,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            eventually(lambda: self.answers() or self.process.poll() is not None)
            assert self.process.poll() is None, self.printed()
            assert matches(f"{shown}...\n", self.printed())
        except AssertionError:
            self.interrupt()
            raise

    def answers(self) -> bool:
        with suppress(OSError, HTTPException):
            return request(self.port, "GET", "/hello").status == 200
        return False

    def printed(self) -> str:
        return Path(self.output.name).read_text()

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(DEADLINE)


class Terminals:
    """The one with a server, if there is one, and those for what ends by itself."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server: Terminal | None = None

    def run(self, block: Fence) -> None:
        before, self.server = self.server, None
        try:
            for step in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, shown = step.partition("\n")
                if command.startswith(SERVERS):
                    with (self.directory / "output").open("w") as output:
                        self.server = Terminal(command, shown, output)
                elif found := [file for other, file in ELSEWHERE if command == other]:
                    assert command in found[0].read_text()
                else:
                    printed = run(*SHELL, command)
                    assert not shown or matches(shown, printed + "\n"), printed
        finally:
            if before:
                before.interrupt()


@pytest.fixture(scope="module")
def terminals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminals]:
    for port in PORTS:
        with socket.socket() as probe:
            free = probe.connect_ex(("127.0.0.1", port)) != 0
        assert free, f"make readme needs port {port}, and something listens there"
    terminals = Terminals(tmp_path_factory.mktemp("terminals"))
    try:
        yield terminals
    finally:
        if terminals.server:
            terminals.server.interrupt()
        run("make", "down")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"line {block.line}")
def test_a_block_of_commands_does_what_is_written(block: Fence, terminals: Terminals) -> None:
    terminals.run(block)
