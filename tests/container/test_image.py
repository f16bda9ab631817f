"""Files and configuration of the image."""

import hashlib
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

import app
from tests.client import request
from tests.container.conftest import Report
from tests.docker import MANAGEMENT_PORT, PORT, Container, container, docker
from tests.scrape import labels, scrape
from tests.servers import ROOT
from tests.shell import run

# What we add to the base image, whose size is not in our hands.
MOST_BYTES = 7_000_000

# What an intruder would look for.
TOOLS = {"sh", "bash", "dash", "busybox", "perl", "apt", "apt-get", "dpkg", "pip", "pip3", "curl"}


@pytest.fixture(scope="module")
def config(image: str) -> dict[str, Any]:
    return dict(json.loads(docker("image", "inspect", image))[0]["Config"])


Files = dict[str, tuple[tarfile.TarInfo, str]]


def files_of(image: str, directory: Path) -> Files:
    """Return what is in an image: each file's data, and the hash of its content."""
    archive = directory / "image.tar"
    name = docker("create", image)
    try:
        docker("export", f"--output={archive}", name)
    finally:
        docker("rm", name)
    with tarfile.open(archive) as tar:
        return {
            member.name: (
                member,
                hashlib.sha256(content.read()).hexdigest() if content else "",
            )
            for member in tar
            for content in [tar.extractfile(member) if member.isfile() else None]
        }


@pytest.fixture(scope="module")
def files(image: str, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return files_of(image, tmp_path_factory.mktemp("image"))


def test_it_is_small(image: str, files: Files, report: Report) -> None:
    size = int(docker("image", "inspect", "--format={{.Size}}", image))
    ours = [
        member.size
        for name, (member, _) in files.items()
        if name.startswith("srv/") or name.endswith(".pyc")
    ]
    report(f"image: {size / 1e6:.1f} MB, of which we add {sum(ours) / 1e6:.1f} MB")
    assert sum(ours) <= MOST_BYTES


def test_its_user_is_a_number_and_not_root(config: dict[str, Any]) -> None:
    assert config["User"] == "65532:65532"


def test_it_has_no_shell_and_no_package_manager(files: Files) -> None:
    programs = {Path(name).name for name, (member, _) in files.items() if not member.isdir()}
    assert programs & TOOLS == set()
    assert "python3" in programs


def test_what_runs_belongs_to_root_and_all_may_read_it(files: Files) -> None:
    ours = [member for name, (member, _) in files.items() if name.startswith("srv/")]
    assert len(ours) > 100
    for member in ours:
        assert (member.uid, member.gid) == (0, 0)
        assert member.mode & 0o777 == (0o755 if member.isdir() or member.mode & 0o100 else 0o644)


def test_only_what_runs_is_in_it(files: Files) -> None:
    top = {name.split("/")[1] for name in files if name.startswith("srv/") and name != "srv/"}
    packages = {name for name in top if not name.endswith(".dist-info")}
    assert packages == {"app", "gunicorn", "prometheus_client"}


def test_it_runs_the_command_of_make_run(config: dict[str, Any]) -> None:
    assert config["Entrypoint"] == ["python3", "-m", "app.server"]
    assert run("make", "--no-print-directory", "--dry-run", "run").endswith("python -m app.server")


def test_it_exposes_both_ports(config: dict[str, Any]) -> None:
    assert config["ExposedPorts"].keys() == {f"{PORT}/tcp", f"{MANAGEMENT_PORT}/tcp"}


def test_its_labels_say_what_it_is(config: dict[str, Any]) -> None:
    prefix = "org.opencontainers.image."
    said = {
        name.removeprefix(prefix): value
        for name, value in config["Labels"].items()
        if name.startswith(prefix)
    }
    facts = ("title", "description", "version", "revision", "created", "source", "licenses")
    assert said.keys() == set(facts)
    assert said["version"] == app.__version__
    assert said["revision"].removesuffix("-dirty") == run("git", "rev-parse", "HEAD")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+Z].*", said["created"])


def test_prometheus_learns_what_the_labels_say(service: Container, config: dict[str, Any]) -> None:
    target = labels(scrape(service), "target_info")
    assert target["service_version"] == config["Labels"]["org.opencontainers.image.version"]
    assert target["vcs_ref_head_revision"] == config["Labels"]["org.opencontainers.image.revision"]


def test_a_start_has_nothing_to_compile(image: str) -> None:
    # As root, who could write bytecode if there were any to write.
    with container(image, "--user=0", "--health-interval=1s") as running:
        running.eventually_healthy()
        assert request(running.port, "GET", "/hello").status == 200
        assert running.ask("/metrics").status == 200
        docker("stop", running.name)
        assert docker("diff", running.name) == ""


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """Copy app/application.py with another message."""
    source = (ROOT / "app/application.py").read_text()
    (tmp_path / "application.py").write_text(source.replace('"hello"}', '"edited"}'))
    return tmp_path


def test_derived_image_runs_edited_source(image: str, edited: Path) -> None:
    base = "hello-wsgi:base"  # FROM takes no ID
    docker("tag", image, base)
    (edited / "Dockerfile").write_text(f"FROM {base}\nCOPY application.py app/application.py\n")
    derived = docker("build", "--quiet", str(edited))
    try:
        with container(derived) as running:
            assert request(running.port, "GET", "/hello").body == b'{"message": "edited"}'
    finally:
        docker("image", "rm", derived, base)


def test_bind_mount_runs_edited_source(image: str, edited: Path) -> None:
    mount = f"--volume={edited}/application.py:/srv/app/application.py:ro"
    with container(image, mount) as running:
        assert request(running.port, "GET", "/hello").body == b'{"message": "edited"}'


def test_the_same_source_makes_the_same_files(files: Files, tmp_path: Path) -> None:
    again = docker("build", "--no-cache", "--quiet", ".")
    try:
        assert {name: content for name, (_, content) in files_of(again, tmp_path).items()} == {
            name: content for name, (_, content) in files.items()
        }
    finally:
        docker("image", "rm", again)
