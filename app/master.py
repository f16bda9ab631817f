"""Master process: gunicorn's arbiter, extended where the host or a signal could end or stall it."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, ClassVar

from gunicorn import arbiter, systemd
from prometheus_client import Counter

from app import listeners
from app.listeners import listen, port_of
from app.shared_memory import Slots

SHUTDOWN_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
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


class Master(arbiter.Arbiter):
    """gunicorn's arbiter."""

    # Host and port of the management listener.
    management = ("127.0.0.1", 8001)
    log: Any
    WORKERS: ClassVar[Any]
    reloading = False
    shutdown = 0  # 1: graceful, 2 or more: immediate

    def __init__(self, app: Any) -> None:
        self.slots = Slots()
        self.slots.install()
        self.workers_spawned = Counter(
            "gunicorn_workers_spawned_total",
            "Worker processes started since the master process started.",
            registry=None,
        )
        self.ignores_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup(1)
        self.had_terminal = has_terminal()
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
        """Create the listeners and install the signal handlers."""
        self.LISTENERS = self.create_listeners()  # type: ignore[misc] # as gunicorn does
        super().start()

    def create_listeners(self) -> list[Any]:
        """Return the listeners of the addresses of `--bind`, and that of the management port.

        Sockets that systemd or, at a binary upgrade, the former master process passes replace the
        addresses.
        """
        inherited = [systemd.SD_LISTEN_FDS_START + n for n in range(systemd.listen_fds())]
        self.systemd = bool(inherited)
        if passed := os.environ.pop("GUNICORN_FD", ""):
            inherited = [int(descriptor) for descriptor in passed.split(",")]
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

    def spawn_worker(self) -> Any:
        """Start a worker. If that fails, it is tried again a second later."""
        # A signal that arrives before the worker has its own handlers would be lost. The hook
        # post_worker_init unblocks the signals in the worker.
        signal.pthread_sigmask(signal.SIG_BLOCK, self.SIGNALS)
        try:
            self.slot = self.slots.allocate(self.allocated_slots())
            pid = super().spawn_worker()
        except Exception as error:
            if self.worker_age == 1:
                sys.exit(f"hello-wsgi: cannot start a worker: {error}")
            self.log.exception("Cannot start a worker")
            return None
        finally:
            if os.getpid() == self.pid:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, self.SIGNALS)
        self.WORKERS[pid].slot = self.slot
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
        super().stop(graceful and self.shutdown < 2)

    def reload(self) -> None:
        """Start new workers, and wait until the former ones have drained."""
        self.reloading = True
        super().reload()
        self.reloading = False

    def reap_workers(self) -> None:
        """Reap the workers that have ended. A shutdown signal ends the wait of reload()."""
        before = self.allocated_slots()
        super().reap_workers()
        for slot in before - self.allocated_slots():
            self.slots.clear_gauges(slot)
        if self.reloading and self.shutdown:
            self.reloading = False
            raise StopIteration

    def handle_hup(self) -> None:
        """Reload; stop instead if the terminal has been closed."""
        if self.had_terminal and not has_terminal():
            if self.ignores_hangup:
                return
            raise StopIteration
        super().handle_hup()
