"""hello-wsgi: a plain WSGI JSON service."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 -- instead of a traceback on an older Python
    sys.exit("hello-wsgi: Python {}.{}: expected 3.11 or newer".format(*sys.version_info))

__version__ = "1.0.0"
