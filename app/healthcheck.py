"""Is the service ready? Exit code 0 if it is, else 1, and one line: the image's health check."""

import os
import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException

from app.settings import Settings


def main() -> None:
    """Ask /readyz of the service that runs with the same environment."""
    try:
        settings = Settings.from_environ(os.environ)
        # 0.0.0.0 and ::, at which a server listens everywhere, lead a client to the loopback.
        with closing(HTTPConnection(settings.host, settings.management_port, timeout=2)) as client:
            client.request("GET", "/readyz")
            status = client.getresponse().status
    except (OSError, HTTPException, ValueError) as error:
        sys.exit(f"not ready: {error!r}")
    print(f"/readyz answers {status}")
    sys.exit(status != 200)


if __name__ == "__main__":
    main()
