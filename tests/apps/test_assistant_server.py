"""The end of stdin waits for requests that are running, and not for ever."""

from __future__ import annotations

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from prost.apps import assistant_server
from prost.apps.assistant_server import Incoming, Outgoing, Requests

ASKED = SessionMessage(JSONRPCRequest(jsonrpc="2.0", id=7, method="tools/call"))
ANSWERED = SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=7, result={}))


def cancelled(number: object) -> SessionMessage:
    parameters = {"requestId": number}
    return SessionMessage(
        JSONRPCNotification(jsonrpc="2.0", method="notifications/cancelled", params=parameters)
    )


def told(*messages: SessionMessage, answer: SessionMessage | None) -> list[str]:
    """What happens in which order when a client sends messages and closes its end."""
    noted = []

    async def talk() -> None:
        client, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](9)
        outgoing, _answers = anyio.create_memory_object_stream[SessionMessage](9)
        requests = Requests()
        for message in messages:
            await client.send(message)
        client.close()

        async def read() -> None:
            async with Incoming(incoming, requests) as stream:
                async for _ in stream:
                    noted.append("message")
            noted.append("end")

        async with anyio.create_task_group() as group, _answers:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            if answer is not None:
                async with Outgoing(outgoing, requests) as stream:
                    noted.append("answer")
                    await stream.send(answer)

    anyio.run(talk)
    return noted


def test_the_end_comes_after_the_answer() -> None:
    assert told(ASKED, answer=ANSWERED) == ["message", "answer", "end"]


def test_without_a_request_it_comes_at_once() -> None:
    assert told(answer=ANSWERED) == ["end", "answer"]
    assert told(cancelled(7), answer=ANSWERED) == ["message", "end", "answer"]


def test_a_request_that_was_cancelled_gets_no_answer() -> None:
    assert told(ASKED, cancelled(7), answer=None) == ["message", "message", "end"]


def test_a_request_that_is_never_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assistant_server, "FINISH_SECONDS", 0.1)
    assert told(ASKED, answer=None) == ["message", "end"]
    assert told(ASKED, cancelled([7]), answer=None) == ["message", "message", "end"]
