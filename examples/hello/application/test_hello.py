"""Tests of the application alone; they run while its image is built, so an image that fails them does not exist."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import hello


class Rows(hello.Database):
    """A database in memory."""

    def __init__(self, away: bool = False) -> None:
        super().__init__({})
        self.away = away
        self.rows: list[dict[str, object]] = []

    def visits(self) -> list[dict[str, object]]:
        if self.away:
            raise hello.Unavailable("no route")
        return self.rows

    def add(self, host: str, note: str) -> int:
        if self.away:
            raise hello.Unavailable("no route")
        self.rows.insert(0, {"id": len(self.rows) + 1, "host": host, "note": note, "made_at": "2026-01-01 00:00:00"})
        return len(self.rows)


class Pages(unittest.TestCase):
    def setUp(self) -> None:
        self.rows = Rows()
        self.application = hello.Application({"FLOTILLA_HOST": "i-1", "FLOTILLA_RELEASE": "7", "HELLO_VERSION": "1.0.0"}, self.rows)

    def test_whoami_names_host_and_release(self) -> None:
        status, _, body = self.application.respond("GET", "/whoami")
        self.assertEqual((status, json.loads(body)), (200, {"host": "i-1", "release": "7", "version": "1.0.0"}))

    def test_a_visit_is_listed_and_escaped(self) -> None:
        status, _, _ = self.application.respond("POST", "/visits", "note=%3Cb%3Ehi")
        self.assertEqual(status, 201)
        self.assertIn("&lt;b&gt;hi", self.application.respond("GET", "/visits")[2])
        self.assertEqual(json.loads(self.application.respond("GET", "/visits.json")[2])["visits"][0]["note"], "<b>hi")

    def test_without_database_pages_say_503_and_health_stays_good(self) -> None:
        self.rows.away = True
        self.assertEqual(self.application.respond("GET", "/visits")[0], 503)
        self.assertEqual(self.application.respond("POST", "/visits", "note=x")[0], 503)
        self.assertEqual(self.application.respond("GET", "/healthz")[0], 200)

    def test_the_unhealthy_fault_fails_the_health_check_only(self) -> None:
        application = hello.Application({"HELLO_FAULT": "unhealthy"}, self.rows)
        self.assertEqual(application.respond("GET", "/healthz")[0], 500)
        self.assertEqual(application.respond("GET", "/whoami")[0], 200)

    def test_slow_refuses_what_it_cannot_do(self) -> None:
        for seconds in ("x", "-1", "31", "nan"):
            self.assertEqual(self.application.respond("GET", f"/slow?seconds={seconds}")[0], 422, seconds)

    def test_unknown_paths_and_methods(self) -> None:
        self.assertEqual(self.application.respond("GET", "/nothing")[0], 404)
        self.assertEqual(self.application.respond("DELETE", "/visits")[0], 404)

    def test_database_settings_missing_or_server_away(self) -> None:
        with self.assertRaises(hello.Unavailable):
            hello.Database({}).visits()


@unittest.skipUnless(Path("/usr/sbin/nginx").exists(), "nginx is only in the image")
class Whole(unittest.TestCase):
    """nginx and the program together, as the container runs them."""

    def setUp(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        environment = {**os.environ, "HELLO_RUN": self.directory.name, "HELLO_VERSION": "9.9.9", "FLOTILLA_HOST": "i-9", "FLOTILLA_RELEASE": "3"}
        self.process = subprocess.Popen([sys.executable, hello.__file__], env=environment)
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", 8080), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def tearDown(self) -> None:
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()

    @staticmethod
    def get(path: str) -> tuple[int, str | None, str]:
        connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.getheader("X-App-Version"), response.read().decode()

    def test_every_page_carries_the_version_and_sigterm_lets_a_slow_request_finish(self) -> None:
        pages = [("/", 200, "i-9"), ("/whoami", 200, "i-9"), ("/healthz", 200, "ok"), ("/visits", 503, "heals"), ("/nothing", 404, "nothing")]
        for path, status, text in pages:
            answer = self.get(path)
            self.assertEqual(answer[:2], (status, "9.9.9"), path)
            self.assertIn(text, answer[2])
        answers: list[int] = []
        slow = threading.Thread(target=lambda: answers.append(self.get("/slow?seconds=1.5")[0]))
        slow.start()
        time.sleep(0.5)
        self.process.send_signal(signal.SIGTERM)
        slow.join()
        self.assertEqual(answers, [200])
        self.assertEqual(self.process.wait(timeout=5), 0)


if __name__ == "__main__":
    unittest.main()
