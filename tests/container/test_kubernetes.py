"""Does the pod of the local overlay run? Its specification, read as options of `docker run`."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from threading import Event

import pytest

from tests.client import ask_at_once
from tests.container.conftest import Report
from tests.docker import Container, container, docker
from tests.kubernetes import container_port, environ, mebibytes, overlay, pod
from tests.scrape import labels, scrape, value

POD = pod(overlay("local"))
[SPEC] = POD["containers"]
SECURITY = POD["securityContext"] | SPEC["securityContext"]
LIMITS = SPEC["resources"]["limits"]
NAMES = {"name": "hello-wsgi-6d5f7c9b8-x2x4z", "nodeName": "node-1"}
# RuntimeDefault, the seccomp profile, is what Docker takes by itself.
OPTIONS = [
    f"--user={SECURITY['runAsUser']}:{SECURITY['runAsGroup']}",
    f"--read-only={json.dumps(SECURITY['readOnlyRootFilesystem'])}",
    *(f"--cap-drop={name}" for name in SECURITY["capabilities"]["drop"]),
    f"--security-opt=no-new-privileges:{json.dumps(not SECURITY['allowPrivilegeEscalation'])}",
    # Without shared memory (/dev/shm), the only place that a container can otherwise write to.
    "--ipc=none",
    f"--cpus={LIMITS['cpu']}",
    f"--memory={mebibytes(LIMITS['memory'])}m",
    *(f"--env={name}={value}" for name, value in environ(POD, **NAMES).items()),
    f"--stop-timeout={POD['terminationGracePeriodSeconds']}",
]
CLIENTS, REQUESTS = 32, 200

# utime and stime of all processes, proc_pid_stat(5).
CPU_SECONDS = """
import os, pathlib
files = pathlib.Path("/proc").glob("[0-9]*/stat")
stats = [file.read_text().rpartition(")")[2].split() for file in files]
print(sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK"))
"""


@pytest.fixture(scope="module")
def running(image: str) -> Iterator[Container]:
    with container(image, *OPTIONS) as started:
        yield started


@pytest.mark.parametrize("name", [name for name in SPEC if name.endswith("Probe")])
def test_a_probe_succeeds(name: str, running: Container) -> None:
    probe = SPEC[name]
    port = running.published(container_port(POD, probe["httpGet"]["port"]))

    def succeeds() -> bool:
        address = ("127.0.0.1", port)
        with closing(HTTPConnection(*address, timeout=probe["timeoutSeconds"])) as client:
            try:
                client.request("GET", probe["httpGet"]["path"])
                return 200 <= client.getresponse().status < 400
            except OSError:
                return False

    period = Event()
    assert any(
        succeeds() or period.wait(probe["periodSeconds"]) for _ in range(probe["failureThreshold"])
    )


def test_it_has_the_user_and_no_privilege(running: Container) -> None:
    status = running.python("print(open('/proc/1/status').read())")
    facts = dict(re.findall(r"(\w+):\s*(\w+)", status))
    assert int(facts["Uid"]) == SECURITY["runAsUser"]
    assert int(facts["Gid"]) == SECURITY["runAsGroup"]
    assert (facts["NoNewPrivs"], facts["Seccomp"], int(facts["CapBnd"], 16)) == ("1", "2", 0)


def test_it_has_nothing_to_warn_of(running: Container) -> None:
    assert {line["level"] for line in running.log()} == {"info"}


def test_prometheus_learns_the_pod_and_the_node(running: Container) -> None:
    target = labels(scrape(running), "target_info")
    assert (target["k8s_pod_name"], target["k8s_node_name"]) == tuple(NAMES.values())


def test_under_load_it_needs_no_more_memory_than_it_requests(
    running: Container, report: Report
) -> None:
    before = float(running.python(CPU_SECONDS))
    assert ask_at_once(running.port, CLIENTS, REQUESTS) == 0
    seconds = float(running.python(CPU_SECONDS)) - before
    used = running.stats()["MemUsage"].split()[0]
    requested = SPEC["resources"]["requests"]["memory"]
    report(
        f"pod: {seconds / (CLIENTS * REQUESTS) * 1000:.2f} ms of CPU a request, "
        f"{used} after {CLIENTS * REQUESTS}, of {requested} requested"
    )
    assert float(used.removesuffix("MiB")) < mebibytes(requested)
    assert value(scrape(running), "gunicorn_workers_spawned_total") == 2


def test_it_ends_before_it_would_be_killed(image: str) -> None:
    with container(image, *OPTIONS) as ending:
        docker("stop", ending.name)
        assert ending.inspect()["State"]["ExitCode"] == 0
