"""gunicorn's command with one-line errors, and with reloads that a faulty edit does not end."""

import logging
import runpy
import sys
from typing import Any, NoReturn

from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.errors import ConfigError

# Settings that gunicorn checks only when it reads them.
CHECKED_LATE = ("address", "env", "logger_class", "worker_class")
# Settings of gunicorn that must not be 0: no request would be served.
POSITIVE = ("workers", "threads", "worker_connections")


def abort(message: str) -> NoReturn:
    """End the process with the first line of a message on stderr."""
    first_line, _, _ = message.partition("\n")
    sys.exit(f"hello-wsgi: {first_line.rstrip(': ')}")


class Command(WSGIApplication):
    """gunicorn's command."""

    def get_config_from_filename(self, filename: str) -> dict[str, Any]:
        """Run a configuration file and return its variables."""
        try:
            return runpy.run_path(filename)
        except Exception as error:
            raise ConfigError(f"{filename}: {type(error).__name__}: {error}") from error

    def do_load_config(self) -> None:
        """Load the configuration. An error ends the process with one line on stderr."""
        try:
            self.load_default_config()
            self.load_config()
            for name in CHECKED_LATE:
                getattr(self.cfg, name)
        except Exception as error:  # noqa: BLE001 -- gunicorn does not document which
            abort(str(error))
        for name in POSITIVE:
            if (value := getattr(self.cfg, name)) < 1:
                abort(f"{name}={value}: expected at least 1")
        if self.cfg.daemon:
            abort("--daemon: expected a process manager, such as systemd, instead")

    def load(self) -> Any:
        """Import the application. In the master process, an error ends the process with one line.

        A worker logs the traceback.
        """
        try:
            return super().load()
        except Exception as error:
            if self.cfg.preload_app or self.cfg.check_config or self.cfg.print_config:
                abort(f"{type(error).__name__}: {error}")
            raise

    def reload(self) -> None:
        """Load the edited configuration. An error or another address has no effect."""
        log = logging.getLogger("gunicorn.error")
        former, app_uri = self.cfg, self.app_uri
        try:
            super().reload()
        except SystemExit as error:
            self.cfg, self.app_uri = former, app_uri
            log.error("Configuration not reloaded: %s", error)  # noqa: TRY400 -- it names the cause
        if self.cfg.address != former.address:
            log.warning("bind=%s not reloaded: expected a restart", self.cfg.bind)
            self.cfg.set("bind", former.bind)
