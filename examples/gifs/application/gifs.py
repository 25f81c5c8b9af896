"""gifs: a wall of gifs, pushed to every open page on every replica. Settings come from the environment:

DATABASE_HOST, DATABASE_PORT, DATABASE_NAME, DATABASE_USER, DATABASE_CA   where the gifs are kept; DATABASE_CA is a file
TITLE                  what the page calls itself: differs from one deployment of the same image to the next
SECRETS                directory with the files `database_password` and `upload_secret` (default /run/secrets)
GRACE_SECONDS          running requests get this long after SIGTERM (default 25; less than the unit's grace period)
FLOTILLA_HOST, APP_VERSION   who answers and which build it is (X-App-Host, X-App-Version)
APP_FAULT              `unhealthy`: a build that never becomes healthy, for tests of the deployment
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, WSMsgType, web
from database import Database, Unavailable

PORT = 4567
PAGE_SIZE = 20
POLL_SECONDS = 0.5  # how often replicas look for one another's gifs
PING_SECONDS = 20  # below the idle timeout of any load balancer
LOOK_BACK = 100  # ids are given out before they are visible: a smaller one may show up after a larger one
COLUMNS = "SELECT id, url, who, meme_top, meme_bottom, made_at FROM gifs"
WELL_KNOWN = {"secret", "changeme", "change-me", "password", "admin", "default", "letmein", "123456", "12345678", "test", "example"}
LONGEST = {"url": 2000, "who": 100, "meme_top": 200, "meme_bottom": 200}


def log(level: str, message: str, **details: object) -> None:
    """One JSON line on standard output."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "message": message, **details}
    print(json.dumps(line), flush=True)


def upload_secret(environment: Mapping[str, str]) -> str:
    """The secret that POST /gif wants. ValueError, by name, when it is missing, short or known to everybody."""
    path = Path(environment.get("SECRETS", "/run/secrets"), "upload_secret")
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"the secret upload_secret is missing: {error}") from error
    if secret.lower() in WELL_KNOWN:
        raise ValueError(f"the secret upload_secret is the well-known {secret!r}: have one generated (stack file: secrets.upload_secret)")
    if len(secret) < 16:
        raise ValueError("the secret upload_secret has fewer than 16 characters: have one generated (stack file: secrets.upload_secret)")
    return secret


def public(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "made_at": f"{row['made_at']}Z".replace(" ", "T")}


class Gifs:
    """The application: what it knows, and an answer for each path."""

    def __init__(self, environment: Mapping[str, str], database: Any = None) -> None:
        self.secret = upload_secret(environment)
        self.database = database or Database(environment)
        self.fault = environment.get("APP_FAULT", "")
        self.answered_by = {"X-App-Version": environment.get("APP_VERSION", "0"), "X-App-Host": environment.get("FLOTILLA_HOST", "local")}
        self.sockets: set[web.WebSocketResponse] = set()
        self.stopping = False
        page = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
        self.page = page.safe_substitute(title=escape(environment.get("TITLE", "gifs")), version=escape(environment.get("APP_VERSION", "0")))

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self.around], client_max_size=64 * 1024)
        application.add_routes(
            [
                web.get("/", self.index),
                web.get("/healthz", self.healthz),
                web.get("/gif", self.newest),
                web.post("/gif", self.add),
                web.get("/history", self.history),
                web.get("/search", self.search),
                web.get(r"/view/{id:\d{1,18}}", self.view),
            ]
        )
        application.on_response_prepare.append(self.sign)
        application.on_startup.append(self.begin)
        application.on_shutdown.append(self.end)
        return application

    # ---- around every answer

    @web.middleware
    async def around(self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        """Errors as JSON, and one log line."""
        began = time.monotonic()
        try:
            response = await handler(request)
        except Unavailable as error:
            log("error", "database is away", path=request.path, reason=str(error))
            response = web.json_response({"error": "the database is away; this heals by itself"}, status=500, headers={"Retry-After": "1"})
        except web.HTTPException as error:
            response = web.json_response({"error": error.text or error.reason}, status=error.status)
        if response.status >= 400 or request.path not in ("/healthz", "/gif"):
            log("info", "request", method=request.method, path=request.path, status=response.status, seconds=round(time.monotonic() - began, 3))
        return response

    async def sign(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self.answered_by)
        response.headers.setdefault("Cache-Control", "no-store")

    # ---- pages

    async def index(self, request: web.Request) -> web.StreamResponse:
        """The page; the same address is the websocket that keeps it up to date."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self.socket(request)
        return web.Response(text=self.page, content_type="text/html")

    async def healthz(self, request: web.Request) -> web.Response:
        """Liveness: the process answers. No database."""
        return web.json_response({"status": self.fault or "ok"}, status=500 if self.fault else 200)

    async def newest(self, request: web.Request) -> web.Response:
        """Readiness as well: without its database this replica can do nothing of use. `{}` while there is no gif."""
        if self.fault:
            return web.json_response({"error": self.fault}, status=500)
        rows, _ = await self.database.run(f"{COLUMNS} ORDER BY id DESC LIMIT 1")
        return web.json_response(public(rows[0]) if rows else {})

    async def add(self, request: web.Request) -> web.Response:
        form = await request.post()
        if not hmac.compare_digest(str(form.get("secret", "")).encode(), self.secret.encode()):
            raise web.HTTPForbidden(text="wrong secret")
        values = {name: str(form.get(name, "")).strip() for name in LONGEST}
        too_long = [name for name, most in LONGEST.items() if len(values[name]) > most]
        if too_long:
            raise web.HTTPUnprocessableEntity(text=f"too long: {', '.join(too_long)}")
        try:
            address = urlsplit(values["url"])
        except ValueError:
            address = urlsplit("")
        if address.scheme not in ("http", "https") or not address.netloc:
            raise web.HTTPUnprocessableEntity(text="url must be an http or https address")
        _, number = await self.database.run("INSERT INTO gifs (url, who, meme_top, meme_bottom) VALUES (%s, %s, %s, %s)", *values.values())
        return web.json_response({"id": number, **values}, status=201, headers={"Location": f"/view/{number}"})

    async def history(self, request: web.Request) -> web.Response:
        page = request.query.get("page", "1")
        if not (page.isascii() and page.isdigit() and int(page[:9]) >= 1 and len(page) < 9):
            raise web.HTTPUnprocessableEntity(text="page must be a whole number from 1")
        rows, _ = await self.database.run(f"{COLUMNS} ORDER BY id DESC LIMIT %s OFFSET %s", PAGE_SIZE, (int(page) - 1) * PAGE_SIZE)
        return web.json_response({"page": int(page), "gifs": [public(row) for row in rows]})

    async def search(self, request: web.Request) -> web.Response:
        query = request.query.get("query", "").strip()
        if not 1 <= len(query) <= 100:
            raise web.HTTPUnprocessableEntity(text="query must have 1 to 100 characters")
        like = "%" + query.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        rows, _ = await self.database.run(
            f"{COLUMNS} WHERE who LIKE %s OR meme_top LIKE %s OR meme_bottom LIKE %s ORDER BY id DESC LIMIT %s", like, like, like, PAGE_SIZE
        )
        return web.json_response({"query": query, "gifs": [public(row) for row in rows]})

    async def view(self, request: web.Request) -> web.Response:
        rows, _ = await self.database.run(f"{COLUMNS} WHERE id = %s", int(request.match_info["id"]))
        if not rows:
            raise web.HTTPNotFound(text=f"no gif {request.match_info['id']}")
        return web.json_response(public(rows[0]))

    # ---- websockets

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=PING_SECONDS, timeout=2, max_msg_size=4096)
        await socket.prepare(request)
        self.sockets.add(socket)
        try:
            async for message in socket:  # clients have nothing to say; this ends when they leave
                if message.type == WSMsgType.ERROR:
                    break
        finally:
            self.sockets.discard(socket)
            if self.stopping:
                await socket.close(code=WSCloseCode.GOING_AWAY)
        return socket

    async def push(self, row: dict[str, Any]) -> None:
        text = json.dumps(public(row))
        await asyncio.gather(*(asyncio.wait_for(socket.send_str(text), 2) for socket in set(self.sockets)), return_exceptions=True)

    async def watch(self) -> None:
        """Push what any replica wrote: the database is the only thing they share."""
        newest: int | None = None
        seen: set[int] = set()
        while True:
            try:
                if newest is None:
                    rows, _ = await self.database.run(f"{COLUMNS} ORDER BY id DESC LIMIT %s", LOOK_BACK)
                else:
                    rows, _ = await self.database.run(f"{COLUMNS} WHERE id > %s ORDER BY id LIMIT 1000", newest - LOOK_BACK)
                    for row in rows:
                        if row["id"] not in seen:
                            await self.push(row)
                newest = max([newest or 0, *(row["id"] for row in rows)])
                seen = {number for number in seen | {row["id"] for row in rows} if number > newest - LOOK_BACK}
            except Unavailable as error:
                log("warning", "cannot look for new gifs", reason=str(error))
            await asyncio.sleep(POLL_SECONDS)

    async def begin(self, application: web.Application) -> None:
        application["watch"] = asyncio.create_task(self.watch())

    async def end(self, application: web.Application) -> None:
        """SIGTERM: the port is closed; tell clients to come back (to another replica), then running requests finish."""
        log("info", "stopping", websockets=len(self.sockets))
        self.stopping = True
        application["watch"].cancel()
        await asyncio.gather(*(socket.close(code=WSCloseCode.GOING_AWAY) for socket in set(self.sockets)), return_exceptions=True)


def main() -> int:
    environment = dict(os.environ)
    try:
        gifs = Gifs(environment)
    except ValueError as error:
        log("error", "cannot start", reason=str(error))
        return 3

    async def application() -> web.Application:
        return gifs.application()

    log("info", "starting", port=PORT, version=environment.get("APP_VERSION", "0"))
    # Idle connections are kept for longer than the load balancer keeps them: it is never the one surprised by a close.
    grace = float(environment.get("GRACE_SECONDS", "25"))
    web.run_app(application(), port=PORT, access_log=None, print=None, keepalive_timeout=75, shutdown_timeout=grace)
    log("info", "stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
