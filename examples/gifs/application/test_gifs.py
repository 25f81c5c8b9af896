"""Run in the image's build: `python3 -m unittest`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from datetime import datetime
from pathlib import Path
from typing import Any

import gifs
import migrate
from aiohttp import ClientSession, WSMsgType
from aiohttp.test_utils import AioHTTPTestCase
from database import Database, Unavailable

SECRET = "only-for-tests-0123456789"


class Rows:
    """Stands for the database: the statements the application sends, on a list. `away` makes every one of them fail."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.away = False

    async def run(self, statement: str, *values: Any) -> tuple[list[dict[str, Any]], int]:
        if self.away:
            raise Unavailable("away")
        if statement.startswith("INSERT"):
            row = dict(zip(("url", "who", "meme_top", "meme_bottom"), values, strict=True))
            self.rows.append({"id": len(self.rows) + 1, **row, "made_at": datetime(2026, 1, 1)})
            return [], len(self.rows)
        newest = self.rows[::-1]
        if "WHERE id =" in statement:
            return [row for row in self.rows if row["id"] == values[0]], 0
        if "WHERE id >" in statement:
            return [row for row in self.rows if row["id"] > values[0]], 0
        if "LIKE" in statement:
            return [row for row in newest if values[0].strip("%").replace("\\", "") in row["meme_top"]], 0
        limit, offset = (*values, 0, 0)[:2] if values else (1, 0)
        return newest[offset : offset + limit], 0


class Application(AioHTTPTestCase):
    async def get_application(self) -> Any:
        with tempfile.TemporaryDirectory() as secrets:
            Path(secrets, "upload_secret").write_text(SECRET)
            self.rows = Rows()
            self.gifs = gifs.Gifs({"SECRETS": secrets, "APP_VERSION": "9.9.9", "TITLE": "<tests>"}, self.rows)
        return self.gifs.application()

    async def post(self, **fields: str) -> Any:
        form = {"url": "https://example.org/a.gif", "who": "me", "meme_top": "100% top", "secret": SECRET} | fields
        return await self.client.post("/gif", data=form)

    async def answer(self, path: str) -> tuple[int, Any]:
        response = await self.client.get(path)
        self.assertEqual(response.headers["X-App-Version"], "9.9.9")
        return response.status, await response.json()

    async def test_a_gif_is_added_shown_listed_searched_and_viewed(self) -> None:
        self.assertEqual(await self.answer("/gif"), (200, {}))
        response = await self.post()
        self.assertEqual((response.status, response.headers["Location"]), (201, "/view/1"))
        _, newest = await self.answer("/gif")
        self.assertEqual((newest["url"], newest["made_at"]), ("https://example.org/a.gif", "2026-01-01T00:00:00Z"))
        for path in ("/history", "/history?page=1", "/search?query=100%25"):
            self.assertEqual((await self.answer(path))[1]["gifs"], [newest], path)
        self.assertEqual((await self.answer("/view/1"))[1], newest)
        self.assertEqual((await self.answer("/history?page=2"))[1]["gifs"], [])

    async def test_refusals(self) -> None:
        self.assertEqual((await self.post(secret="guess")).status, 403)
        self.assertEqual((await self.post(secret="")).status, 403)
        for fields in ({"url": "javascript:alert(1)"}, {"url": ""}, {"who": "x" * 101}, {"url": "http://[x"}):
            self.assertEqual((await self.post(**fields)).status, 422, fields)
        for path, status in (("/view/7", 404), ("/view/x", 404), ("/history?page=0", 422), ("/history?page=x", 422), ("/search", 422), ("/nothing", 404)):
            self.assertEqual((await self.answer(path))[0], status, path)
        self.assertEqual(self.rows.rows, [])

    async def test_without_database_only_what_needs_none_works_and_it_heals(self) -> None:
        self.rows.away = True
        self.assertEqual((await self.answer("/gif"))[0], 500)
        self.assertEqual((await self.post()).status, 500)
        self.assertEqual((await self.answer("/healthz"))[0], 200)
        page = await self.client.get("/")
        self.assertIn("&lt;tests&gt;", await page.text())
        self.rows.away = False
        self.assertEqual((await self.answer("/gif"))[0], 200)

    async def test_the_unhealthy_fault(self) -> None:
        self.gifs.fault = "unhealthy"
        self.assertEqual([(await self.answer(path))[0] for path in ("/gif", "/healthz")], [500, 500])

    async def test_every_client_gets_new_gifs_once_whoever_wrote_them_and_in_whatever_order_they_show_up(self) -> None:
        await self.post(who="before")
        await asyncio.sleep(2 * gifs.POLL_SECONDS)
        clients = [await self.client.ws_connect("/") for _ in range(2)]
        await self.post(who="here")
        template = self.rows.rows[0]
        self.rows.rows.append({**template, "id": 9, "who": "on another replica"})
        await asyncio.sleep(2 * gifs.POLL_SECONDS)
        self.rows.rows.append({**template, "id": 5, "who": "committed late"})
        for client in clients:
            got = [(await client.receive_json(timeout=3))["who"] for _ in range(3)]
            self.assertEqual(got, ["here", "on another replica", "committed late"])
            with self.assertRaises(asyncio.TimeoutError):
                await client.receive(timeout=2 * gifs.POLL_SECONDS)


class Secrets(unittest.TestCase):
    def test_a_default_short_or_missing_secret_is_refused_by_name(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            for text, reason in (("secret", "well-known 'secret'"), ("ChangeMe\n", "well-known 'ChangeMe'"), ("short", "fewer than 16")):
                Path(directory, "upload_secret").write_text(text)
                with self.assertRaisesRegex(ValueError, f"upload_secret.*{reason}"):
                    gifs.upload_secret({"SECRETS": directory})
        with self.assertRaisesRegex(ValueError, "upload_secret is missing"):
            gifs.upload_secret({"SECRETS": "/nowhere"})


class Ledger:
    """Stands for the database of the migration."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.statements: list[str] = []

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> tuple[list[dict[str, Any]], int]:
        if "GET_LOCK" in statement:
            return [{"mine": 1}], 0
        if statement.startswith("INSERT"):
            self.names.append(values[0])
        elif not statement.startswith("SELECT") and statement != migrate.LEDGER:
            self.statements.append(statement.split()[0])
        return [{"name": name} for name in self.names], 0


class Migrations(unittest.TestCase):
    def test_each_file_is_applied_once_and_in_order(self) -> None:
        ledger, files = Ledger(), sorted(migrate.MIGRATIONS.glob("*.sql"))
        self.assertEqual(migrate.migrate(ledger, files), len(files))
        self.assertEqual(ledger.names, [path.stem for path in files])
        self.assertEqual(migrate.migrate(ledger, files), 0)
        self.assertEqual(len(ledger.statements), len(files))

    def test_a_missing_database_is_an_error_with_a_reason(self) -> None:
        with self.assertRaisesRegex(Unavailable, "DATABASE_HOST is not set"):
            Database({"SECRETS": "/tmp"}).execute("SELECT 1")


class Process(unittest.IsolatedAsyncioTestCase):
    """The program as the container runs it."""

    async def test_sigterm_sends_clients_away_with_1001_and_ends_with_code_0(self) -> None:
        with tempfile.TemporaryDirectory() as secrets:
            Path(secrets, "upload_secret").write_text(SECRET)
            process = subprocess.Popen([sys.executable, gifs.__file__], env={**os.environ, "SECRETS": secrets}, stdout=subprocess.DEVNULL)
            try:
                deadline = time.monotonic() + 10
                while time.monotonic() < deadline:
                    try:
                        socket.create_connection(("127.0.0.1", gifs.PORT), 1).close()
                        break
                    except OSError:
                        await asyncio.sleep(0.1)
                async with ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{gifs.PORT}/") as client:
                    process.send_signal(signal.SIGTERM)
                    message = await client.receive(timeout=5)
                    self.assertEqual((message.type, message.data), (WSMsgType.CLOSE, 1001))
                self.assertEqual(process.wait(timeout=10), 0)
            finally:
                process.kill()


if __name__ == "__main__":
    unittest.main()
