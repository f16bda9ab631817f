"""Listening sockets: those of the public port, and that of the management port."""

import os
import socket
import sys
from typing import Any

from gunicorn import sock

# Set by the master process, because the kernel chooses the port if the setting is 0.
management_port = ""


def port_of(listener: Any) -> str:
    """Return the port of a TCP listener, and an empty string for a Unix socket."""
    return "" if listener.family == socket.AF_UNIX else str(listener.getsockname()[1])


def role_of(listener: Any) -> str:
    """Return whether a listener is "public" or "management"."""
    return "management" if port_of(listener) == management_port else "public"


def is_management(environ: Any) -> bool:
    """Return whether the request was accepted on the management port.

    gunicorn takes SERVER_PORT from the listener, except on a Unix socket, where it is that of Host.
    """
    return bool(
        environ["SERVER_PORT"] == management_port
        and environ["gunicorn.socket"].family != socket.AF_UNIX
    )


def listen(address: Any, cfg: Any, log: Any) -> Any:
    """Return gunicorn's listener for an address, the path of a Unix socket or a file descriptor.

    An unusable address ends the startup at once. gunicorn itself would retry for five seconds.
    """
    fd, name = None, address
    if isinstance(address, tuple):
        name = f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
    try:
        if isinstance(address, int):
            fd, name = address, f"fd://{address}"
            with socket.socket(fileno=os.dup(fd)) as inherited:
                address = inherited.getsockname()
        return sock._sock_type(address)(address, cfg, log, fd=fd)  # type: ignore[attr-defined] # noqa: SLF001 -- as create_sockets() does
    except (OSError, OverflowError, ValueError) as error:
        sys.exit(f"hello-wsgi: cannot listen on {name}: {error}")
