"""How is the service started? The settings are checked, then gunicorn takes over."""

import os
import runpy
import sys
from pathlib import Path

from app.settings import Settings


def main() -> None:
    """Run `python -m gunicorn --config app/gunicorn.conf.py`, with further arguments if any."""
    # gunicorn reads WEB_CONCURRENCY as it is imported, before any configuration file, and a bad
    # value ends in a traceback there.
    try:
        Settings.from_environ(os.environ)
    except ValueError as error:
        sys.exit(f"hello-wsgi: {error}")
    sys.argv[1:1] = ["--config", str(Path(__file__).with_name("gunicorn.conf.py"))]
    runpy.run_module("gunicorn", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
