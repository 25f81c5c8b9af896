"""hello: nginx in front, this program behind it, MySQL beside it.

One container, two processes: this one (PID 1's child) starts nginx, answers what needs Python over a socket, and ends both on
SIGTERM only after running requests are answered. Settings come from the environment:

  DATABASE_HOST, DATABASE_PORT, DATABASE_NAME, DATABASE_USER   where the rows are kept
  DATABASE_CA            certificate authority of the database; without it no connection is made
  FLOTILLA_HOST, FLOTILLA_RELEASE    who answers and which release this is, shown by /whoami
  HELLO_VERSION          version of this build, sent as X-App-Version
  HELLO_SECRETS          directory with the file `database_password` (default /run/secrets)
  HELLO_RUN              writable directory (default /tmp/hello)
  HELLO_FAULT            for tests of the deployment: `unhealthy` answers 500 on /healthz, `errors` on everything else, `slow` answers late,
                         `exit` ends at start
"""

from __future__ import annotations

import html
import json
import os
import queue
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pymysql
from pymysql.constants import CLIENT

HERE = Path(__file__).resolve().parent
SLOWEST_SECONDS = 30.0
FAULT_SECONDS = 0.5  # how late every page of the slow fault is
POOL_SIZE = 4
SCHEMA = """
CREATE TABLE IF NOT EXISTS visits (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  host VARCHAR(64) NOT NULL,
  note VARCHAR(200) NOT NULL,
  made_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""


def log(level: str, message: str, **details: object) -> None:
    """One JSON line on standard output, like nginx's access log."""
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
    """A few connections to MySQL, made when first needed, thrown away on any error, so that an outage heals by itself."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.ready = False
        self.idle: queue.LifoQueue[Any] = queue.LifoQueue()
        self.slots = threading.BoundedSemaphore(POOL_SIZE)

    def connect(self) -> Any:
        """A new connection over TLS, with the authority's signature and the host name both checked."""
        environment = self.environment
        try:
            context = ssl.create_default_context(cafile=environment["DATABASE_CA"])
            password = Path(environment.get("HELLO_SECRETS", "/run/secrets"), "database_password").read_text(encoding="utf-8").strip()
            return VerifiedConnection(
                host=environment["DATABASE_HOST"],
                port=int(environment.get("DATABASE_PORT", "3306")),
                user=environment["DATABASE_USER"],
                password=password,
                database=environment["DATABASE_NAME"],
                ssl=context,
                autocommit=True,
                connect_timeout=2,
                read_timeout=3,
                write_timeout=3,
            )
        except KeyError as error:
            raise Unavailable(f"{error.args[0]} is not set") from error

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """A cursor on an idle or new connection. Raises Unavailable for whatever goes wrong with the database, within 4 seconds."""
        if not self.slots.acquire(timeout=1):
            raise Unavailable("all connections are busy")
        connection = None
        try:
            try:
                connection = self.idle.get_nowait()
            except queue.Empty:
                connection = self.connect()
            if not self.ready:
                with connection.cursor() as cursor:
                    cursor.execute(SCHEMA)
                self.ready = True
            with connection.cursor() as cursor:
                yield cursor
            self.idle.put(connection)
            connection = None
        except (pymysql.err.Error, OSError) as error:
            self.forget()
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        finally:
            if connection is not None:
                try:
                    connection.close()
                except pymysql.err.Error:
                    pass
            self.slots.release()

    def forget(self) -> None:
        """Drop the idle connections: after one error the others are likely dead too."""
        while True:
            try:
                connection = self.idle.get_nowait()
            except queue.Empty:
                return
            try:
                connection.close()
            except (pymysql.err.Error, OSError):
                pass

    def visits(self) -> list[dict[str, Any]]:
        """The newest twenty rows, newest first."""
        with self.cursor() as cursor:
            cursor.execute("SELECT id, host, note, made_at FROM visits ORDER BY id DESC LIMIT 20")
            rows = cursor.fetchall()
        return [{"id": row[0], "host": row[1], "note": row[2], "made_at": str(row[3])} for row in rows]

    def add(self, host: str, note: str) -> int:
        """Write one row and return its id."""
        with self.cursor() as cursor:
            cursor.execute("INSERT INTO visits (host, note) VALUES (%s, %s)", (host, note[:200]))
            return int(cursor.lastrowid)

    def make_schema(self, stop: threading.Event) -> None:
        """Make the table as soon as the database lets us, trying once a second."""
        while not stop.is_set() and not self.ready:
            try:
                self.visits()
                log("info", "database is ready")
            except Unavailable as error:
                log("warning", "database is not ready", reason=str(error))
                stop.wait(1)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """HTTP over a socket file. Closing it waits for the threads that still answer."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 512
    application: Application


class Application:
    """What the pages know: who answers, and the database."""

    def __init__(self, environment: dict[str, str], database: Database | None = None) -> None:
        self.host = environment.get("FLOTILLA_HOST") or socket.gethostname()
        self.release = environment.get("FLOTILLA_RELEASE", "0")
        self.version = environment.get("HELLO_VERSION", "0")
        self.fault = environment.get("HELLO_FAULT", "")
        self.database = database or Database(environment)

    def respond(self, method: str, target: str, body: str = "") -> tuple[int, str, str]:
        """Answer a request: status, content type, body."""
        address = urlsplit(target)
        query = {key: values[-1] for key, values in parse_qs(address.query).items()}
        routes: dict[tuple[str, str], Callable[[], tuple[int, str, str]]] = {
            ("GET", "/healthz"): self.health,
            ("GET", "/whoami"): lambda: self.json(200, {"host": self.host, "release": self.release, "version": self.version}),
            ("GET", "/slow"): lambda: self.slow(query),
            ("GET", "/visits"): self.page,
            ("GET", "/visits.json"): lambda: self.json(200, {"host": self.host, "visits": self.database.visits()}),
            ("POST", "/visits"): lambda: self.visit({key: values[-1] for key, values in parse_qs(body).items()}),
        }
        route = routes.get(("GET" if method == "HEAD" else method, address.path))
        if route is None:
            return self.json(404, {"error": f"nothing at {method} {address.path}"})
        if self.fault == "errors" and address.path != "/healthz":
            return self.json(500, {"error": "HELLO_FAULT=errors", "version": self.version})
        if self.fault == "slow" and address.path != "/healthz":
            time.sleep(FAULT_SECONDS)
        try:
            return route()
        except Unavailable as error:
            log("error", "database is away", path=address.path, reason=str(error))
            return self.json(503, {"error": "the database is away; this page heals by itself"})

    @staticmethod
    def json(status: int, value: object) -> tuple[int, str, str]:
        return status, "application/json", json.dumps(value) + "\n"

    def health(self) -> tuple[int, str, str]:
        """nginx and this program answer. The database is left out: its outage must not take every host out of service."""
        if self.fault == "unhealthy":
            log("error", "health check fails: HELLO_FAULT=unhealthy")
            return self.json(500, {"status": "unhealthy"})
        return self.json(200, {"status": "ok", "version": self.version})

    def slow(self, query: dict[str, str]) -> tuple[int, str, str]:
        """Answer after ?seconds=N, at most 30: a request that must outlive a release."""
        try:
            seconds = float(query.get("seconds", "1"))
        except ValueError:
            return self.json(422, {"error": "seconds must be a number"})
        if not 0 <= seconds <= SLOWEST_SECONDS:
            return self.json(422, {"error": f"seconds must lie between 0 and {SLOWEST_SECONDS:g}"})
        time.sleep(seconds)
        return self.json(200, {"host": self.host, "slept": seconds})

    def visit(self, form: dict[str, str]) -> tuple[int, str, str]:
        number = self.database.add(self.host, form.get("note", ""))
        return self.json(201, {"id": number, "host": self.host})

    def page(self) -> tuple[int, str, str]:
        rows = "".join(
            f"<tr><td>{row['id']}</td><td>{html.escape(row['host'])}</td><td>{html.escape(row['note'])}</td><td>{row['made_at']} UTC</td></tr>"
            for row in self.database.visits()
        )
        text = (HERE / "visits.html").read_text(encoding="utf-8")
        return 200, "text/html; charset=utf-8", Template(text).safe_substitute(host=html.escape(self.host), release=html.escape(self.release), rows=rows)


class Handler(BaseHTTPRequestHandler):
    """One request from nginx; nginx writes the access log and adds the common headers."""

    server: Server
    timeout = SLOWEST_SECONDS + 10

    def answer(self) -> None:
        length = min(int(self.headers.get("Content-Length") or 0), 64 * 1024)
        body = self.rfile.read(length).decode("utf-8", "replace") if length else ""
        status, kind, text = self.server.application.respond(self.command, self.path, body)
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        if status == 503:
            self.send_header("Retry-After", "1")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        """nginx logs the request."""

    def address_string(self) -> str:
        return "nginx"


def nginx_configuration(application: Application, run: Path) -> str:
    """nginx.conf and the page, filled in for this host, written below the writable directory. Returns the path of nginx.conf."""
    values = {
        "host": html.escape(application.host),
        "release": html.escape(application.release),
        "version": html.escape(application.version),
        "run": str(run),
    }
    (run / "pages").mkdir(parents=True, exist_ok=True)
    (run / "pages" / "index.html").write_text(Template((HERE / "index.html").read_text(encoding="utf-8")).safe_substitute(values), encoding="utf-8")
    path = run / "nginx.conf"
    path.write_text(Template((HERE / "nginx.conf").read_text(encoding="utf-8")).safe_substitute(values), encoding="utf-8")
    return str(path)


def main() -> int:
    environment = dict(os.environ)
    application = Application(environment)
    if application.fault == "exit":
        log("error", "cannot start: HELLO_FAULT=exit")
        return 3
    run = Path(environment.get("HELLO_RUN", "/tmp/hello"))
    run.mkdir(parents=True, exist_ok=True)
    path = run / "application.socket"
    path.unlink(missing_ok=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    server = Server(str(path), Handler)
    server.application = application
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    # A name of its own keeps nginx from reading /etc/nginx at all; it runs in the foreground as our child.
    nginx = subprocess.Popen(["nginx", "-e", "stderr", "-p", str(run), "-c", nginx_configuration(application, run)])
    threading.Thread(target=application.database.make_schema, args=(stop,), daemon=True).start()
    log("info", "started", host=application.host, release=application.release, version=application.version)

    while not stop.wait(0.2):
        if nginx.poll() is not None:
            log("error", "nginx ended", code=nginx.returncode)
            return 1
    log("info", "stopping: running requests are answered first")
    nginx.send_signal(signal.SIGQUIT)  # closes the port, then waits for what runs
    nginx.wait()
    server.shutdown()
    server.server_close()
    log("info", "stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
