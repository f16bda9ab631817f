"""What the tests of containers share: the image, a hardened container of it, a place to report."""

from collections.abc import Callable, Iterator

import pytest

from tests.docker import Container, container, docker
from tests.shell import run

# As restricted as a container gets, and a user whom the image does not know.
HARDENED = (
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges:true",
    "--user=12345:54321",
    "--env=WEB_CONCURRENCY=2",
)

Report = Callable[[str], None]


@pytest.fixture(scope="session")
def image() -> str:
    """Build the image as README says; return its id, as the name may go to another build."""
    run("make", "image")
    return docker("image", "inspect", "--format={{.Id}}", "hello-wsgi:dev")


@pytest.fixture(scope="session")
def service(image: str) -> Iterator[Container]:
    """Run a container that no test disturbs."""
    with container(image, *HARDENED) as running:
        yield running


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    """Return what prints a figure for the reader, whether the test passes or not."""

    def show(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}")

    return show
