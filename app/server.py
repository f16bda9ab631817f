"""Command that starts the service: gunicorn with the settings of the environment."""

import os
import resource
import signal
import sys
from pathlib import Path
from typing import NoReturn

from app.settings import Settings

# An idle worker has about 25 open file descriptors.
MIN_FILE_DESCRIPTORS = 64


def end_quietly(*_: object) -> NoReturn:
    """End the process at a signal before gunicorn handles signals.

    A SystemExit would be lost in a destructor or callback that happens to run.
    """
    os._exit(0)


def occupy_standard_streams() -> None:
    """Open closed standard streams, so that no socket gets their descriptors."""
    for fd, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            # Writing a line to standard output still fails, and counts as dropped.
            os.open(os.devnull, mode)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")


def main() -> None:
    """Run gunicorn with app/gunicorn.conf.py, and with further arguments if any.

    A startup that fails ends with an error on stderr and an exit status other than 0.
    """
    # Process 1 of a container would ignore SIGTERM, and SIGINT would print a traceback.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, end_quietly)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup(1) sets it
            signal.signal(number, lambda *_: None)
    occupy_standard_streams()
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit < MIN_FILE_DESCRIPTORS:
        sys.exit(f"hello-wsgi: ulimit -n {limit}: expected at least {MIN_FILE_DESCRIPTORS}")
    try:
        # gunicorn reads WEB_CONCURRENCY when it is imported, before any configuration file.
        Settings.from_environ(os.environ)
        sys.argv[1:1] = ["--config", str(Path(__file__).with_name("gunicorn.conf.py"))]
        from app.command import Command  # noqa: PLC0415 -- see above

        Command("%(prog)s [OPTIONS] [APP_MODULE]", prog="hello-wsgi").run()
    except (OSError, ValueError) as error:
        sys.exit(f"hello-wsgi: {error}")


if __name__ == "__main__":
    main()
