# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The docker engine and systemd of the host that a module runs on, by their commands. Everything here reads or acts; what it means is decided elsewhere."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

HELPER = "/usr/local/lib/flotilla/host.py"
SOCKET = "/var/run/docker.sock"
CREDENTIALS = "/run/flotilla/docker"  # tmpfs; there only while an image is pulled
COMMAND_SECONDS = 120
PULL_SECONDS = 600


class HostError(Exception):
    """Something on the host failed; the text is for people."""


def run(arguments: list[str], timeout: float = COMMAND_SECONDS) -> tuple[int, str, str]:
    """(exit code, output, errors) of a command; 127 when it does not exist, 124 when it took too long."""
    try:
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout, check=False)
    except FileNotFoundError:
        return 127, "", f"{arguments[0]}: not installed"
    except subprocess.TimeoutExpired:
        return 124, "", f"{' '.join(arguments[:3])}: no end within {timeout:.0f} s"
    return done.returncode, done.stdout, done.stderr


def engine(path: str, timeout: float = COMMAND_SECONDS) -> tuple[int, bytes]:
    """(status, body) of what the docker engine answers a GET with, over its socket: its program takes ten times as long. OSError when it cannot be asked."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(SOCKET)
        # By HTTP/1.0 the answer is one piece and ends with the connection.
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _blank, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if not (status and status[0].isdigit()):
        raise OSError(f"the docker engine answers {path} with {head[:100]!r}")
    return int(status[0]), body


def inspect(names: list[str]) -> dict[str, dict[str, Any]]:
    """Container name → what docker says of it, for those that exist; {} without a docker engine."""
    if not names:
        return {}
    try:
        answers = [engine(f"/containers/{name}/json") for name in names]
        if all(status in (200, 404) for status, _body in answers):
            return {one["Name"].lstrip("/"): one for one in (json.loads(body) for status, body in answers if status == 200)}
    except TimeoutError:
        return {}  # nor will it answer its program
    except (OSError, ValueError):
        pass  # its program may know another way to it
    _code, output, _errors = run(["docker", "container", "inspect", *names])
    try:
        found = json.loads(output or "[]")
    except ValueError:
        return {}
    return {one["Name"].lstrip("/"): one for one in found}


def units(names: list[str]) -> dict[str, dict[str, str]]:
    """Unit name → its ActiveState, InvocationID (another one at each start) …; a unit that does not exist is inactive.

    LoadState and NeedDaemonReload: whether systemd has read its file, and whether that has changed since.
    """
    if not names:
        return {}
    _code, output, _errors = run(["systemctl", "show", "--property", "Id,ActiveState,InvocationID,LoadState,NeedDaemonReload", *names])
    rows = [dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line) for block in output.split("\n\n")]
    return {row["Id"]: row for row in rows if "Id" in row}


def has_image(image: str) -> bool:
    try:
        status, _body = engine(f"/images/{image}/json")
        if status in (200, 404):
            return status == 200
    except OSError:
        pass
    return run(["docker", "image", "inspect", "--format", "{{.Id}}", image])[0] == 0


def pull(image: str, attempts: int = 4, wait: Callable[[float], None] = time.sleep) -> None:
    """Pull an image by its digest with the host's own credentials. HostError names the registry when it does not work."""
    registry = image.split("/", 1)[0]
    configuration: list[str] = []
    reason = ""
    for attempt in range(attempts):
        if attempt:
            wait(2.0**attempt)
        if ".dkr.ecr." in registry:
            code, _output, errors = run([HELPER, "registry-login", registry])
            if code != 0:
                reason = errors.strip()
                continue
            configuration = ["--config", CREDENTIALS]
        try:
            code, _output, errors = run(["docker", *configuration, "pull", "--quiet", image], PULL_SECONDS)
        finally:
            run(["rm", "-rf", CREDENTIALS])
        if code == 0:
            return
        reason = errors.strip()
        if "manifest unknown" in reason or "not found" in reason.lower():
            break
    raise HostError(
        f"cannot pull {image} from the registry {registry}: {reason or 'no reason known'}. "
        "Fix: see that the registry can be reached from the host, that it has this digest, and that the host's role may pull from it."
    )


def logs(container: str, lines: int = 20) -> list[str]:
    """The last lines that a container has written."""
    code, output, errors = run(["docker", "logs", "--tail", str(lines), container])
    return (output + errors).splitlines()[-lines:] if code == 0 else []


def journal(unit: str, lines: int = 10) -> list[str]:
    """The last lines of a unit's journal."""
    return run(["journalctl", "--no-pager", "--quiet", "--output", "cat", "--lines", str(lines), "--unit", unit])[1].splitlines()


def systemctl(*arguments: str) -> None:
    code, _output, errors = run(["systemctl", *arguments], 600)
    if code != 0:
        raise HostError(f"systemctl {' '.join(arguments)} failed: {errors.strip()}")


def answers(port: int, path: str, timeout: float = 2.0) -> int | None:
    """The status that a service on this host answers a path with; None when it does not answer. To import what Python has for it takes longer than all else."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while b"\n" not in answer and (part := connection.recv(4096)):
                answer += part
    except OSError:
        return None
    found = re.match(rb"HTTP/[0-9.]+ ([0-9]{3})\b", answer)
    return int(found[1]) if found else None


def connects(port: int, timeout: float = 2.0) -> bool:
    """Whether a service on this host takes a connection and keeps it: docker's proxy takes them also for a port that nobody listens on, and drops them."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.settimeout(0.3)
            return bool(connection.recv(1))
    except TimeoutError:
        return True
    except OSError:
        return False
