"""Run in the image's build: `python3 -m unittest`."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import unittest
import urllib.error
import urllib.request
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from unittest import mock

import todo


class Rows:
    """Stands for the database: the five statements of the application, on a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}
        self.away = False
        self.lastrowid = 0
        self.answer: list[dict[str, Any]] = []

    @contextmanager
    def cursor(self) -> Any:
        if self.away:
            raise todo.Unavailable("away")
        yield self

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> int:
        if statement.startswith("INSERT"):
            self.lastrowid += 1
            self.rows[self.lastrowid] = {"id": self.lastrowid, "title": values[0], "done": int(values[1]), "made_at": datetime(2026, 1, 1)}
        elif statement.startswith("UPDATE") and values[-1] in self.rows:
            names = [part.split()[0] for part in statement.removeprefix("UPDATE items SET ").split(" WHERE")[0].split(", ")]
            self.rows[values[-1]].update(zip(names, values[:-1], strict=True))
        elif statement.startswith("DELETE"):
            return len([self.rows.pop(values[0])]) if values[0] in self.rows else 0
        elif "WHERE id =" in statement:
            self.answer = [self.rows[values[0]]] if values[0] in self.rows else []
        elif "WHERE id <" in statement:
            self.answer = [row for number, row in sorted(self.rows.items(), reverse=True) if number < values[0]]
        return 1

    def fetchall(self) -> list[dict[str, Any]]:
        return self.answer

    def fetchone(self) -> dict[str, Any] | None:
        return self.answer[0] if self.answer else None


class Application(unittest.TestCase):
    def setUp(self) -> None:
        self.rows = Rows()
        patch = mock.patch.object(todo, "database", self.rows)
        patch.start()
        self.addCleanup(patch.stop)
        self.client = todo.app.test_client()

    def test_an_item_is_added_listed_changed_and_removed(self) -> None:
        added = self.client.post("/items", json={"title": " milk "})
        item = {"id": 1, "title": "milk", "done": False, "made_at": "2026-01-01T00:00:00Z"}
        self.assertEqual((added.status_code, added.json, added.headers["Location"]), (201, item, "/items/1"))
        self.assertEqual(self.client.put("/items/1", json={"done": True}).json, {**item, "done": True})
        self.assertEqual(self.client.put("/items/1", json={"title": "bread", "done": False}).json["title"], "bread")
        self.assertEqual([one["title"] for one in self.client.get("/items").json["items"]], ["bread"])
        self.assertEqual(self.client.get("/items?before=1").json["items"], [])
        self.assertEqual([self.client.delete("/items/1").status_code for _ in range(2)], [204, 404])
        self.assertEqual(self.client.put("/items/1", json={"done": True}).status_code, 404)

    def test_what_is_not_an_item_is_refused(self) -> None:
        for body in ({}, {"title": ""}, {"title": "x" * 201}, {"title": 7}, {"title": "x", "id": 3}, {"done": True}, {"title": "x", "done": "yes"}, [], None):
            self.assertEqual(self.client.post("/items", json=body).status_code, 422, body)
        self.assertEqual(self.client.put("/items/1", json={}).status_code, 422)
        self.assertEqual(self.client.post("/items", data="x" * 20000, content_type="application/json").status_code // 100, 4)
        self.assertEqual([self.client.get(path).status_code for path in ("/nothing", "/items/x")], [404, 404])
        self.assertEqual(self.rows.rows, {})

    def test_without_database_it_lives_and_is_not_ready(self) -> None:
        self.rows.away = True
        got = {path: self.client.get(path).status_code for path in ("/healthz", "/readyz", "/items", "/")}
        self.assertEqual(got, {"/healthz": 200, "/readyz": 503, "/items": 503, "/": 200})
        self.rows.away = False
        self.assertEqual(self.client.get("/readyz").status_code, 200)

    def test_the_unhealthy_fault(self) -> None:
        with mock.patch.dict(os.environ, {"APP_FAULT": "unhealthy"}):
            self.assertEqual([self.client.get(path).status_code for path in ("/healthz", "/readyz")], [500, 500])


class Pool(unittest.TestCase):
    def test_a_setting_that_is_missing_is_named_and_connections_are_not_lost(self) -> None:
        database = todo.Database()
        for _ in range(2 * todo.POOL_SIZE):
            with self.assertRaisesRegex(todo.Unavailable, "MYSQL_HOST is not set"), database.cursor():
                pass

    def test_dead_connections_are_replaced_before_use(self) -> None:
        database, dead, alive = todo.Database(), mock.MagicMock(), mock.MagicMock()
        dead.ping.side_effect = OSError("gone")
        database.idle.put(dead)
        with mock.patch.object(database, "connect", return_value=alive), database.cursor():
            pass
        self.assertIs(database.idle.get_nowait(), alive)


class Process(unittest.TestCase):
    """gunicorn as the container runs it."""

    def test_sigterm_lets_a_running_request_finish(self) -> None:
        # A server that accepts and says nothing: /readyz waits for it for two seconds.
        import socket

        silent = socket.create_server(("127.0.0.1", 3999))
        settings = {"MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": "3999", "MYSQL_USER": "x", "MYSQL_PASSWORD": "x", "MYSQL_DB": "x", "APP_VERSION": "9.9.9"}
        settings["MYSQL_CA"] = "/etc/ssl/certs/ca-certificates.crt"
        process = subprocess.Popen(["gunicorn", "todo:app"], env={**os.environ, **settings})
        try:
            deadline = time.monotonic() + 10
            while True:
                try:
                    with urllib.request.urlopen("http://127.0.0.1:8080/healthz", timeout=2) as answer:
                        self.assertEqual(answer.headers["X-App-Version"], "9.9.9")
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
            statuses: list[int] = []

            def slow() -> None:
                try:
                    urllib.request.urlopen("http://127.0.0.1:8080/readyz", timeout=10)
                except urllib.error.HTTPError as error:
                    statuses.append(error.code)

            thread = threading.Thread(target=slow)
            thread.start()
            time.sleep(0.7)
            process.send_signal(signal.SIGTERM)
            thread.join()
            self.assertEqual(statuses, [503])
            self.assertEqual(process.wait(timeout=10), 0)
        finally:
            process.kill()
            silent.close()


if __name__ == "__main__":
    unittest.main()
