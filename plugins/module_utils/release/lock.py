# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The release lock: a lease in one SSM parameter, so that it outlives every host and every control node.

Document: token, owner, host, machine, pid, started (of the process), message, since, heartbeat, expires (ISO, UTC), lease_seconds,
suspended ({Auto Scaling group: [processes]} that this release has suspended) and, after a take-over, taken_from.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document, ReleaseError
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import Clock

DESCRIPTION = "Release lock of flotilla.ec2; removed when the release ends"
WAIT_POLL_SECONDS = 2.0


class LockLost(ReleaseError):
    """The lock is somebody else's now, or nobody's: whoever held it does nothing more with hosts, traffic and records."""


class LockHeld(ReleaseError):
    """The refusal of a lock that somebody holds."""

    def __init__(self, name: str, held: Document) -> None:
        self.token, self.holder = str(held.get("token")), describe(held)
        super().__init__(
            f"another release holds the lock: {self.holder}. Fix: wait until it has ended (--wait, or -e release_wait_seconds=<seconds>; a dead owner's "
            f"lease ends by itself at the time named), or, when you know that it is dead, say -e release_break_lock=true. Lock: {name}"
        )


def now() -> datetime:
    """The time in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def moment(text: str) -> datetime:
    """A time of the document."""
    return datetime.fromisoformat(text)


def process_started(pid: int) -> str | None:
    """What tells a process from a later one with the same number: its start in clock ticks. None when it does not run.

    Field 22 of /proc/<pid>/stat (proc(5)); where there is no /proc, an empty string for a process that runs.
    """
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in ("Z", "X") else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


def machine() -> str:
    """What tells this machine (its boot, its pid namespace) from another of the same name: where pids mean something."""
    parts = [socket.gethostname()]
    for path, read in (("/proc/sys/kernel/random/boot_id", Path.read_text), ("/proc/self/ns/pid", lambda link: str(Path.readlink(link)))):
        try:
            parts.append(str(read(Path(path))).strip())
        except OSError:
            continue
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]


def owner(environment: dict[str, str] | None = None) -> str:
    """Who runs this: the CI job's actor when there is one, else the login name, at the host's name."""
    values = os.environ if environment is None else environment
    try:
        login = getpass.getuser()
    except (KeyError, OSError):
        login = f"uid {os.getuid()}"
    name = values.get("FLOTILLA_OWNER") or values.get("GITHUB_ACTOR") or values.get("GITLAB_USER_LOGIN") or login
    return f"{name}@{socket.gethostname()}"


def where(environment: dict[str, str] | None = None) -> str:
    """From where this runs: the page of the CI job when there is one, else the machine."""
    values = os.environ if environment is None else environment
    if values.get("GITHUB_RUN_ID"):
        return f"{values.get('GITHUB_SERVER_URL', '')}/{values.get('GITHUB_REPOSITORY', '')}/actions/runs/{values['GITHUB_RUN_ID']}"
    return values.get("FLOTILLA_WHERE") or values.get("CI_JOB_URL") or values.get("BUILD_URL") or f"{socket.gethostname()}:{Path.cwd()}"


def lease(message: str, pid: int, lease_seconds: int) -> Document:
    """A new lease of the process pid."""
    began = now()
    return {
        "token": uuid.uuid4().hex,
        "owner": owner(),
        "host": socket.gethostname(),
        "machine": machine(),
        "pid": pid,
        "started": process_started(pid),
        "message": message,
        "since": began.isoformat(),
        "heartbeat": began.isoformat(),
        "expires": (began + timedelta(seconds=lease_seconds)).isoformat(),
        "lease_seconds": lease_seconds,
        "suspended": {},
    }


def renewed(held: Document, at: datetime | None = None) -> Document:
    """The lease with a new heartbeat and expiry."""
    beat = at or now()
    return {**held, "heartbeat": beat.isoformat(), "expires": (beat + timedelta(seconds=int(held["lease_seconds"]))).isoformat()}


def dead(held: Document, here: str, at: datetime) -> str | None:
    """Why a held lease may be taken over, or None while its owner may live.

    A process of this very machine is looked for; of any other only the expiry is known.
    """
    if held.get("machine") == here:
        if process_started(int(held["pid"])) != held.get("started"):
            return f"its process {held['pid']} on this machine has ended"
        return None
    if at >= moment(held["expires"]):
        return f"it expired at {held['expires']} without a sign of life"
    return None


def describe(held: Document, at: datetime | None = None) -> str:
    """One sentence: who holds the lock, for what, since when."""
    age = int(((at or now()) - moment(held["since"])).total_seconds())
    return (
        f"{held['owner']} (process {held['pid']}) since {held['since']} ({age} s): {held['message']}; "
        f"last sign of life {held['heartbeat']}, expires {held['expires']}"
    )


def acquire(ssm: Any, name: str, mine: Document, *, force: bool = False, at: datetime | None = None) -> Document:
    """Take the lock or raise ReleaseError naming its holder. Returns the lease as written.

    A dead owner's lease is taken over; force takes a living one's too. Either is written down as taken_from, and what the other had
    suspended goes over into the new lease.
    """
    for _attempt in range(5):
        if api.create_parameter(ssm, name, mine, DESCRIPTION):
            return mine
        read = api.read_parameter(ssm, name)
        if read is None:
            continue  # released between the two calls
        held, version = read
        if held.get("token") == mine["token"]:
            return held
        reason = dead(held, mine["machine"], at or now())
        if reason is None and not force:
            raise LockHeld(name, held)
        taken = {
            **mine,
            "suspended": held.get("suspended") or {},
            "taken_from": {key: held.get(key) for key in ("token", "owner", "pid", "message", "since", "heartbeat", "expires")}
            | {"reason": reason or "broken by release_break_lock", "when": now().isoformat()},
        }
        if api.replace_parameter(ssm, name, taken, version):
            return taken
    raise ReleaseError(f"the lock {name} changes hands too often to be taken. Fix: run the same command again.")


def acquire_within(
    ssm: Any, name: str, mine: Document, seconds: float, *, force: bool = False, tell: Callable[[str], None] = lambda text: None, clock: Clock | None = None
) -> Document:
    """Take the lock, waiting so long for its holder to end. tell is called with each holder that is waited for."""
    clock = clock or Clock()
    deadline = clock.now() + seconds
    told = ""
    while True:
        try:
            return acquire(ssm, name, renewed({**mine, "since": now().isoformat()}), force=force)
        except LockHeld as refused:
            if clock.now() >= deadline:
                raise
            if refused.token != told:
                told = refused.token
                tell(f"Waiting up to {deadline - clock.now():.0f} s for the lock: {refused.holder}")
        clock.sleep(min(WAIT_POLL_SECONDS, max(deadline - clock.now(), 0.1)))


def held_by(ssm: Any, name: str, token: str) -> Document:
    """The lease, if the token still holds it; else LockLost."""
    read = api.read_parameter(ssm, name)
    if read is None:
        raise LockLost(f"the release lock {name} was removed while this release ran. Fix: see who did, then run the same command again.")
    if read[0].get("token") != token:
        raise LockLost(f"the release lock was taken by another release while this one ran: {describe(read[0])}. Fix: let that one end.")
    return read[0]


def note(ssm: Any, name: str, token: str, **values: Any) -> Document:
    """Write values into the lease that the token holds."""
    for _attempt in range(5):
        held_by(ssm, name, token)
        read = api.read_parameter(ssm, name)
        if read is None:
            continue
        changed = {**renewed(read[0]), **values}
        if read[0].get("token") == token and api.replace_parameter(ssm, name, changed, read[1]):
            return changed
    raise ReleaseError(f"the lock {name} could not be written: another writes it all the time. Fix: run the same command again.")


def release(ssm: Any, name: str, token: str) -> bool:
    """Give the lock back. False when the token does not hold it (any more)."""
    read = api.read_parameter(ssm, name)
    if read is None or read[0].get("token") != token:
        return False
    api.delete_parameter(ssm, name)
    return True
