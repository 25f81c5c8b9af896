"""The load client counts every way in which a request can be lost, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tools.load import Load, Request, Result, parse_mix, percentile

Respond = Callable[[str, asyncio.StreamWriter], Awaitable[bool]]


async def head_of(reader: asyncio.StreamReader) -> str | None:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode().split(" ", 2)[1]
    except asyncio.IncompleteReadError:
        return None


def answer(body: bytes = b"ok", status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nX-App-Version: v7\r\n{more}\r\n".encode() + body


def drive(respond: Respond, requests: list[Request], seconds: float = 0.51, rate: float = 40, timeout: float = 8) -> Result:
    """Load against a server in this process; `respond` writes an answer and says whether the connection stays open."""

    async def whole() -> Result:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while (path := await head_of(reader)) is not None:
                if not await respond(path, writer):
                    break
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        result = await Load(address, requests, rate, timeout).run(seconds)
        server.close()
        return result

    return asyncio.run(whole())


async def good(path: str, writer: asyncio.StreamWriter) -> bool:
    writer.write(answer())
    return True


def test_good_answers_are_counted_by_version_at_the_given_rate() -> None:
    result = drive(good, [Request("/")])
    assert (result.sent, result.failed) == (21, 0)
    assert dict(result.versions) == {"v7": 21}
    assert result.summary()["p99_ms"] is not None


@pytest.mark.parametrize(
    ("respond", "word"),
    [
        (lambda path, writer: wrote(writer, answer(status="503 Service Unavailable")), "status 503"),
        (lambda path, writer: wrote(writer, b""), "closed before"),
        (lambda path, writer: wrote(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"), "IncompleteRead"),
        (lambda path, writer: wrote(writer, b"HTTP/1.1 200"), "IncompleteRead"),
        (lambda path, writer: asyncio.sleep(5, result=False), "no answer within"),
    ],
)
def test_every_way_to_lose_a_request_is_a_failure(respond: Respond, word: str) -> None:
    result = drive(respond, [Request("/")], seconds=0.1, timeout=0.5)
    assert result.failed == result.sent > 0
    assert word in result.failures[0]["error"]
    assert {"at_seconds", "path", "status", "error"} == set(result.failures[0])


async def wrote(writer: asyncio.StreamWriter, data: bytes) -> bool:
    writer.write(data)
    return False


def test_a_refused_connection_is_a_failure() -> None:
    result = asyncio.run(Load("http://127.0.0.1:1", [Request("/")], 50).run(0.1))
    assert result.failed == result.sent > 0


def test_a_kept_connection_that_was_closed_while_idle_is_replaced() -> None:
    async def once(path: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer())
        return False

    assert drive(once, [Request("/")]).failed == 0


def test_a_kept_connection_that_is_closed_as_a_request_comes_is_opened_again() -> None:
    seen: dict[asyncio.StreamWriter, int] = {}

    async def second_closes(path: str, writer: asyncio.StreamWriter) -> bool:
        seen[writer] = seen.get(writer, 0) + 1
        if seen[writer] == 1:
            writer.write(answer())
        return seen[writer] == 1

    result = drive(second_closes, [Request("/")])
    assert result.failed == 0
    assert result.retried > 0


def test_a_kept_connection_that_dies_while_an_answer_is_made_is_a_failure() -> None:
    seen: dict[asyncio.StreamWriter, int] = {}

    async def second_dies(path: str, writer: asyncio.StreamWriter) -> bool:
        seen[writer] = seen.get(writer, 0) + 1
        if seen[writer] == 2:
            await asyncio.sleep(0.8)
            return False
        writer.write(answer())
        return True

    assert drive(second_dies, [Request("/")]).failed > 0


def test_the_rate_does_not_wait_for_answers_and_slow_ones_stay_out_of_p99() -> None:
    async def sometimes_slow(path: str, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(0.4 if path.startswith("/slow") else 0)
        writer.write(answer())
        return True

    result = drive(sometimes_slow, [Request("/"), Request("/slow", every=5)])
    assert (result.sent, result.failed) == (21, 0)
    assert (len(result.slow_latencies), len(result.latencies)) == (5, 16)
    assert min(result.slow_latencies) > 390


def test_percentiles_and_the_mix() -> None:
    assert percentile([], 50) is None
    assert percentile([5, 1, 4, 2, 3], 50) == 3
    assert percentile(list(range(1, 101)), 99) == 99
    assert parse_mix(["/", "/slow?seconds=2*50"]) == [Request("/"), Request("/slow?seconds=2", 50)]
