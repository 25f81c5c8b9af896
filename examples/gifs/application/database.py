"""MySQL for gifs: a few connections, TLS only, authority and host name verified, made anew after any outage."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pymysql
from pymysql.constants import CLIENT

POOL_SIZE = 4
PATIENCE_SECONDS = 5


class Unavailable(Exception):
    """The database cannot be used now; the text says why, without secrets."""


class VerifiedConnection(pymysql.connections.Connection):  # type: ignore[type-arg]
    """A connection that ends when the server does not offer TLS; PyMySQL itself would go on in clear text."""

    def _request_authentication(self) -> None:
        if not self.server_capabilities & CLIENT.SSL:
            raise pymysql.err.OperationalError(2026, "the server offers no TLS")
        super()._request_authentication()


class Database:
    """One connection for each thread of a small pool: the pool's size is the number of connections, whatever the load."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.threads = ThreadPoolExecutor(POOL_SIZE, thread_name_prefix="database")
        self.turns = asyncio.Semaphore(POOL_SIZE)
        self.mine = threading.local()

    def connect(self) -> Any:
        """A new connection. The password is read each time, so that a rotated one is taken up."""
        environment = self.environment
        return VerifiedConnection(
            host=environment["DATABASE_HOST"],
            port=int(environment.get("DATABASE_PORT", "3306")),
            user=environment["DATABASE_USER"],
            password=Path(environment.get("SECRETS", "/run/secrets"), "database_password").read_text(encoding="utf-8").strip(),
            database=environment["DATABASE_NAME"],
            ssl=ssl.create_default_context(cafile=environment["DATABASE_CA"]),
            cursorclass=pymysql.cursors.DictCursor,
            autocommit=True,
            connect_timeout=2,
            read_timeout=PATIENCE_SECONDS,
            write_timeout=PATIENCE_SECONDS,
        )

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> tuple[list[dict[str, Any]], int]:
        """Run one statement in this thread: rows, and the id of an inserted row. A connection that died meanwhile is replaced first."""
        connection, self.mine.connection = getattr(self.mine, "connection", None), None
        try:
            try:
                if connection is not None:
                    connection.ping(reconnect=False)
            except (pymysql.err.Error, OSError):
                connection = None
            connection = connection or self.connect()
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                result = list(cursor.fetchall()), int(cursor.lastrowid or 0)
        except KeyError as error:
            raise Unavailable(f"{error.args[0]} is not set") from error
        except (pymysql.err.Error, OSError) as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        self.mine.connection = connection
        return result

    async def run(self, statement: str, *values: Any) -> tuple[list[dict[str, Any]], int]:
        """The same without blocking the event loop. Unavailable when none is free for PATIENCE_SECONDS."""
        try:
            await asyncio.wait_for(self.turns.acquire(), PATIENCE_SECONDS)
        except TimeoutError as error:
            raise Unavailable("all connections are busy") from error
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, self.execute, statement, values)
        finally:
            self.turns.release()
