"""What the tests share: a service that runs for all that only ask it."""

import resource
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.servers import Gunicorn, gunicorn

# A shell starts a job in the background with SIGINT ignored; servers would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time, however slow the machine.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")

# Many systems begin with 1024, and crowds of clients are larger.
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@pytest.fixture(scope="session")
def service() -> Iterator[Gunicorn]:
    with gunicorn() as server:
        yield server
