"""The service and Prometheus, started by compose on free ports."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.client import request
from tests.docker import Container
from tests.servers import ROOT
from tests.shell import run

PORTS = ("", "MANAGEMENT_", "PROMETHEUS_")
FREE_PORTS = ("env", *(f"PUBLISHED_{name}PORT=0" for name in PORTS))


class Stack:
    """Containers of one compose project.

    `directory` has the project's files, `files` are read after docker-compose.yml.
    """

    def __init__(self, project: str, directory: Path = ROOT, files: tuple[Path, ...] = ()) -> None:
        self.directory = directory
        names = ("docker-compose.yml", *map(str, files))
        options = (f"--project-name={project}", *(f"--file={name}" for name in names))
        self.command = (*FREE_PORTS, "docker", "compose", *options)

    def compose(self, *arguments: str) -> str:
        return run(*self.command, *arguments, cwd=self.directory)

    @contextmanager
    def up(self, *arguments: str) -> Iterator["Stack"]:
        """Run the containers until the block ends."""
        try:
            self.compose("up", "--build", "--detach", "--wait", *arguments)
            yield self
        finally:
            self.down()

    def down(self) -> None:
        self.compose("down", "--volumes", "--timeout=5")

    def containers(self, service: str) -> list[Container]:
        return [Container(name) for name in self.compose("ps", "-a", "-q", service).split()]

    def container(self, service: str) -> Container:
        [found] = self.containers(service)
        return found

    @cached_property
    def prometheus(self) -> int:
        """Published port of Prometheus."""
        return self.container("prometheus").published(9090)

    def api(self, path: str, **parameters: str) -> Any:
        """Return the data of a response of Prometheus's HTTP API."""
        target = f"/api/v1/{path}?{urlencode(parameters)}"
        answer = json.loads(request(self.prometheus, "GET", target).body)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[float]:
        """Return the values of an instant vector without NaN."""
        found = self.api("query", query=expression)["result"]
        values = [float(series["value"][1]) for series in found]
        return [value for value in values if not math.isnan(value)]

    def alerts(self) -> dict[str, Any]:
        return {alert["labels"]["alertname"]: alert for alert in self.api("alerts")["alerts"]}
