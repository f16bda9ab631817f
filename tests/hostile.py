"""What a client should not send, and what it gets for it: for tests and the soak.

Each is a whole message with a fault, so what follows it must not be taken for a request. The
outcome is the status of the only answer.
"""

import json
import random
import re
import socket

from tests.client import connect, read_to_end

HEAD = b"GET /hello HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /hello HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"


def line(request_line: bytes) -> bytes:
    return request_line + b"\r\nHost: x\r\n\r\n"


def field(header: bytes) -> bytes:
    return HEAD + header + b"\r\n\r\n"


def body(header: bytes, content: bytes = b"") -> bytes:
    return POST + header + b"\r\n\r\n" + content


def chunks(content: bytes) -> bytes:
    return CHUNKED + b"\r\n" + content


REQUEST_LINES = {
    "no HTTP": (b"hello\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /hello\r\n\r\n", 400),
    "no target": (line(b"GET HTTP/1.1"), 400),
    "no method": (line(b" /hello HTTP/1.1"), 400),
    "two spaces": (line(b"GET  /hello HTTP/1.1"), 400),
    "a tab for a space": (line(b"GET\t/hello\tHTTP/1.1"), 400),
    "a space at the end": (line(b"GET /hello HTTP/1.1 "), 400),
    "a space in the target": (line(b"GET /hello world HTTP/1.1"), 400),
    "a fourth word": (line(b"GET /hello HTTP/1.1 HTTP/1.1"), 400),
    "a method in lower case": (line(b"get /hello HTTP/1.1"), 400),
    "a method that is no token": (line(b"G@T /hello HTTP/1.1"), 400),
    "a method with a NUL": (line(b"GE\x00T /hello HTTP/1.1"), 400),
    "a method that is too short": (line(b"GE /hello HTTP/1.1"), 400),
    "a method that is too long": (line(b"A" * 21 + b" /hello HTTP/1.1"), 400),
    "a raw byte in the target": (line(b"GET /\xff HTTP/1.1"), 400),
    "a NUL in the target": (line(b"GET /\x00 HTTP/1.1"), 400),
    "a control character in the target": (line(b"GET /\x1b HTTP/1.1"), 400),
    "a bare CR in the target": (line(b"GET /\r HTTP/1.1"), 400),
    "an authority without CONNECT": (line(b"GET x:80 HTTP/1.1"), 400),
    "a target that is no path": (line(b"GET hello HTTP/1.1"), 400),
    "an absolute target without a host": (line(b"GET http:///hello HTTP/1.1"), 400),
    "an absolute target with a port alone": (line(b"GET http://:80/hello HTTP/1.1"), 400),
    "an absolute target with a user": (line(b"GET http://a@b/hello HTTP/1.1"), 400),
    "an absolute target with a bad escape": (line(b"GET http://a%zz/hello HTTP/1.1"), 400),
    "a tunnel to nowhere": (line(b"CONNECT /hello HTTP/1.1"), 400),
    "an absolute target without an end": (line(b"GET http://[::1/hello HTTP/1.1"), 400),
    "a version in lower case": (line(b"GET /hello http/1.1"), 400),
    "a version without digits": (line(b"GET /hello HTTP/one"), 400),
    "a version of one digit": (line(b"GET /hello HTTP/1"), 400),
    "a version of many digits": (line(b"GET /hello HTTP/1.10"), 400),
    "a later version": (line(b"GET /hello HTTP/3.0"), 400),
    "an earlier version": (line(b"GET /hello HTTP/0.9"), 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "a PROXY line": (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + HEAD + b"\r\n", 400),
    "a target that is too long": (line(b"GET /" + b"a" * 9000 + b" HTTP/1.1"), 414),
}
HEADERS = {
    "no colon": (field(b"A"), 400),
    "no name": (field(b": b"), 400),
    "a space before the colon": (field(b"A : b"), 400),
    "a space before the name": (HEAD.replace(b"Host", b" Host") + b"\r\n", 400),
    "a name that is no token": (field(b"A(b): c"), 400),
    "a raw byte in a name": (field(b"A\xff: b"), 400),
    "a NUL in a name": (field(b"A\x00: b"), 400),
    "a NUL in a value": (field(b"A: \x00"), 400),
    "a control character in a value": (field(b"A: \x01"), 400),
    "a delete in a value": (field(b"A: \x7f"), 400),
    "a bare CR in a value": (field(b"A: b\rC: d"), 400),
    "an obsolete fold": (field(b"A: b\r\n c"), 400),
    "a fold that is empty": (field(b"A: b\r\n "), 400),
    "two hosts": (field(b"Host: y"), 400),
    "no host": (b"GET /hello HTTP/1.1\r\n\r\n", 400),
    "a host with a space": (b"GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "a host with a path": (b"GET /hello HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "a host with a user": (b"GET /hello HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    "a host with a raw byte": (b"GET /hello HTTP/1.1\r\nHost: \xe9\r\n\r\n", 400),
    "a host with two ports": (b"GET /hello HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400),
    "bare LF": (b"GET /hello HTTP/1.1\nHost: x\n\n", 400),
    "one bare LF": (b"GET /hello HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400),
    "a bare LF for the empty line": (b"GET /hello HTTP/1.1\r\nHost: x\r\n\n", 400),
    "bare CR": (b"GET /hello HTTP/1.1\rHost: x\r\r\r\n\r\n", 400),
    "an unknown expectation": (field(b"Expect: secret"), 417),
    "a header that is too long": (field(b"A: " + b"a" * 9000), 431),
    "too many headers": (field(b"\r\n".join([b"A: b"] * 101)), 431),
    "a head that is too long": (field(b"\r\n".join([b"A: " + b"a" * 7000] * 4)), 431),
}
LENGTHS = {
    "two lengths": (body(b"Content-Length: 5\r\nContent-Length: 6", b"hello!"), 400),
    "the same length twice": (body(b"Content-Length: 5\r\nContent-Length: 5", b"hello"), 400),
    "a list of lengths": (body(b"Content-Length: 5, 5", b"hello"), 400),
    "a signed length": (body(b"Content-Length: +5", b"hello"), 400),
    "a negative length": (body(b"Content-Length: -5", b"hello"), 400),
    "a hexadecimal length": (body(b"Content-Length: 0x5", b"hello"), 400),
    "a length with an underscore": (body(b"Content-Length: 1_0", b"hellohello"), 400),
    "a length with a space": (body(b"Content-Length: 1 0", b"hellohello"), 400),
    "an empty length": (body(b"Content-Length:", b"hello"), 400),
    "a length in other digits": (body("Content-Length: \u0665".encode(), b"hello"), 400),
    "a superscript length": (body(b"Content-Length: \xb2", b"he"), 400),
    "a length beyond 64 bits": (body(b"Content-Length: 99999999999999999999", b"hello"), 400),
    "a length beyond all numbers": (body(b"Content-Length: " + b"9" * 5000, b"hello"), 400),
}
TRANSFER_ENCODINGS = {
    "a length and chunks": (
        body(b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
        400,
    ),
    "chunks and a length": (
        body(b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"0\r\n\r\n"),
        400,
    ),
    "chunks in HTTP/1.0": (
        body(b"Transfer-Encoding: chunked").replace(b"1.1", b"1.0") + b"0\r\n\r\n",
        400,
    ),
    "chunked twice": (body(b"Transfer-Encoding: chunked, chunked", b"0\r\n\r\n"), 400),
    "chunked in two fields": (
        body(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
        400,
    ),
    "chunked, but not at last": (body(b"Transfer-Encoding: chunked, gzip", b"0\r\n\r\n"), 400),
    "not chunked at all": (body(b"Transfer-Encoding: gzip", b"hello"), 400),
    "the identity, chunked": (body(b"Transfer-Encoding: identity, chunked", b"0\r\n\r\n"), 501),
    "compressed, chunked": (body(b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"), 501),
    "the identity": (body(b"Transfer-Encoding: identity", b"hello"), 400),
    "an empty coding": (body(b"Transfer-Encoding:", b"hello"), 501),
    "an unknown coding": (body(b"Transfer-Encoding: gzipped", b"hello"), 501),
    "chunked in quotes": (body(b'Transfer-Encoding: "chunked"', b"0\r\n\r\n"), 501),
    "chunked with a parameter": (body(b"Transfer-Encoding: chunked;q=1", b"0\r\n\r\n"), 501),
    "chunked with a vertical tab": (body(b"Transfer-Encoding: \x0bchunked", b"0\r\n\r\n"), 400),
    "chunked after a tab": (body(b"Transfer-Encoding:\tchunked, x", b"0\r\n\r\n"), 501),
    "chunked in a name with a space": (body(b"Transfer-Encoding : chunked", b"0\r\n\r\n"), 400),
    "chunked in a fold": (body(b"Transfer-Encoding:\r\n chunked", b"0\r\n\r\n"), 400),
}
CHUNKS = {
    "a chunk of no size": (chunks(b"\r\n\r\n"), 400),
    "a chunk of a signed size": (chunks(b"+5\r\nhello\r\n0\r\n\r\n"), 400),
    "a chunk of a negative size": (chunks(b"-5\r\nhello\r\n0\r\n\r\n"), 400),
    "a chunk of a size with a prefix": (chunks(b"0x5\r\nhello\r\n0\r\n\r\n"), 400),
    "a chunk of a size with an underscore": (chunks(b"1_0\r\nhellohello\r\n0\r\n\r\n"), 400),
    "a chunk of a size in other digits": (chunks("\u0665\r\nhello\r\n0\r\n\r\n".encode()), 400),
    "a chunk of a size after a space": (chunks(b" 5\r\nhello\r\n0\r\n\r\n"), 400),
    "a chunk of a size before a space": (chunks(b"5 \r\nhello\r\n0\r\n\r\n"), 400),
    "a chunk that is longer than its size": (chunks(b"5\r\nhello!\r\n0\r\n\r\n"), 400),
    "a chunk that ends with LF": (chunks(b"5\r\nhello\n0\r\n\r\n"), 400),
    "a chunk size that ends with LF": (chunks(b"5\nhello\r\n0\r\n\r\n"), 400),
    "a chunk size that ends with CR": (chunks(b"5\rhello\r\n0\r\n\r\n"), 400),
    "an extension that is too long": (chunks(b"5;a=" + b"b" * 9000 + b"\r\nhello"), 400),
    "an extension with LF": (chunks(b"5;a\nb\r\nhello\r\n0\r\n\r\n"), 400),
    "an extension with CR": (chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), 400),
    "an extension that is no token": (chunks(b"5;(\r\nhello\r\n0\r\n\r\n"), 400),
    "an extension in open quotes": (chunks(b'5;a="b\r\nhello\r\n0\r\n\r\n'), 400),
    "a trailer without a colon": (chunks(b"0\r\nhello\r\n\r\n"), 400),
    "a trailer with a bare LF": (chunks(b"0\r\nA: b\nC: d\r\n\r\n"), 400),
    "a trailer that sets the length": (chunks(b"0\r\nContent-Length: 5\r\n\r\n"), 400),
    "a trailer that sets the host": (chunks(b"0\r\nHost: y\r\n\r\n"), 400),
}

# Requests that are served and are the last of their connection: where the next one starts is
# unknown, because the application leaves a body unread that is too large to be collected.
LAST = {
    "a tunnel": (line(b"CONNECT x:80 HTTP/1.1"), 404),
    "a chunk of a size beyond all numbers": (chunks(b"f" * 5000 + b"\r\nhello"), 405),
    "a body that is longer than is passed over": (
        body(b"Content-Length: 70000", b"a" * 70000),
        405,
    ),
    "a chunk that is longer than is passed over": (
        chunks(b"11170\r\n" + b"a" * 70000 + b"\r\n0\r\n\r\n"),
        405,
    ),
}
MALFORMED = REQUEST_LINES | HEADERS | LENGTHS | TRANSFER_ENCODINGS | CHUNKS

# What looks odd, and is none the less HTTP: the next request is answered, too.
ODD = {
    "an empty line before": (b"\r\n" + HEAD + b"\r\n", 200),
    "empty lines before": (b"\r\n\r\n" + HEAD + b"\r\n", 200),
    "a header without a value": (field(b"A:"), 200),
    "a value in other letters": (field(b"A: \xc3\xa9\xff"), 200),
    "spaces and tabs around a value": (field(b"A: \t b \t"), 200),
    "an empty host": (b"GET /hello HTTP/1.1\r\nHost:\r\n\r\n", 200),
    "a host that is an address": (b"GET /hello HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200),
    "a name with an underscore, which is dropped": (field(b"Content_Length: 5"), 200),
    "a WebSocket": (
        field(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"),
        200,
    ),
    "an upgrade to HTTP/2": (
        field(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"),
        200,
    ),
    "an absolute target": (line(b"GET http://y/hello HTTP/1.1"), 200),
    "an asterisk": (line(b"OPTIONS * HTTP/1.1"), 404),
    "a body with GET": (field(b"Content-Length: 5") + b"hello", 200),
    "a body in chunks": (chunks(b"5;a=b;c\r\nhello\r\n0\r\nA: b\r\n\r\n"), 405),
    "a chunk of a size with zeros": (chunks(b"0005\r\nhello\r\n000\r\n\r\n"), 405),
}


MUTATED = [message for message, _ in (MALFORMED | LAST | ODD).values() if len(message) < 999]


def mutation(rng: random.Random) -> bytes:
    """Do one to four things to a message that a broken client, or a clever one, might do."""
    mutated = bytearray(rng.choice(MUTATED))
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(mutated) + 1)
        end = min(len(mutated), start + rng.randint(0, 12))
        other = rng.choice(MUTATED)
        cut = rng.randrange(len(other))
        mutated[start:end] = rng.choice(
            [
                b"",
                bytes([rng.randrange(256)]),
                rng.choice([b"\r", b"\n", b"\r\n", b"\x00", b" ", b":", b"0", b";", b"-"]),
                bytes(mutated[start:end]) * 2,
                other[cut : cut + rng.randint(1, 40)],
            ]
        )
    return bytes(mutated)


def exchange(port: int, message: bytes) -> bytes:
    """Send a message, and that nothing follows it; return all that comes until the end."""
    with connect(port) as connection:
        try:
            connection.sendall(message)
            connection.shutdown(socket.SHUT_WR)
            return read_to_end(connection)
        except ConnectionError:  # it has been closed before all has been sent
            return b""


def statuses(answers: bytes) -> list[int]:
    """Return the statuses of answers that follow each other, each of them whole and in JSON."""
    found = []
    while answers:
        head, _, rest = answers.partition(b"\r\n\r\n")
        status_line, *fields = head.decode("ascii").split("\r\n")
        assert re.fullmatch(r"HTTP/1\.[01] [1-5][0-9]{2} [A-Za-z -]+", status_line)
        found.append(int(status_line[9:12]))
        length = int(dict(field.split(": ", 1) for field in fields)["Content-Length"])
        json.loads(rest[:length])
        answers = rest[length:]
    return found
