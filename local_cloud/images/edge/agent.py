"""Health checks and HAProxy's runtime API, from inside a load balancer's container.

The checks must come from the load balancer's own address because the targets' security groups let in nobody else. The local cloud runs this
with ``docker exec -i``; lines of JSON go both ways.

In:  ``{"checks": [{"key", "host", "port", "path", "protocol", "interval", "timeout"}]}``  all checks to make from now on (seconds)
     ``{"id", "commands": ["set server …"]}``  for the runtime API
Out: ``{"key", "kind": "response" | "connected" | "timeout" | "failed", "code"}``  one per check made
     ``{"id", "replies": [...]}``
     ``{"requests": {backend: {"requests", "errors", "times": {milliseconds: count}}}}``  what was answered since the last such line, from HAProxy's log

It ends when its input does, so it never outlives the local cloud.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import sys
import threading
import time

SOCKET = "/run/haproxy.sock"
REQUESTS = ("127.0.0.1", 5140)
TELL_SECONDS = 1.0
# HAProxy's HTTP log: ... frontend backend/server request/queue/connect/RESPONSE/all CODE ...
ANSWERED = re.compile(r"\] \S+ ([^/ ]+)/(\S+) -?\d+/-?\d+/-?\d+/(-?\d+)/\+?-?\d+ (-?\d+) ")
printing = threading.Lock()


def say(message: dict) -> None:
    with printing:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def probe(check: dict) -> dict:
    """Make one check, as Elastic Load Balancing makes it: GET, no redirect followed, certificates not verified; or a connection alone."""
    host, port, timeout = check["host"], int(check["port"]), float(check["timeout"])
    if check["protocol"] == "TCP":
        try:
            socket.create_connection((host, port), timeout).close()
        except TimeoutError:
            return {"kind": "timeout"}
        except OSError:
            return {"kind": "failed"}
        return {"kind": "connected"}
    connection: http.client.HTTPConnection
    if check["protocol"] == "HTTPS":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", check["path"] or "/", headers={"User-Agent": "ELB-HealthChecker/2.0", "Connection": "close"})
        return {"kind": "response", "code": connection.getresponse().status}
    except TimeoutError:
        return {"kind": "timeout"}
    except (OSError, http.client.HTTPException):
        return {"kind": "failed"}
    finally:
        connection.close()


class Checker(threading.Thread):
    """The checks of one target: at once, then at every interval, until stopped."""

    def __init__(self, check: dict) -> None:
        super().__init__(daemon=True)
        self.check = check
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            result = probe(self.check)
            if not self.stopped.is_set():
                say({"key": self.check["key"], **result})
            self.stopped.wait(float(self.check["interval"]))


def counted(lines: list[str]) -> dict:
    """Requests that a target was chosen for, its 5xx answers and response times, by backend. -1: the target did not answer."""
    found: dict[str, dict] = {}
    for line in lines:
        parts = ANSWERED.search(line)
        if parts is None or parts[2] == "<NOSRV>":
            continue
        row = found.setdefault(parts[1], {"requests": 0, "errors": 0, "times": {}})
        row["requests"] += 1
        if int(parts[3]) >= 0:
            row["errors"] += parts[4].startswith("5")
            row["times"][parts[3]] = row["times"].get(parts[3], 0) + 1
    return found


def listen() -> None:
    """Read HAProxy's log and tell each second what was answered. Of two agents of a container the second takes over when the first has ended."""
    log = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while True:
        try:
            log.bind(REQUESTS)
            break
        except OSError:
            time.sleep(0.2)
    log.settimeout(0.2)
    lines: list[str] = []
    due = time.monotonic() + TELL_SECONDS
    while True:
        try:
            lines.append(log.recv(8192).decode(errors="replace"))
        except TimeoutError:
            pass
        if time.monotonic() >= due:
            due = time.monotonic() + TELL_SECONDS
            answered, lines = counted(lines), []
            if answered:
                say({"requests": answered})


def command(line: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(SOCKET)
        client.sendall(line.encode() + b"\n")
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts).decode().strip()


def main() -> None:
    checkers: dict[str, Checker] = {}
    threading.Thread(target=listen, daemon=True).start()
    for line in sys.stdin:
        message = json.loads(line)
        if "checks" in message:
            wanted = {json.dumps(check, sort_keys=True): check for check in message["checks"]}
            for gone in [key for key in checkers if key not in wanted]:
                checkers.pop(gone).stopped.set()
            for key, check in wanted.items():
                if key not in checkers:
                    checkers[key] = Checker(check)
                    checkers[key].start()
        else:
            replies = []
            for one in message["commands"]:
                try:
                    replies.append(command(one))
                except OSError as error:
                    replies.append(f"error: {error}")
            say({"id": message["id"], "replies": replies})


if __name__ == "__main__":
    main()
