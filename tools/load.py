"""A load client: requests at a constant rate that does not wait for answers, until it is told to stop.

An open loop: a request begins when its turn comes, whether or not earlier ones were answered, and its latency counts from that
moment. So a stall shows as what it is for users: many slow or failed requests, not a pause in the sending.

Every other request opens a connection of its own, as new visitors do; the others use kept ones, as browsers do. When the server
has closed a kept connection in the meantime, the request is sent once more on a new one: every HTTP client does that
(RFC 9110, 9.2.2). An answer that stays out after the server has had the request is a failure all the same.

Usage:
  python -m tools.load https://127.0.0.1:4581/ --rate 100 --result build/load.json     # until SIGTERM, SIGINT or --seconds
The word `ready` on standard output says that the first answers were good; the JSON result is written at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import json
import math
import signal
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 10.0
KEPT_CONNECTIONS = 8
IDLE_CLOSE_SECONDS = 0.5  # a kept connection that ends this soon after a request was closed before the request came
READY_ANSWERS = 5


def client_context() -> ssl.SSLContext:
    """TLS without a look at the certificate: the load balancer's local one is self-signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclasses.dataclass(frozen=True)
class Request:
    """One kind of request: every `every`-th is this one."""

    path: str
    every: int = 1
    status: int = 200


@dataclasses.dataclass
class Result:
    """What was sent and what came back. Latencies in milliseconds, from the moment at which the request was due."""

    sent: int = 0
    answered: int = 0
    retried: int = 0
    failures: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    failed: int = 0
    latencies: list[float] = dataclasses.field(default_factory=list)
    slow_latencies: list[float] = dataclasses.field(default_factory=list)
    versions: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    behind_ms: float = 0.0
    seconds: float = 0.0

    def fail(self, path: str, when: float, error: str, status: int | None = None) -> None:
        self.failed += 1
        if len(self.failures) < 50:
            self.failures.append({"at_seconds": round(when, 3), "path": path, "status": status, "error": error})

    def summary(self) -> dict[str, Any]:
        """The result as plain data. Requests that are slow by design are counted, but kept out of p50 and p99."""
        return {
            "requests_sent": self.sent,
            "requests_failed": self.failed,
            "requests_retried": self.retried,
            "p50_ms": percentile(self.latencies, 50),
            "p99_ms": percentile(self.latencies, 99),
            "max_ms": percentile(self.latencies, 100),
            "slow_p99_ms": percentile(self.slow_latencies, 99),
            "client_behind_ms": round(self.behind_ms, 1),
            "versions": dict(sorted(self.versions.items())),
            "seconds": round(self.seconds, 1),
            "failures": self.failures,
        }


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The nearest-rank percentile, rounded to a tenth, or None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)], 1)


class Closed(Exception):
    """The server closed the connection before the first byte of an answer."""


class Connection:
    """An HTTP/1.1 connection. Knows just enough of HTTP for a server that sends Content-Length or closes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, host: str, path: str, keep: bool) -> tuple[int, dict[str, str]]:
        """Send GET, read the whole answer. Raises Closed when the connection ended before an answer began."""
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: flotilla-load\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        try:
            self.writer.write(request.encode())
            await self.writer.drain()
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            raise Closed("closed before an answer") from error
        except (ConnectionError, BrokenPipeError) as error:
            raise Closed(str(error)) from error
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
        if "content-length" in headers:
            await self.reader.readexactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
                await self.reader.readexactly(size + 2)
            await self.reader.readexactly(2)
        elif not keep:
            await self.reader.read(-1)
        return int(first.split(" ", 2)[1]), headers

    @property
    def ended(self) -> bool:
        """Whether the server has closed it, as far as is known here."""
        return self.reader.at_eof() or self.writer.is_closing()

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.writer.transport.abort()


class Load:
    """Sends `requests` to one server at `rate` a second until `stop` is set."""

    def __init__(self, address: str, requests: Sequence[Request], rate: float, timeout: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(address)
        self.host, self.secure = parts.hostname or "127.0.0.1", parts.scheme == "https"
        self.port = parts.port or (443 if self.secure else 80)
        self.name = parts.netloc
        self.requests, self.rate, self.timeout = sorted(requests, key=lambda one: -one.every), rate, timeout
        self.context = client_context() if self.secure else None
        self.stop = asyncio.Event()
        self.result = Result()
        self.kept: list[Connection] = []
        self.began = 0.0

    def kind(self, number: int) -> Request:
        """The kind of the request with this number, rarest kinds first."""
        return next(one for one in self.requests if number % one.every == 0)

    async def open(self) -> Connection:
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self.context, server_hostname=self.host if self.secure else None)
        return Connection(reader, writer)

    async def exchange(self, path: str, keep: bool) -> tuple[int, dict[str, str]]:
        """One request and its answer, on a kept connection or a new one."""
        self.kept = [one for one in self.kept if not one.ended]
        if keep and self.kept:
            connection, asked = self.kept.pop(), time.monotonic()
            try:
                answer = await connection.ask(self.name, path, keep)
            except Closed:
                connection.close()
                if time.monotonic() - asked > IDLE_CLOSE_SECONDS:
                    raise
                self.result.retried += 1
            except BaseException:
                connection.close()
                raise
            else:
                self.put_back(connection, answer[1])
                return answer
        connection = await self.open()
        try:
            answer = await connection.ask(self.name, path, keep)
        except BaseException:
            connection.close()
            raise
        if keep:
            self.put_back(connection, answer[1])
        else:
            connection.close()
        return answer

    def put_back(self, connection: Connection, headers: dict[str, str]) -> None:
        if headers.get("connection", "").lower() == "close" or len(self.kept) >= KEPT_CONNECTIONS:
            connection.close()
        else:
            self.kept.append(connection)

    async def one(self, number: int, due: float) -> None:
        """Send request `number`, due at `due` (loop time), and count what comes back."""
        request, loop, result = self.kind(number), asyncio.get_running_loop(), self.result
        try:
            async with asyncio.timeout(self.timeout):
                status, headers = await self.exchange(request.path, keep=number % 2 == 1)
        except TimeoutError:
            result.fail(request.path, due - self.began, f"no answer within {self.timeout:g} s")
        except (OSError, ValueError, IndexError, asyncio.IncompleteReadError, Closed) as error:
            result.fail(request.path, due - self.began, f"{type(error).__name__}: {error}")
        else:
            result.answered += 1
            latency = (loop.time() - due) * 1000
            (result.slow_latencies if "slow" in request.path else result.latencies).append(latency)
            result.versions[headers.get("x-app-version", "-")] += 1
            if status != request.status:
                result.fail(request.path, due - self.began, f"status {status} instead of {request.status}", status)

    async def run(self, seconds: float, on_ready: Callable[[], None] = lambda: None, on_second: Callable[[Result], None] = lambda result: None) -> Result:
        """Send until `stop` is set or `seconds` have passed, then wait for what is still under way."""
        loop = asyncio.get_running_loop()
        self.began = began = loop.time()
        running: set[asyncio.Task[None]] = set()
        ready, told = False, 0
        number = 0
        while not self.stop.is_set():
            due = began + number / self.rate
            if due - began > seconds:
                break
            wait = due - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            self.result.behind_ms = max(self.result.behind_ms, (loop.time() - due) * 1000)
            task = asyncio.create_task(self.one(number, due))
            running.add(task)
            task.add_done_callback(running.discard)
            self.result.sent += 1
            number += 1
            if not ready and self.result.answered - self.result.failed >= READY_ANSWERS:
                ready = True
                on_ready()
            if int(due - began) > told:
                told = int(due - began)
                on_second(self.result)
        if running:
            await asyncio.wait(running, timeout=self.timeout + 5)
        self.result.seconds = loop.time() - began
        for connection in self.kept:
            connection.close()
        return self.result


def parse_mix(texts: Sequence[str]) -> list[Request]:
    """`/slow?seconds=2*50` is one request in 50; a text without `*` is the rest."""
    mix = []
    for text in texts:
        path, star, every = text.rpartition("*")
        mix.append(Request(path, int(every)) if star else Request(every))
    return mix


def main() -> int:
    parser = argparse.ArgumentParser(description="Send requests at a constant rate until told to stop.")
    parser.add_argument("address", help="scheme, host and port, e.g. https://127.0.0.1:4581")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second (default 100)")
    parser.add_argument("--seconds", type=float, default=900.0, help="stop by itself after this long (default 900)")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_SECONDS, help="an answer later than this many seconds is a failure (default 10)")
    parser.add_argument("--request", action="append", dest="mix", help="PATH*N: one in N requests; PATH: the rest (default: /, /whoami*2, /slow?seconds=2*50)")
    parser.add_argument("--result", type=Path, help="file for the JSON result (default: standard output)")
    parser.add_argument("--progress", type=Path, help="file that always holds the counts so far, as JSON")
    options = parser.parse_args()

    async def run() -> Result:
        load = Load(options.address, parse_mix(options.mix or ["/", "/whoami*2", "/slow?seconds=2*50"]), options.rate, options.timeout)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, load.stop.set)

        def on_second(result: Result) -> None:
            if options.progress:
                part = options.progress.with_suffix(".part")
                part.write_text(json.dumps({"sent": result.sent, "failed": result.failed, "versions": dict(result.versions)}), encoding="utf-8")
                part.replace(options.progress)

        return await load.run(options.seconds, lambda: print("ready", flush=True), on_second)

    processor = time.process_time()
    result = asyncio.run(run())
    summary = {**result.summary(), "processor_share": round((time.process_time() - processor) / max(result.seconds, 0.001), 3)}
    text = json.dumps(summary, indent=2) + "\n"
    if options.result:
        options.result.parent.mkdir(parents=True, exist_ok=True)
        options.result.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
