"""Real containers: what people type to run them, and what they then ask and say."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from tests.client import Answer, request
from tests.servers import eventually
from tests.shell import run

PORT, MANAGEMENT_PORT = 8000, 8001


def docker(*arguments: str) -> str:
    return run("docker", *arguments)


class Container:
    """A running container of the service."""

    def __init__(self, name: str) -> None:
        self.name = name

    def inspect(self) -> dict[str, Any]:
        [found] = json.loads(docker("container", "inspect", self.name))
        return dict(found)

    def published(self, port: int) -> int:
        return int(docker("container", "port", self.name, str(port)).rpartition(":")[2])

    @cached_property
    def port(self) -> int:
        return self.published(PORT)

    @cached_property
    def management_port(self) -> int:
        return self.published(MANAGEMENT_PORT)

    def ask(self, target: str) -> Answer:
        """Ask on the management port."""
        return request(self.management_port, "GET", target)

    def is_ready(self) -> bool:
        try:
            return self.ask("/readyz").status == 200
        except OSError:
            return False

    def health(self) -> str:
        return str(self.inspect()["State"]["Health"]["Status"])

    def eventually_healthy(self) -> None:
        eventually(lambda: self.health() == "healthy")

    def stats(self) -> dict[str, str]:
        """Return what it uses at the moment."""
        return dict(json.loads(docker("stats", "--no-stream", "--format=json", self.name)))

    def signal_workers(self, number: int) -> None:
        """Send a signal to each child of the first process."""
        self.python(
            "import os\n"
            "for pid in open('/proc/1/task/1/children').read().split():\n"
            f"    os.kill(int(pid), {number:d})"
        )

    def python(self, program: str) -> str:
        """Run a program inside: there is no shell to run anything else."""
        return docker("exec", self.name, "python3", "-c", program)

    def log(self) -> list[dict[str, Any]]:
        """Return what it has said, on stdout and stderr alike."""
        lines = run("docker", "logs", self.name, stderr=subprocess.STDOUT).splitlines()
        return [json.loads(line) for line in lines]


@contextmanager
def container(image: str, *options: str) -> Iterator[Container]:
    """Run the service on free ports until it is ready."""
    ports = [f"--publish=127.0.0.1::{port}" for port in (PORT, MANAGEMENT_PORT)]
    name = docker("run", "--detach", *ports, *options, image)
    try:
        started = Container(name)
        eventually(started.is_ready)
        yield started
    finally:
        docker("rm", "--force", "--volumes", name)
