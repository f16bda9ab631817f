"""hello-wsgi: a plain WSGI JSON service."""

__version__ = "0.1.0"
