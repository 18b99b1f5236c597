"""Serving an assistant on stdin and stdout. stdout carries the protocol alone. Needs the extra `mcp`."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Self, TypeVar

import anyio
from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    ListToolsResult,
)

from prost import __version__
from prost.apps.assistant import INSTRUCTIONS, Assistant
from prost.interruption import SIGNALS

Result = TypeVar("Result")

READ_AT_ONCE = 1 << 16
# Seconds that running requests get when stdin has ended. A client that does not want their answers sends a signal.
FINISH_SECONDS = 60.0
CANCELLED = "notifications/cancelled"


def serve(assistant: Assistant) -> signal.Signals | None:
    """Answer an assistant on stdin and stdout until stdin ends, or a signal asks the process to stop.

    When stdin ends, requests that are running are answered first, for FINISH_SECONDS at most. Threads may still be at
    work afterwards: a model that is being loaded cannot be interrupted.

    Returns:
        the signal; None where stdin has ended.
    """
    return anyio.run(_serve, assistant)


async def _serve(assistant: Assistant) -> signal.Signals | None:
    async def list_tools(*_: object) -> ListToolsResult:
        return ListToolsResult(tools=assistant.tools())

    async def call_tool(_: object, params: CallToolRequestParams) -> CallToolResult:
        return await _in_thread(lambda: assistant.call(params.name, params.arguments or {}))

    server: Server[Any] = Server(
        "prost",
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    with anyio.CancelScope() as scope, _signals_call(scope.cancel) as received:
        try:
            async with stdio_server(stdin=_StandardInput()) as (incoming, outgoing):  # type: ignore[arg-type]
                threading.Thread(target=assistant.open, name="prost-open", daemon=True).start()
                requests = Requests()
                await server.run(
                    Incoming(incoming, requests),
                    Outgoing(outgoing, requests),
                    server.create_initialization_options(),
                )
        except* BrokenPipeError:
            pass  # nobody reads the answers
    return received[0] if received else None


@contextmanager
def _signals_call(stop: Callable[[], None]) -> Iterator[list[signal.Signals]]:
    """Within this context a signal calls `stop` in the loop instead of raising an exception in the middle of a task.

    Yields:
        the signals that were received.
    """
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def handle(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number))
        loop.call_soon_threadsafe(stop)

    # One that is ignored, as under nohup, stays ignored.
    before = {number: signal.getsignal(number) for number in SIGNALS}
    handled = [number for number, handler in before.items() if callable(handler)]
    for number in handled:
        signal.signal(number, handle)
    try:
        yield received
    finally:
        for number in handled:
            signal.signal(number, before[number])


async def _in_thread(work: Callable[[], Result]) -> Result:
    """Do work in a thread of its own. It is a daemon, so that a signal ends the process while the work goes on."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result) -> None:
        if not future.done():
            future.set_result(result)

    def run() -> None:
        result = work()
        with suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=run, name="prost-call", daemon=True).start()
    return await future


class Requests:
    """The requests that are not answered yet."""

    def __init__(self) -> None:
        self._running: set[str | int] = set()
        self._done = asyncio.Event()
        self._done.set()

    def note(self, message: SessionMessage | Exception) -> None:
        """Look at a message, whoever sent it."""
        content = message.message if isinstance(message, SessionMessage) else None
        if isinstance(content, JSONRPCRequest):
            self._running.add(content.id)
        elif isinstance(content, JSONRPCResponse | JSONRPCError):
            self._running.discard(content.id)  # None where the request had none that could be read
        elif isinstance(content, JSONRPCNotification) and content.method == CANCELLED:
            number = (content.params or {}).get("requestId")
            if isinstance(number, str | int):
                self._running.discard(number)  # it gets no answer
        if self._running:
            self._done.clear()
        else:
            self._done.set()

    async def answered(self) -> None:
        """Wait until all are answered, or FINISH_SECONDS have passed."""
        with anyio.move_on_after(FINISH_SECONDS):
            await self._done.wait()


class _Stream:
    """One of the streams of a connection, which notes what goes through it."""

    def __init__(self, stream: Any, requests: Requests) -> None:
        self._stream, self._requests = stream, requests

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Incoming(_Stream):
    """Messages of the client. Their end comes once all requests are answered: the SDK then cancels what runs."""

    @property
    def last_context(self) -> Any:
        """Variables of the task that sent the last message."""
        return self._stream.last_context

    async def receive(self) -> SessionMessage | Exception:
        """The next message.

        Raises:
            anyio.EndOfStream: there is none.
        """
        try:
            message: SessionMessage | Exception = await self._stream.receive()
        except anyio.EndOfStream:
            await self._requests.answered()
            raise
        self._requests.note(message)
        return message

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


class Outgoing(_Stream):
    """Messages to the client."""

    async def send(self, message: SessionMessage) -> None:
        """Send a message."""
        await self._stream.send(message)
        self._requests.note(message)


class _StandardInput:
    """The lines of stdin, read by a daemon thread.

    The SDK's own reader waits in a thread that Python joins at the end, so that a signal would have no effect until the
    next line.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        threading.Thread(target=self._read, name="prost-stdin", daemon=True).start()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        line = await self._lines.get()
        if line is None:
            raise StopAsyncIteration
        return line

    def _read(self) -> None:
        # Not through sys.stdin: its lock would be held by this thread while Python shuts down.
        rest: deque[bytes] = deque()
        while data := os.read(0, READ_AT_ONCE):
            *lines, end = data.split(b"\n")
            for line in lines:
                self._put(b"".join([*rest, line]).decode("utf-8", "replace"))
                rest.clear()
            rest.append(end)
        if any(rest):
            self._put(b"".join(rest).decode("utf-8", "replace"))
        self._put(None)

    def _put(self, line: str | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
