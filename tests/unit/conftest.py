"""Fixtures of the tests in process."""

from collections.abc import Iterator

import pytest
from prometheus_client import values

from app.metrics import REQUEST_DURATION, _series
from app.shared_memory import Slots, Value


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slots]:
    """Store the values of the metrics that the test creates in shared memory."""
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setattr(Value, "slots", None, raising=False)
    installed = Slots()
    installed.install()
    forget_series()
    yield installed
    installed.file.close()
    forget_series()


def forget_series() -> None:
    REQUEST_DURATION.clear()
    _series.cache_clear()
