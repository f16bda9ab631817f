"""Settings, read from environment variables and validated at startup."""

import ipaddress
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


def _integer(environ: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    value = environ.get(name)
    if value is None:
        return default
    # int() alone also takes "1_000", " 8 " and digits of other scripts.
    if not re.fullmatch(r"[0-9]{1,9}", value) or not low <= int(value) <= high:
        raise ValueError(f"{name}={value!r} is not allowed: it must be an integer, {low} to {high}")
    return int(value)


def _host(environ: Mapping[str, str]) -> str:
    value = environ.get("HOST", "127.0.0.1")
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"HOST={value!r} is not allowed: it must be an IP address") from None


def _log_level(environ: Mapping[str, str]) -> str:
    value = environ.get("LOG_LEVEL", "info")
    if value.lower() not in LOG_LEVELS:
        raise ValueError(f"LOG_LEVEL={value!r} is not allowed: it must be {', '.join(LOG_LEVELS)}")
    return value.lower()


def available_cpus(root: Path = Path("/")) -> int:
    """Return the number of CPUs that affinity and the cgroup quotas allow, at least 1.

    `root` is the directory that contains /proc and /sys.
    """
    if hasattr(os, "sched_getaffinity"):
        cpus = float(len(os.sched_getaffinity(0)))
    else:  # macOS, which has no cgroups either
        cpus = float(os.cpu_count() or 1)
    return max(1, math.floor(min([cpus, *map(_quota, _cgroups("cpu", root))])))


def pids_limit(root: Path = Path("/")) -> float:
    """Return the number of processes and threads that the cgroups allow, or infinity."""
    files = [directory / "pids.max" for directory in _cgroups("pids", root)]
    limits = [file.read_text().strip() for file in files if file.is_file()]
    return min((int(limit) for limit in limits if limit != "max"), default=math.inf)


def _cgroups(controller: str, root: Path) -> Iterator[Path]:
    """Yield the directories of the cgroups of this process and their parents (cgroups(7))."""
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = PurePosixPath(path)
        yield from (mount / each.relative_to("/") for each in (group, *group.parents))


def _quota(directory: Path) -> float:
    """Return how many CPUs the cgroup in `directory` may use: infinite if it has no quota."""
    # The first is cgroup v2's, with both figures in it.
    names = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
    words = " ".join(f.read_text() for name in names if (f := directory / name).is_file()).split()
    if len(words) != 2 or words[0] in ("max", "-1"):
        return math.inf
    return int(words[0]) / int(words[1])


class Settings(NamedTuple):
    """The settings, in the names and order of README."""

    host: str
    port: int
    management_port: int
    web_concurrency: int
    threads: int
    log_level: str
    graceful_timeout: int
    keepalive: int
    client_header_timeout: int

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Read and check the settings; a ValueError names the variable and what is allowed."""
        settings = cls(
            host=_host(environ),
            port=_integer(environ, "PORT", 8000, 0, 65535),
            management_port=_integer(environ, "MANAGEMENT_PORT", 8001, 0, 65535),
            web_concurrency=_integer(environ, "WEB_CONCURRENCY", available_cpus(), 1, 256),
            threads=_integer(environ, "THREADS", 4, 1, 256),
            log_level=_log_level(environ),
            graceful_timeout=_integer(environ, "GRACEFUL_TIMEOUT", 20, 1, 3600),
            keepalive=_integer(environ, "KEEPALIVE", 75, 0, 3600),
            client_header_timeout=_integer(environ, "CLIENT_HEADER_TIMEOUT", 5, 1, 3600),
        )
        if settings.port == settings.management_port != 0:
            raise ValueError(f"MANAGEMENT_PORT='{settings.port}' is not allowed: it equals PORT")
        return settings
