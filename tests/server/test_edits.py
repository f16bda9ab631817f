"""A copy of the service whose files are edited while it runs, or that has faults."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from app.master import HOOKS
from tests.client import request
from tests.servers import ROOT, Gunicorn, eventually, gunicorn

# Hooks with another number of parameters than server and worker.
PARAMETERS = {"nworkers_changed": "a, b, c", "on_reload": "a", "on_exit": "a", "pre_exec": "a"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a directory with a copy of app/."""
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def configure(copy: Path, text: str) -> None:
    """Append lines to the configuration file."""
    with (copy / "app/gunicorn.conf.py").open("a") as file:
        file.write(f"\n{text}\n")


def responds_with(server: Gunicorn, body: bytes) -> bool:
    return all(request(server.port, "GET", "/hello").body == body for _ in range(10))


@pytest.mark.parametrize("reload", ["--reload", "SIGHUP"])
def test_reload_loads_edited_application(copy: Path, reload: str) -> None:
    arguments = ["--reload"] if reload == "--reload" else []
    with gunicorn(*arguments, cwd=copy) as server:
        edit(copy / "app/application.py", '{"message": "hello"}', '{"message": "edited"}')
        edit(copy / "app/metrics.py", '("GET", "", "404"),', '("PUT", "", "404"),')
        if reload == "SIGHUP":
            server.signal(signal.SIGHUP)
        eventually(lambda: responds_with(server, b'{"message": "edited"}'))
        assert b'method="PUT"' in server.ask("/metrics").body


@pytest.mark.parametrize("module", ["application", "metrics"])
@pytest.mark.parametrize("fault", ["1 / 0", "("])
def test_service_recovers_from_faulty_edit(copy: Path, module: str, fault: str) -> None:
    file = copy / f"app/{module}.py"
    former = file.read_text()
    with gunicorn(cwd=copy, workers=1) as server:
        file.write_text(f"{former}\n{fault}\n")
        server.signal(signal.SIGHUP)
        server.wait_until(lambda: server.messages("Worker failed to boot. The master process"))
        file.write_text(former)
        eventually(lambda: len(server.workers()) == 1 and server.is_ready())
        assert request(server.port, "GET", "/hello").status == 200


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("1 / 0", "Configuration not reloaded: hello-wsgi: "),
        ("workers = 0", "Configuration not reloaded: hello-wsgi: workers=0: "),
        ("bind = '127.0.0.1:1'", "bind=['127.0.0.1:1'] not reloaded: expected a restart"),
    ],
)
def test_reload_keeps_listeners_and_former_configuration(
    copy: Path, fault: str, message: str
) -> None:
    with gunicorn(cwd=copy) as server:
        configure(copy, fault)
        server.signal(signal.SIGHUP)
        server.wait_until_booted(4)
        assert server.messages(message)
        eventually(lambda: len(server.workers()) == 2)
        assert request(server.port, "GET", "/hello").status == 200
        assert server.ask("/readyz").status == 200


def test_exception_in_pre_request_hook_is_logged_and_counts_as_500(copy: Path) -> None:
    configure(copy, "def pre_request(worker, request):\n    raise RuntimeError")
    with Gunicorn(cwd=copy) as server:
        server.wait_until_booted(2)
        port, _ = server.ports()
        assert request(port, "GET", "/hello").status == 500
        server.wait_until(server.access_log)
    assert [line["status"] for line in server.access_log()] == [500]


def test_values_of_process_forked_by_hook_of_master_process_are_not_exported(copy: Path) -> None:
    hook = (
        "def on_reload(server):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        server.workers_spawned.inc(1000)\n"
        "        os._exit(0)\n"
        "    os.waitpid(child, 0)"
    )
    configure(copy, hook)
    with gunicorn(cwd=copy) as server:
        server.signal(signal.SIGHUP)
        server.wait_until_booted(4)
        eventually(lambda: b"gunicorn_workers_spawned_total 4.0" in server.ask("/metrics").body)


def test_signals_are_unblocked_while_application_is_imported(copy: Path) -> None:
    statement = "logging.info('Blocked: %d', len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    imports = "import json, logging, signal\n"
    edit(copy / "app/application.py", "import json\n", f"{imports}{statement}\n")
    with gunicorn(cwd=copy) as server:
        assert set(server.messages("Blocked")) == {"Blocked: 0"}


def test_exceptions_in_hooks_do_not_end_master_process(copy: Path) -> None:
    for name in HOOKS:
        configure(copy, f"def {name}({PARAMETERS.get(name, 'a, b')}):\n    raise RuntimeError")
    with gunicorn(cwd=copy) as server:
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        server.wait_until_booted(4)
        server.signal(signal.SIGHUP)
        server.wait_until_booted(6)
        assert request(server.port, "GET", "/hello").status == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert server.messages("Exception in pre_fork hook")
    assert server.messages("Exception in child_exit hook")


def test_service_survives_loss_of_temporary_directories(copy: Path) -> None:
    directory = copy / "temporary"
    directory.mkdir()
    with gunicorn(TMPDIR=str(directory), PROMETHEUS_MULTIPROC_DIR=str(directory)) as server:
        assert request(server.port, "GET", "/hello").status == 200
        assert list(directory.iterdir()) == []
        directory.rmdir()
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        server.wait_until_booted(4)
        assert request(server.port, "GET", "/hello").status == 200
        assert b"_count" in server.ask("/metrics").body
