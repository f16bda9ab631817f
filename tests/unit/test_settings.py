"""Settings: what is read, what is refused and how, how many workers there are."""

import math
import os
from pathlib import Path

import pytest

from app.settings import Settings, available_cpus, pids_limit


def test_the_defaults_are_those_of_the_readme() -> None:
    settings = Settings.from_environ({})
    assert settings == Settings(
        host="127.0.0.1",
        port=8000,
        management_port=8001,
        web_concurrency=available_cpus(),
        threads=4,
        log_level="info",
        graceful_timeout=20,
        keepalive=75,
        client_header_timeout=5,
    )


def test_each_setting_is_read() -> None:
    settings = Settings.from_environ(
        {
            "HOST": "::",
            "PORT": "80",
            "MANAGEMENT_PORT": "0",
            "WEB_CONCURRENCY": "3",
            "THREADS": "16",
            "LOG_LEVEL": "WARNING",
            "GRACEFUL_TIMEOUT": "5",
            "KEEPALIVE": "0",
            "CLIENT_HEADER_TIMEOUT": "9",
        }
    )
    assert settings == Settings("::", 80, 0, 3, 16, "warning", 5, 0, 9)


def test_the_kernel_may_choose_both_ports() -> None:
    settings = Settings.from_environ({"PORT": "0", "MANAGEMENT_PORT": "0"})
    assert (settings.port, settings.management_port) == (0, 0)


REFUSED = [
    ("HOST", "localhost", "an IP address"),
    ("HOST", "", "an IP address"),
    ("HOST", "unix:/tmp/socket", "an IP address"),
    ("PORT", "", "an integer, 0 to 65535"),
    ("PORT", "http", "an integer, 0 to 65535"),
    ("PORT", "65536", "an integer, 0 to 65535"),
    ("PORT", "-1", "an integer, 0 to 65535"),
    ("PORT", " 80", "an integer, 0 to 65535"),
    ("PORT", "8_0", "an integer, 0 to 65535"),
    ("PORT", "\uff18\uff10", "an integer, 0 to 65535"),
    ("PORT", "9" * 5000, "an integer, 0 to 65535"),
    ("MANAGEMENT_PORT", "8001.0", "an integer, 0 to 65535"),
    ("WEB_CONCURRENCY", "0", "an integer, 1 to 256"),
    ("WEB_CONCURRENCY", "257", "an integer, 1 to 256"),
    ("THREADS", "0", "an integer, 1 to 256"),
    ("LOG_LEVEL", "verbose", "debug, info, warning, error, critical"),
    ("GRACEFUL_TIMEOUT", "0", "an integer, 1 to 3600"),
    ("KEEPALIVE", "1.5", "an integer, 0 to 3600"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), REFUSED)
def test_a_bad_value_is_named_with_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(ValueError, match="not allowed") as raised:
        Settings.from_environ({name: value})
    assert str(raised.value) == f"{name}={value!r} is not allowed: it must be {allowed}"


def test_the_ports_must_differ() -> None:
    with pytest.raises(ValueError, match="MANAGEMENT_PORT='8000' is not allowed: it equals PORT"):
        Settings.from_environ({"MANAGEMENT_PORT": "8000"})


def write(root: Path, line: str, files: dict[str, str]) -> Path:
    """Create the files of a process in this cgroup under `root`."""
    for name, text in {"proc/self/cgroup": line, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def cgroup(root: Path, line: str, quotas: dict[str, str]) -> int:
    return available_cpus(write(root, line, quotas))


@pytest.fixture
def _eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


V2, V1 = "0::/\n", "4:memory:/\n3:cpu,cpuacct:/\n2:cpuset:/\n0::/\n"


@pytest.mark.usefixtures("_eight_cpus")
class TestWorkersDefaultToTheCPUsAllowed:
    def test_all_of_the_affinity_without_a_cgroup(self, tmp_path: Path) -> None:
        assert available_cpus(tmp_path) == 8

    @pytest.mark.parametrize(
        ("quota", "cpus"),
        [("max", 8), ("100000", 1), ("250000", 2), ("50000", 1), ("1000", 1), ("9900000", 8)],
    )
    def test_a_quota_of_version_2(self, tmp_path: Path, quota: str, cpus: int) -> None:
        assert cgroup(tmp_path, V2, {"sys/fs/cgroup/cpu.max": f"{quota} 100000\n"}) == cpus

    @pytest.mark.parametrize(("quota", "cpus"), [("-1", 8), ("400000", 4), ("50000", 1)])
    def test_a_quota_of_version_1(self, tmp_path: Path, quota: str, cpus: int) -> None:
        files = {
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": f"{quota}\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        }
        assert cgroup(tmp_path, V1, files) == cpus

    def test_the_smallest_quota_on_the_way_up(self, tmp_path: Path) -> None:
        files = {
            "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
        }
        assert cgroup(tmp_path, "0::/a/b\n", files) == 3

    def test_the_group_of_the_host_seen_from_a_container(self, tmp_path: Path) -> None:
        files = {"sys/fs/cgroup/cpu.max": "200000 100000\n"}
        assert cgroup(tmp_path, "0::/docker/0123456789ab\n", files) == 2


@pytest.mark.parametrize(
    ("line", "file"),
    [(V2, "pids.max"), ("9:pids:/\n0::/\n", "pids/pids.max")],
    ids=["version 2", "version 1"],
)
@pytest.mark.parametrize(("content", "limit"), [("16\n", 16), ("max\n", math.inf)])
def test_pids_limit_is_that_of_cgroup(
    tmp_path: Path, line: str, file: str, content: str, limit: float
) -> None:
    assert pids_limit(write(tmp_path, line, {f"sys/fs/cgroup/{file}": content})) == limit


def test_pids_limit_is_infinite_without_cgroup(tmp_path: Path) -> None:
    assert pids_limit(tmp_path) == math.inf
