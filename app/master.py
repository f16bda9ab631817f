"""Master process: gunicorn's arbiter, extended where the host or a signal could end or stall it."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, ClassVar

from gunicorn import arbiter, systemd
from gunicorn.errors import HaltServer
from prometheus_client import Counter

from app import listeners
from app.listeners import listen, port_of
from app.shared_memory import Slots

SHUTDOWN_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# Maximum time in seconds between the loss of the terminal and its SIGHUP.
HANGUP_DELAY = 5
# Hooks that gunicorn calls in the master process after the startup.
HOOKS = (
    "pre_fork", "child_exit", "worker_exit", "nworkers_changed", "on_reload", "pre_exec", "on_exit",
)  # fmt: skip


def has_terminal() -> bool:
    """Return whether the process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


class WorkersRestartedError(Exception):
    """Ends Arbiter.reload() before it waits for the former workers."""


class Master(arbiter.Arbiter):
    """gunicorn's arbiter."""

    # Host and port of the management listener.
    management = ("127.0.0.1", 8001)
    log: Any
    WORKERS: ClassVar[Any]
    reloading = False
    former_age = 0  # age of the youngest worker at the last reload; gunicorn numbers the workers
    shutdown = 0  # 1: graceful, 2 or more: immediate
    starting = True  # until a worker has sent a heartbeat
    retry_at = 0.0  # when the next worker may be started after a failure

    def __init__(self, app: Any) -> None:
        self.slots = Slots()
        self.slots.install()
        self.workers_spawned = Counter(
            "gunicorn_workers_spawned_total",
            "Worker processes started since the master process started.",
            registry=None,
        )
        self.ignores_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup(1)
        self.had_terminal_at = monotonic() if has_terminal() else -inf
        super().__init__(app)

    def setup(self, app: Any) -> None:
        """Apply the configuration, at startup and at each reload."""
        for name in HOOKS:
            setting = app.cfg.settings[name]
            setting.value = self.contain(name, setting.value)
        super().setup(app)

    def contain(self, name: str, hook: Callable[..., Any]) -> Callable[..., None]:
        """Return a hook that logs the exceptions of `hook`, which would end the master process."""

        def contained(*arguments: Any) -> None:
            try:
                hook(*arguments)
            except Exception:
                self.log.exception("Exception in %s hook", name)

        return contained

    def start(self) -> None:
        """Check the configuration, create the listeners and install the signal handlers."""
        if hasattr(self.worker_class, "check_config"):  # before gunicorn's startup messages
            self.worker_class.check_config(self.cfg, self.log)
        self.LISTENERS = self.create_listeners()  # type: ignore[misc] # as gunicorn does
        try:
            super().start()
        except RuntimeError as error:  # the file of --pid cannot be created
            sys.exit(f"hello-wsgi: {error}")

    def create_listeners(self) -> list[Any]:
        """Return the listeners of the addresses of `--bind`, and that of the management port.

        Sockets that systemd passes replace the addresses.
        """
        inherited = [systemd.SD_LISTEN_FDS_START + n for n in range(systemd.listen_fds())]
        self.systemd = bool(inherited)
        addresses: list[Any] = inherited or self.cfg.address
        created = [listen(address, self.cfg, self.log) for address in addresses]
        ports = [port_of(listener) for listener in created]
        management = str(self.management[1])
        if set(ports) == {management}:
            sys.exit(f"hello-wsgi: --bind: expected a port other than MANAGEMENT_PORT={management}")
        if self.cfg.reuse_port:
            # Each worker creates its own.
            for listener in created:
                listener.close()
            created = []
            if not all(isinstance(address, tuple) and address[1] for address in addresses):
                sys.exit("hello-wsgi: --reuse-port: expected TCP addresses and ports other than 0")
        if management not in ports:
            created.append(listen(self.management, self.cfg, self.log))
            management = port_of(created[-1])
        listeners.management_port = management
        return created

    def manage_workers(self) -> None:
        """Start the missing workers, and terminate the surplus ones, the oldest first."""
        self.spawn_workers()
        super().manage_workers()

    def spawn_workers(self) -> None:
        """Start the missing workers. A signal is handled first, and the main loop calls again.

        Workers from before the last reload, and draining workers, do not count.
        """
        workers = self.WORKERS.values()
        current = [w for w in workers if w.age > self.former_age and not w.terminated]
        for _ in range(self.num_workers - len(current)):
            if not (self.SIG_QUEUE.empty() and self.spawn_worker()):
                break

    def kill_worker(self, pid: int, sig: Any) -> None:
        """Send a signal to a worker, but SIGTERM only once."""
        worker = self.WORKERS.get(pid)
        if worker is not None and sig == signal.SIGTERM:
            if worker.terminated:
                return
            worker.terminated = True
        super().kill_worker(pid, sig)

    def spawn_worker(self) -> Any:
        """Start a worker. After a failure, the master process retries a second later."""
        if monotonic() < self.retry_at:
            return None
        first = self.worker_age == 0
        # A signal that arrives before the worker has its own handlers would be lost. The worker
        # unblocks the signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, self.SIGNALS)
        try:
            slot = self.slots.allocate(self.allocated_slots())
            pid = super().spawn_worker()
        except Exception as error:
            if first:
                sys.exit(f"hello-wsgi: cannot start a worker: {error}")
            self.log.exception("Cannot start a worker")
            self.retry_at = monotonic() + 1
            return None
        finally:
            self.slots.memory_of_child = None
            if os.getpid() == self.pid:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, self.SIGNALS)
        self.WORKERS[pid].slot, self.WORKERS[pid].terminated = slot, False
        self.workers_spawned.inc()
        return pid

    def allocated_slots(self) -> set[int]:
        """Return the slots of the workers that may be alive."""
        return {worker.slot for worker in self.WORKERS.values()}

    def signal(self, sig: Any, frame: Any) -> None:
        """Queue a signal. A second SIGTERM turns a graceful shutdown into an immediate one."""
        if sig in SHUTDOWN_SIGNALS:
            self.shutdown += 1 if sig == signal.SIGTERM else 2
            if self.shutdown > 1:
                sig = signal.SIGQUIT
        super().signal(sig, frame)

    def stop(self, graceful: bool = True) -> None:  # noqa: FBT001, FBT002 -- gunicorn's signature
        """Stop the workers."""
        if self.shutdown > 1:
            # A worker that cannot handle a signal is killed after a second.
            self.cfg.set("graceful_timeout", 1)
        try:
            super().stop(graceful and self.shutdown < 2)
        except OSError:  # the path of a Unix socket cannot be removed
            remaining: Any = self.LISTENERS
            self.LISTENERS = [each for each in remaining if each.sock is not None]  # type: ignore[misc] # as above
            self.stop(graceful)

    def reload(self) -> None:
        """Start new workers, and have the former ones drain.

        gunicorn would wait for them, and meanwhile neither replace workers nor handle signals.
        """
        self.former_age = self.worker_age
        self.reloading = True
        with suppress(WorkersRestartedError):
            super().reload()
        self.reloading = False

    def reap_workers(self) -> None:
        """Reap the workers that have ended.

        A worker that fails to boot ends the startup. A later one is started again.
        """
        if self.reloading:
            raise WorkersRestartedError
        before = self.allocated_slots()
        # A heartbeat is a monotonic time. Until the first one, last_update() is a wall-clock time.
        now = monotonic()
        self.starting = self.starting and not any(
            w.tmp.last_update() <= now for w in self.WORKERS.values()
        )
        try:
            super().reap_workers()
        except HaltServer as error:
            if not self.shutdown:
                if self.starting:
                    self.shutdown = 1
                    raise
                self.log.error("%s The master process tries again.", error.reason)  # noqa: TRY400 -- the worker has logged the traceback
                self.retry_at = monotonic() + 1
            self.reap_workers()
        for slot in before - self.allocated_slots():
            self.slots.clear_gauges(slot)

    def wait_for_signals(self, timeout: float | None = 1.0) -> Any:
        """Wait for signals; report dropped log lines."""
        for handler in logging.getLogger().handlers:
            handler.flush()
        if has_terminal():
            self.had_terminal_at = monotonic()
        return super().wait_for_signals(timeout)

    def handle_usr2(self) -> None:
        """Refuse a binary upgrade."""
        self.log.warning("Signal usr2 ignored: expected a second service or a rolling update")

    def handle_hup(self) -> None:
        """Reload; stop instead if the terminal has just been closed."""
        if monotonic() < self.had_terminal_at + HANGUP_DELAY and not has_terminal():
            if self.ignores_hangup:
                return
            raise StopIteration
        super().handle_hup()
