"""Status checks of instances: whether a machine that is `running` answers.

"Status checks are performed every minute, returning a pass or a fail status" (EC2 User Guide, "Status checks for Amazon EC2 instances"); here every five
seconds. As on AWS, an instance is asked by ARP at its network interface, which no security group and no firewall of its own keeps out. A guest that is
frozen has the machine's kernel answer for it all the same: of such a one the engine is asked. One failed check makes no instance impaired: a machine that
is busy may miss some.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.ec2.models.instances import Instance, InstanceBackend

from .base import Plane

log = logging.getLogger(__name__)

INTERVAL = 5.0  # seconds between two checks; a minute on AWS
FAILURES = 4  # in a row make an instance impaired: 15 seconds from the first to the last
ANSWER_SECONDS = 1.0  # the kernel asks for an address three times a second apart
NEIGHBOURS = Path("/proc/net/arp")
COMPLETE = 0x02  # ATF_COM of linux/if_arp.h: the address has answered
DISCARD = 9  # the port of RFC 863: nobody reads what is sent there


@dataclass
class Check:
    """One kind of status check of one instance, as its outcomes have made it."""

    status: str = "initializing"
    failed: int = 0  # in a row
    impaired_since: datetime | None = None

    def observe(self, passed: bool) -> bool:
        """Count one outcome; say whether the status changed by it."""
        before = self.status
        self.failed = 0 if passed else self.failed + 1
        if passed:
            self.status, self.impaired_since = "ok", None
        elif self.failed >= FAILURES and before != "impaired":
            self.status, self.impaired_since = "impaired", datetime.now(UTC)
        return self.status != before

    def described(self) -> dict[str, Any]:
        """InstanceStatusSummary of the API reference."""
        reachability = {"ok": "passed", "impaired": "failed"}.get(self.status, self.status)
        since = {"ImpairedSince": self.impaired_since} if self.impaired_since else {}
        return {"Status": self.status, "Details": [{"Name": "reachability", "Status": reachability, **since}]}


@dataclass
class Checks:
    """Both kinds of one instance: of what it runs on (its network is there), and of itself (it answers)."""

    system: Check = field(default_factory=Check)
    instance: Check = field(default_factory=Check)

    @property
    def impaired(self) -> bool:
        return "impaired" in (self.system.status, self.instance.status)


def unanswered(table: str, addresses: Iterable[str]) -> set[str]:
    """Those addresses that have been asked for by ARP and have not answered, from the kernel's table of neighbours.

    One that is not in the table was never asked for, as it is no neighbour of this machine: nothing is known of it.
    """
    rows = [line.split() for line in table.splitlines()[1:]]
    known: dict[str, bool] = {}
    for row in rows:
        known[row[0]] = known.get(row[0], False) or bool(int(row[2], 16) & COMPLETE)
    return {address for address in addresses if not known.get(address, True)}


def outcomes(state: str, attached: bool, answers: bool) -> tuple[bool, bool]:
    """Whether the system's and the instance's check pass, of a guest in this state of the engine's, on its network or not, that answers ARP or does not."""
    return attached, attached and answers and state != "paused"


def silent(addresses: Iterable[str]) -> set[str]:
    """Those addresses of this machine's networks that do not answer ARP. Anything that is sent to one has the kernel ask for it."""
    wanted = sorted(addresses)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asking:
        for address in wanted:
            with contextlib.suppress(OSError):
                asking.sendto(b"", (address, DISCARD))
    deadline = time.monotonic() + ANSWER_SECONDS
    while (left := unanswered(NEIGHBOURS.read_text(encoding="ascii"), wanted)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


class StatusChecksPlane(Plane):
    """See the module."""

    name = "status_checks"

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.known: dict[str, Checks] = {}  # of instances that run
        self.stopping = threading.Event()

    def install(self) -> None:
        plane = self

        def described(kind: str) -> property:
            def status(self: Any) -> dict[str, Any]:
                if self.state != "running":
                    return {"Status": "not-applicable"}
                check: Check = getattr(plane.known.get(self.id) or Checks(), kind)
                return check.described()

            return property(status)

        Instance.system_status, Instance.instance_status = described("system"), described("instance")
        ask = InstanceBackend.describe_instance_status

        def describe_instance_status(self: Any, instance_ids: list[str], include_all_instances: bool, filters: Any) -> list[Any]:
            mine = {"instance-status.status": "instance_status", "system-status.status": "system_status"}
            found = ask(self, instance_ids, include_all_instances, [one for one in filters or [] if one["name"] not in mine])
            wanted = [(mine[one["name"]], one["values"]) for one in filters or [] if one["name"] in mine]
            return [instance for instance in found if all(getattr(instance, kind)["Status"] in values for kind, values in wanted)]

        InstanceBackend.describe_instance_status = describe_instance_status

    def start(self) -> None:
        self.stopping.clear()
        threading.Thread(target=self._run, daemon=True, name="status checks").start()

    def stop(self) -> None:
        self.stopping.set()

    def _run(self) -> None:
        while not self.stopping.wait(INTERVAL):
            try:
                self.check()
            except Exception:
                log.exception("status checks")

    def check(self) -> None:
        """Check every instance that runs once."""
        ec2 = self.cloud.planes["ec2"]
        running = {one.id: one for one in ec2.settled()}  # type: ignore[attr-defined]
        guests = {one["Labels"].get("flotilla.instance"): one for one in self.cloud.engine.mine()}
        quiet = silent(one.private_ip for one in running.values())
        settled = {one.id for one in ec2.settled()}  # type: ignore[attr-defined]
        for identifier in set(self.known) - settled:
            self.forget(identifier)
        for identifier, instance in running.items():
            if identifier in settled and identifier in guests:
                self.judge(instance, guests[identifier], instance.private_ip not in quiet)

    def judge(self, instance: Any, guest: Mapping[str, Any], answers: bool) -> None:
        """Count one check of an instance, and tell the groups when it made a difference."""
        networks = (guest.get("NetworkSettings") or {}).get("Networks") or {}
        attached = any(one.get("IPAddress") == instance.private_ip for one in networks.values())
        checks = self.known.setdefault(instance.id, Checks())
        system, own = outcomes(guest["State"], attached, answers)
        changed = [checks.system.observe(system), checks.instance.observe(own)]
        if any(changed):
            log.info("instance %s: system status %s, instance status %s", instance.id, checks.system.status, checks.instance.status)
            self.cloud.planes["ec2"].wake()  # type: ignore[attr-defined]

    def forget(self, identifier: str) -> None:
        """Begin anew with an instance that is stopped, started, rebooted or ended."""
        self.known.pop(identifier, None)

    def impaired(self, identifier: str) -> bool:
        """Whether an instance has failed its checks so often that it counts as impaired."""
        known = self.known.get(identifier)
        return known is not None and known.impaired
