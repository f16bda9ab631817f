"""Memory that the master process shares with its workers: metrics and heartbeats.

The memory belongs to no directory, which could disappear or fill up. prometheus-client's
multiprocess mode instead keeps a file per process id, which a killed worker leaves behind for
every scrape to read. Here each process counts in a *slot*. The master process counts in slot 0 and
allocates to each worker the lowest slot that no living worker holds. A new worker continues the
counters of its slot.
"""

import itertools
import json
import logging
import mmap
import os
import tempfile
from array import array
from collections.abc import Container, Iterator, Sequence
from functools import cache
from struct import Struct
from threading import RLock
from typing import Any, NamedTuple

from gunicorn.workers.workertmp import WorkerTmp
from prometheus_client import values

# Size of a slot in bytes: about 30,000 values. Pages that are not used take no memory.
SLOT_SIZE = 1 << 23
# A slot starts with the number of bytes in use. An entry is the size of its key, the key, padded
# so that the value is aligned, and the value, a double. A double is written in one piece.
USED = Struct("Q")
KEY_SIZE = Struct("I")
DOUBLE = Struct("d")


def shared_file(name: str) -> Any:
    """Return a file without a name, which child processes inherit."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create(name), "w+b", 0)
    return tempfile.TemporaryFile(buffering=0)  # macOS


class Heartbeat(WorkerTmp):
    """gunicorn's heartbeat, whose file otherwise needs a directory at each start of a worker."""

    def __init__(self, cfg: Any) -> None:
        self._tmp = shared_file("heartbeat")
        if (cfg.uid, cfg.gid) != (os.geteuid(), os.getegid()):
            os.fchown(self._tmp.fileno(), cfg.uid, cfg.gid)


class Series(NamedTuple):
    """Identity of a time series, in the terms of prometheus_client."""

    type: str
    metric: str
    sample: str
    labels: tuple[tuple[str, str], ...]  # without `le`
    le: str  # upper bound of a bucket, otherwise empty


@cache
def parse_key(key: bytes) -> tuple[Series, str]:
    """Return the time series of an entry, and the documentation of its metric."""
    type_, metric, sample, labels, documentation = json.loads(key)
    le = labels.pop("le", "")
    return Series(type_, metric, sample, tuple(labels.items()), le), documentation


def entries(data: bytes | mmap.mmap) -> Iterator[tuple[bytes, int]]:
    """Yield the key and the offset of each value in a slot."""
    (used,) = USED.unpack_from(data)
    offset = USED.size
    # If the slot grows during the read, `used` exceeds the data that was read.
    while offset < min(used, len(data)):
        (size,) = KEY_SIZE.unpack_from(data, offset)
        start = offset + KEY_SIZE.size
        offset = align(start + size)
        yield data[start : start + size], offset
        offset += DOUBLE.size


def align(offset: int) -> int:
    """Return the next offset at which a double can be stored."""
    return -(-offset // DOUBLE.size) * DOUBLE.size


class Value:
    """Value of a time series in the slot of the process; implements prometheus_client's values."""

    slots: "Slots"

    def __init__(  # noqa: PLR0913, PLR0917 -- prometheus_client's signature
        self,
        type_: str,
        metric: str,
        sample: str,
        labelnames: Sequence[str],
        labelvalues: Sequence[str],
        documentation: str,
        **_: Any,
    ) -> None:
        labels = dict(zip(labelnames, labelvalues, strict=True))
        self.key = json.dumps((type_, metric, sample, labels, documentation)).encode()
        with self.slots.lock:
            self.slots.values.append(self)
            self.bind()

    def bind(self) -> None:
        """Use the slot of the process."""
        self.doubles, self.index = self.slots.find(self.key)

    def inc(self, amount: float) -> None:
        """Add `amount`."""
        with self.slots.lock:
            self.doubles[self.index] += amount

    def set(self, value: float, timestamp: float | None = None) -> None:  # noqa: ARG002 -- prometheus_client's signature
        """Replace the value."""
        with self.slots.lock:
            self.doubles[self.index] = value

    def get(self) -> float:
        """Return the value."""
        return float(self.doubles[self.index])

    def get_exemplar(self) -> None:
        """Return None: exemplars are not supported, as in prometheus_client's multiprocess mode."""

    def set_exemplar(self, _exemplar: Any) -> None:
        """Ignore the exemplar."""


class Slots:
    """The slots. The master process creates the object, and its workers inherit it."""

    def __init__(self) -> None:
        self.file = shared_file("metrics")
        self.lock = RLock()  # find() logs, and a dropped line counts
        self.values: list[Value] = []
        self.memory_of_child: mmap.mmap | None = None
        self.extend(0)
        self.use(self.map(0))
        os.register_at_fork(after_in_child=self.after_fork)

    def install(self) -> None:
        """Store the values of all metrics that are created from now on in these slots."""
        Value.slots = self
        values.ValueClass = Value

    def allocate(self, taken: Container[int]) -> int:
        """Return the lowest slot that is not `taken`, which the next child process will use."""
        slot = next(slot for slot in itertools.count(1) if slot not in taken)
        # Only the master process extends the file: concurrent calls could shorten it.
        self.extend(slot)
        # The last worker in the slot may have ended without Master.reap_workers().
        self.clear_gauges(slot)
        self.memory_of_child = self.map(slot)
        return slot

    def extend(self, slot: int) -> None:
        """Extend the file so that it contains `slot`."""
        size = (slot + 1) * SLOT_SIZE
        if os.fstat(self.file.fileno()).st_size < size:
            self.file.truncate(size)

    def map(self, slot: int) -> mmap.mmap:
        """Return the memory of a slot."""
        return mmap.mmap(self.file.fileno(), SLOT_SIZE, offset=slot * SLOT_SIZE)

    def after_fork(self) -> None:
        """Use the allocated slot in a new child process.

        The values of a process that the application forks are private to it, because two processes
        in a slot would overwrite each other's entries.
        """
        self.lock = RLock()
        self.use(self.memory_of_child or mmap.mmap(-1, SLOT_SIZE))
        self.memory_of_child = None

    def use(self, memory: mmap.mmap) -> None:
        """Store the values of this process in `memory`."""
        self.memory = memory
        self.doubles = memoryview(self.memory).cast("d")
        (used,) = USED.unpack_from(self.memory)
        self.used = used or USED.size
        self.indices = {key: offset // DOUBLE.size for key, offset in entries(self.memory)}
        for value in self.values:
            value.bind()

    def find(self, key: bytes) -> tuple[Any, int]:
        """Return the array and the index of a value; create the value if it does not exist.

        A value that does not fit into the slot is private to the process.
        """
        if key not in self.indices:
            offset = align(self.used + KEY_SIZE.size + len(key))
            if offset + DOUBLE.size > SLOT_SIZE:
                logging.getLogger(__name__).error(
                    "Time series not exported: %d bytes are in use: %s", SLOT_SIZE, key.decode()
                )
                return array("d", [0.0]), 0
            # With padding and value, because a killed worker may have left a part of an entry here.
            entry = (KEY_SIZE.pack(len(key)) + key).ljust(offset - self.used, b"\0")
            self.memory[self.used : offset + DOUBLE.size] = entry + bytes(DOUBLE.size)
            self.used = offset + DOUBLE.size
            self.indices[key] = offset // DOUBLE.size
            # Last: a reader, or the next worker if this one is killed, finds complete entries only.
            # In one piece: pack_into() would write zeros first.
            self.memory[: USED.size] = USED.pack(self.used)
        return self.doubles, self.indices[key]

    def clear_gauges(self, slot: int) -> None:
        """Set the gauges of a worker that has ended to 0."""
        for key, offset in entries(self.read_slot(slot)):
            if parse_key(key)[0].type == "gauge":
                os.pwrite(self.file.fileno(), bytes(DOUBLE.size), slot * SLOT_SIZE + offset)

    def read_slot(self, slot: int) -> bytes:
        """Return the used part of a slot."""
        # Not with mmap(), which needs a further file descriptor.
        start = slot * SLOT_SIZE
        (used,) = USED.unpack(os.pread(self.file.fileno(), USED.size, start))
        return os.pread(self.file.fileno(), max(used, USED.size), start)

    def read(self) -> Iterator[tuple[bytes, float]]:
        """Yield the keys and values of all slots, slot by slot."""
        for slot in range(os.fstat(self.file.fileno()).st_size // SLOT_SIZE):
            data = self.read_slot(slot)
            for key, offset in entries(data):
                yield key, DOUBLE.unpack_from(data, offset)[0]
