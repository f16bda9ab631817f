"""What the tests share: a service that runs for all that only ask it."""

from collections.abc import Iterator

import pytest

from tests.servers import Gunicorn, gunicorn


@pytest.fixture(scope="session")
def service() -> Iterator[Gunicorn]:
    with gunicorn() as server:
        yield server
