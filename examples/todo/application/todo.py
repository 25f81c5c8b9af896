"""todo: items in MySQL, and a page to use them. Settings come from the environment:

MYSQL_HOST, MYSQL_PORT, MYSQL_USER, MYSQL_PASSWORD, MYSQL_DB   where the items are kept
MYSQL_CA               certificate authority of the database (a file); without it no connection is made
FLOTILLA_HOST, APP_VERSION   who answers and which build it is (X-App-Host, X-App-Version)
APP_FAULT              `unhealthy`: a build that never becomes ready, for tests of the deployment
"""

from __future__ import annotations

import json
import os
import queue
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pymysql
from flask import Flask, g, jsonify, request
from pymysql.constants import CLIENT
from werkzeug.exceptions import HTTPException, UnprocessableEntity

POOL_SIZE = 6  # connections of one container: (hosts + 1) * POOL_SIZE must stay below the server's max_connections
PATIENCE_SECONDS = 3
PAGE_SIZE = 100
SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  title VARCHAR(200) NOT NULL,
  done BOOLEAN NOT NULL DEFAULT FALSE,
  made_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
) CHARACTER SET utf8mb4
"""
HERE = Path(__file__).resolve().parent


def log(level: str, message: str, **details: object) -> None:
    """One JSON line on standard output."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "message": message, **details}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Unavailable(Exception):
    """The database cannot be used now; the text says why, without secrets."""


class VerifiedConnection(pymysql.connections.Connection):  # type: ignore[type-arg]
    """A connection that ends when the server does not offer TLS; PyMySQL itself would go on in clear text."""

    def _request_authentication(self) -> None:
        if not self.server_capabilities & CLIENT.SSL:
            raise pymysql.err.OperationalError(2026, "the server offers no TLS")
        super()._request_authentication()


class Database:
    """At most POOL_SIZE connections, made when needed and checked before use, so that an outage heals by itself."""

    def __init__(self) -> None:
        self.idle: queue.LifoQueue[Any] = queue.LifoQueue()
        self.turns = threading.BoundedSemaphore(POOL_SIZE)
        self.ready = False

    def connect(self) -> Any:
        """A new connection over TLS, with the authority's signature and the host name both checked."""
        try:
            return VerifiedConnection(
                host=os.environ["MYSQL_HOST"],
                port=int(os.environ.get("MYSQL_PORT", "3306")),
                user=os.environ["MYSQL_USER"],
                password=os.environ["MYSQL_PASSWORD"],
                database=os.environ["MYSQL_DB"],
                ssl=ssl.create_default_context(cafile=os.environ["MYSQL_CA"]),
                cursorclass=pymysql.cursors.DictCursor,
                client_flag=CLIENT.FOUND_ROWS,
                autocommit=True,
                connect_timeout=2,
                read_timeout=PATIENCE_SECONDS,
                write_timeout=PATIENCE_SECONDS,
            )
        except KeyError as error:
            raise Unavailable(f"{error.args[0]} is not set") from error

    def checked(self) -> Any:
        """An idle connection that still answers, or a new one. The table is made by whoever connects first."""
        while True:
            try:
                connection = self.idle.get_nowait()
            except queue.Empty:
                connection = self.connect()
                break
            try:
                connection.ping(reconnect=False)
                break
            except (pymysql.err.Error, OSError):
                continue
        if not self.ready:
            with connection.cursor() as cursor:
                cursor.execute(SCHEMA)
            self.ready = True
        return connection

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """A cursor. Raises Unavailable for whatever goes wrong with the database."""
        if not self.turns.acquire(timeout=1):
            raise Unavailable("all connections are busy")
        try:
            connection = self.checked()
            with connection.cursor() as cursor:
                yield cursor
            self.idle.put(connection)
        except (pymysql.err.Error, OSError) as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        finally:
            self.turns.release()


database = Database()
app = Flask(__name__, static_folder=None)
app.config["MAX_CONTENT_LENGTH"] = 16 * 1024


def public(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "done": bool(row["done"]), "made_at": row["made_at"].isoformat() + "Z"}


def wanted(*required: str) -> dict[str, Any]:
    """The fields of an item in the request's JSON. 422 names what is wrong."""
    fields = request.get_json(silent=True)
    if not isinstance(fields, dict):
        raise UnprocessableEntity("the body must be a JSON object")
    missing, unknown = sorted(set(required) - set(fields)), sorted(set(fields) - {"title", "done"})
    if missing or unknown or not fields:
        raise UnprocessableEntity(f"missing: {', '.join(missing) or '-'}; unknown: {', '.join(unknown) or '-'}; an item has title and done")
    if "title" in fields and not (isinstance(fields["title"], str) and 1 <= len(fields["title"].strip()) <= 200):
        raise UnprocessableEntity("title must be a text of 1 to 200 characters")
    if "done" in fields and not isinstance(fields["done"], bool):
        raise UnprocessableEntity("done must be true or false")
    return {name: value.strip() if name == "title" else value for name, value in fields.items()}


def found(cursor: Any, number: int) -> dict[str, Any] | None:
    cursor.execute("SELECT id, title, done, made_at FROM items WHERE id = %s", (number,))
    row = cursor.fetchone()
    return public(row) if row else None


@app.get("/")
def page() -> Any:
    return (HERE / "page.html").read_text(encoding="utf-8")


@app.get("/healthz")
def healthz() -> Any:
    """Liveness: the process answers. No database."""
    fault = os.environ.get("APP_FAULT")
    return jsonify(status=fault or "ok"), 500 if fault else 200


@app.get("/readyz")
def readyz() -> Any:
    """Readiness: the database can be used. An app started before its database gets traffic as soon as there is one."""
    if fault := os.environ.get("APP_FAULT"):
        return jsonify(status=fault), 500
    with database.cursor() as cursor:
        cursor.execute("SELECT 1")
    return jsonify(status="ready")


@app.get("/items")
def items() -> Any:
    """The newest hundred; `?before=<id>` goes on from there."""
    before = request.args.get("before", default=2**63, type=int)
    with database.cursor() as cursor:
        cursor.execute("SELECT id, title, done, made_at FROM items WHERE id < %s ORDER BY id DESC LIMIT %s", (before, PAGE_SIZE))
        return jsonify(items=[public(row) for row in cursor.fetchall()])


@app.post("/items")
def add() -> Any:
    fields = wanted("title")
    with database.cursor() as cursor:
        cursor.execute("INSERT INTO items (title, done) VALUES (%s, %s)", (fields["title"], fields.get("done", False)))
        number = cursor.lastrowid
        return jsonify(found(cursor, number)), 201, {"Location": f"/items/{number}"}


@app.put("/items/<int:number>")
def change(number: int) -> Any:
    fields = wanted()
    with database.cursor() as cursor:
        cursor.execute(f"UPDATE items SET {', '.join(f'{name} = %s' for name in fields)} WHERE id = %s", (*fields.values(), number))
        item = found(cursor, number)
    return (jsonify(item), 200) if item else (jsonify(error=f"no item {number}"), 404)


@app.delete("/items/<int:number>")
def remove(number: int) -> Any:
    with database.cursor() as cursor:
        gone = cursor.execute("DELETE FROM items WHERE id = %s", (number,))
    return ("", 204) if gone else (jsonify(error=f"no item {number}"), 404)


@app.errorhandler(Unavailable)
def unavailable(error: Unavailable) -> Any:
    log("error", "database is away", path=request.path, reason=str(error))
    return jsonify(error="the database is away; this heals by itself"), 503, {"Retry-After": "1"}


@app.errorhandler(HTTPException)
def refused(error: HTTPException) -> Any:
    return jsonify(error=error.description), error.code or 500


@app.before_request
def begin() -> None:
    g.began = time.monotonic()


@app.after_request
def sign(response: Any) -> Any:
    """Who answered, and one log line; health checks are logged only when they fail."""
    response.headers["X-App-Version"] = os.environ.get("APP_VERSION", "0")
    response.headers["X-App-Host"] = os.environ.get("FLOTILLA_HOST", "local")
    response.headers.setdefault("Cache-Control", "no-store")
    if response.status_code >= 400 or not request.path.endswith("z"):
        log("info", "request", method=request.method, path=request.path, status=response.status_code, seconds=round(time.monotonic() - g.began, 3))
    return response
