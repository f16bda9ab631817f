"""What does the public port answer? Requests and their answers: data, for every layer of tests."""

from typing import NamedTuple

HELLO = b'{"message": "hello"}'
NOT_FOUND = b'{"error": "Not Found"}'
METHOD_NOT_ALLOWED = b'{"error": "Method Not Allowed"}'


class Exchange(NamedTuple):
    """A request, and what the answer must be.

    `wsgiref` is its status where that of the standard library's server differs: it drops the
    second slash of "//hello", keeps the fragment, and passes on the absolute form as a path, which
    its validator then refuses.
    """

    fact: str
    method: str
    target: str
    status: int
    body: bytes
    wsgiref: int | None = None


CONTRACT = (
    Exchange("hello", "GET", "/hello", 200, HELLO),
    Exchange("a query does not matter", "GET", "/hello?name=x&y", 200, HELLO),
    Exchange("an empty query does not matter", "GET", "/hello?", 200, HELLO),
    Exchange("an escaped letter is that letter", "GET", "/%68ello", 200, HELLO),
    Exchange("HEAD has no body", "HEAD", "/hello", 200, b""),
    Exchange("POST is not allowed", "POST", "/hello", 405, METHOD_NOT_ALLOWED),
    Exchange("PUT is not allowed", "PUT", "/hello", 405, METHOD_NOT_ALLOWED),
    Exchange("PATCH is not allowed", "PATCH", "/hello", 405, METHOD_NOT_ALLOWED),
    Exchange("DELETE is not allowed", "DELETE", "/hello", 405, METHOD_NOT_ALLOWED),
    Exchange("OPTIONS is not allowed", "OPTIONS", "/hello", 405, METHOD_NOT_ALLOWED),
    Exchange("TRACE is not allowed", "TRACE", "/hello", 405, METHOD_NOT_ALLOWED),
    Exchange("an unknown method is not allowed", "BREW", "/hello", 405, METHOD_NOT_ALLOWED),
    Exchange("the root is not found", "GET", "/", 404, NOT_FOUND),
    Exchange("a 404 to HEAD has no body", "HEAD", "/", 404, b""),
    Exchange("a 404 goes before a 405", "POST", "/", 404, NOT_FOUND),
    Exchange("metrics are not public", "GET", "/metrics", 404, NOT_FOUND),
    Exchange("liveness is not public", "GET", "/livez", 404, NOT_FOUND),
    Exchange("readiness is not public", "GET", "/readyz", 404, NOT_FOUND),
    Exchange("a trailing slash makes another path", "GET", "/hello/", 404, NOT_FOUND),
    Exchange("so does an escaped one", "GET", "/hello%2F", 404, NOT_FOUND),
    Exchange("so does a second leading one", "GET", "//hello", 404, NOT_FOUND, wsgiref=200),
    Exchange("a path has case", "GET", "/HELLO", 404, NOT_FOUND),
    Exchange("parameters belong to the path", "GET", "/hello;a=b", 404, NOT_FOUND),
    Exchange("an escaped NUL is not found", "GET", "/hello%00", 404, NOT_FOUND),
    Exchange("an escaped newline is not found", "GET", "/hello%0a", 404, NOT_FOUND),
    Exchange("bytes that are no UTF-8 are not found", "GET", "/%ff%fe", 404, NOT_FOUND),
    Exchange("dots are not resolved", "GET", "/x/../hello", 404, NOT_FOUND),
)

# What only a server can know how to read, and what gunicorn makes of it.
TARGET_FORMS = (
    Exchange("absolute form", "GET", "http://other.example/hello", 200, HELLO, wsgiref=500),
    Exchange("absolute form, no path", "GET", "http://other.example", 404, NOT_FOUND, wsgiref=500),
    Exchange("asterisk form", "OPTIONS", "*", 404, NOT_FOUND, wsgiref=500),
    Exchange("a fragment", "GET", "/hello#fragment", 200, HELLO, wsgiref=404),
)
