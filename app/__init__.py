"""hello-wsgi: a plain WSGI JSON service."""

__version__ = "1.0.0"
