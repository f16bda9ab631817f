"""Slots in shared memory, in one process."""

import logging

import pytest
from prometheus_client import Counter, Gauge, Histogram

from app import shared_memory
from app.metrics import merge
from app.shared_memory import Slots, entries


def samples(slots: Slots) -> dict[str, float]:
    """Return the values of the samples by name and labels."""
    return {
        sample.name + "".join(sorted(sample.labels.values())): sample.value
        for metric in merge(slots.read())
        for sample in metric.samples
    }


def test_lowest_free_slot_is_allocated(slots: Slots) -> None:
    assert slots.allocate(set()) == 1
    assert slots.allocate({1, 2, 4}) == 3
    assert slots.allocate({2, 3}) == 1


def test_values_of_all_slots_are_added_up(slots: Slots) -> None:
    counter = Counter("c", "A counter.", registry=None)
    for slot in (1, 2):
        slots.allocate(range(1, slot))
        slots.after_fork()
        counter.inc(slot)
    assert samples(slots) == {"c_total": 3}


def test_next_process_in_slot_continues_counters_and_clears_gauges(slots: Slots) -> None:
    counter = Counter("c", "A counter.", registry=None)
    gauge = Gauge("g", "A gauge.", registry=None)
    for _ in range(2):
        slots.allocate(())
        slots.after_fork()
        counter.inc()
        gauge.inc(5)
    assert samples(slots) == {"c_total": 2, "g": 5}


def test_values_of_child_process_without_slot_are_private(slots: Slots) -> None:
    counter = Counter("c", "A counter.", registry=None)
    slots.allocate(())
    slots.after_fork()
    counter.inc()
    slots.after_fork()
    counter.inc()
    assert samples(slots) == {"c_total": 1}


def test_gauges_of_ended_process_are_cleared(slots: Slots) -> None:
    gauge = Gauge("g", "A gauge.", registry=None)
    gauge.set(5)
    slots.clear_gauges(0)
    assert samples(slots) == {"g": 0}


def test_histogram_has_cumulative_buckets_sum_and_count(slots: Slots) -> None:
    histogram = Histogram("h", "A histogram.", buckets=(1, 2), registry=None)
    for slot in (1, 2):
        slots.allocate(range(1, slot))
        slots.after_fork()
        for value in (0.5, 1.5, 1.75, 9):
            histogram.observe(value)
    assert samples(slots) == {
        "h_bucket1.0": 2,
        "h_bucket2.0": 6,
        "h_bucket+Inf": 8,
        "h_count": 8,
        "h_sum": 25.5,
    }


def test_edited_documentation_and_buckets_leave_one_cumulative_histogram(slots: Slots) -> None:
    Histogram("h", "A histogram.", buckets=(1, 3), registry=None).observe(2.5)
    Histogram("h", "An edited histogram.", buckets=(0.5, 2), registry=None).observe(1.5)
    [metric] = merge(slots.read())
    assert metric.documentation == "An edited histogram."
    assert [sample.value for sample in metric.samples] == [4, 0, 0, 1, 2, 2, 2]
    assert [sample.labels.get("le") for sample in metric.samples] == [
        None, "0.5", "1.0", "2.0", "3.0", "+Inf", None,
    ]  # fmt: skip


def test_series_that_does_not_fit_into_slot_is_logged_and_not_exported(
    slots: Slots, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "SLOT_SIZE", slots.used + 200)
    counter = Counter("c", "A counter.", ("label",), registry=None)
    counter.labels("a").inc()
    with caplog.at_level(logging.ERROR):
        counter.labels("b" * 200).inc()
    assert caplog.messages[0].startswith("Time series not exported")
    assert counter.labels("b" * 200)._value.get() == 1  # noqa: SLF001 -- the value in the process


def test_slot_that_grows_while_it_is_read_is_read_to_its_former_end(slots: Slots) -> None:
    Counter("c", "A counter.", registry=None)
    before = slots.read_slot(0)
    Counter("d", "A counter.", registry=None)
    grown = slots.read_slot(0)
    assert list(entries(grown[: len(before)])) == list(entries(before))


def test_rest_of_partial_entry_of_killed_process_does_not_count(slots: Slots) -> None:
    slots.memory[slots.used : slots.used + 300] = b"x" * 300
    Counter("c", "A counter.", registry=None)
    assert samples(slots) == {"c_total": 0}
