"""Clients that keep a server waiting, in crowds."""

import asyncio
import contextlib
import itertools
import socket
import threading
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Self

from tests.client import CLOSING_GET, DEADLINE, GET

Behaviour = Callable[[StreamReader, StreamWriter], Awaitable[object]]


async def say_nothing(reader: StreamReader, _writer: StreamWriter) -> None:
    await reader.read()


async def dribble(reader: StreamReader, writer: StreamWriter) -> None:
    """Send a byte of a head each second."""
    for byte in itertools.chain(b"GET /hello HTTP/1.1\r\nX: ", itertools.repeat(ord("x"))):
        writer.write(bytes([byte]))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await reader.read()
            return


async def never_close(reader: StreamReader, writer: StreamWriter) -> None:
    """Get an answer, and leave open the half of the connection that is ours to close."""
    writer.write(CLOSING_GET)
    await reader.read()
    while not writer.transport.is_closing():
        writer.write(b"x")  # an error tells that the server has closed the other half, too
        await asyncio.sleep(1)


async def stall_a_body(reader: StreamReader, writer: StreamWriter) -> None:
    """Send a little of a body, and wait for an end."""
    writer.write(b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhello")
    await reader.read()


async def stall_a_second_request(reader: StreamReader, writer: StreamWriter) -> None:
    """Send the beginning of a second request together with the first."""
    writer.write(GET + GET[:10])
    await reader.read()


async def stay_idle(reader: StreamReader, writer: StreamWriter) -> None:
    """Get an answer, and keep the connection for another one."""
    writer.write(GET)
    await reader.read()


async def read_nothing(_reader: StreamReader, writer: StreamWriter) -> None:
    """Send request after request, and leave the answers where they are."""
    # Long ones and little room for them, so that it does not take many.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a socket's
    while True:
        writer.write(GET.replace(b"/hello", b"/metrics") * 100)
        await writer.drain()


class Crowd:
    """So many clients of each behaviour all the time: whoever is sent away comes again."""

    def __init__(self, port: int, numbers: Mapping[Behaviour, int]) -> None:
        self.port = port
        self.numbers = numbers
        self.came: Counter[Behaviour] = Counter()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._be(),), daemon=True
        )

    def is_here(self) -> bool:
        """Tell if all have come once."""
        return all(self.came[behaviour] >= number for behaviour, number in self.numbers.items())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(DEADLINE)
        self._loop.close()

    async def _be(self) -> None:
        async with asyncio.TaskGroup() as clients:
            tasks = [
                clients.create_task(self._come(behaviour))
                for behaviour, number in self.numbers.items()
                for _ in range(number)
            ]
            await self._over.wait()
            for task in tasks:
                task.cancel()
        await asyncio.sleep(0)  # asyncio closes a socket a turn after its transport

    async def _come(self, behaviour: Behaviour) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                self.came[behaviour] += 1
                try:
                    await behaviour(reader, writer)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.1)
