"""Security groups: what may arrive at a guest, a load balancer or a database, enforced by iptables in that container's own network namespace.

The rules sit in the mangle table's PREROUTING chain, before the nested docker engine redirects published ports, and look at new connections that
come in over the container's own interface only. "Security groups are stateful" (VPC User Guide): answers always pass.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
from dataclasses import dataclass
from typing import Any

from .base import Plane

log = logging.getLogger(__name__)

CHAIN = "SECURITY-GROUPS"
TICK = 1.0  # seconds between two looks; changes that the cloud itself makes wake the thread at once
PROTOCOLS = {"tcp": "tcp", "udp": "udp", "icmp": "icmp", "6": "tcp", "17": "udp", "1": "icmp", "-1": "all"}


@dataclass(frozen=True)
class Rule:
    """One ingress permission with its sources as blocks. protocol: tcp, udp, icmp or all."""

    protocol: str
    first: int | None
    last: int | None
    sources: tuple[str, ...]

    def admits(self, protocol: str, port: int) -> bool:
        """Whether the rule is about this port."""
        return self.protocol == "all" or (self.protocol == protocol and (self.first is None or self.first < 0 or self.first <= port <= int(self.last or 0)))


def evaluate(groups: list[dict[str, Any]], members: dict[str, list[str]]) -> list[Rule]:
    """The rules of these groups. A group: {permissions: [{protocol, first, last, blocks, groups}]}; members: group id → its interfaces' addresses."""
    rules = []
    for group in groups:
        for one in group["permissions"]:
            named = [f"{address}/32" for identifier in one["groups"] for address in sorted(members.get(identifier, []))]
            sources = tuple(dict.fromkeys([*one["blocks"], *named]))
            if sources:
                rules.append(Rule(one["protocol"], one["first"], one["last"], sources))
    return rules


def script(rules: list[Rule]) -> str:
    """Input for iptables-restore --noflush: replaces our chain in one step. What no rule allows is dropped, as at AWS, where it times out."""
    lines = ["*mangle", f":{CHAIN} - [0:0]", f"-A {CHAIN} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"]
    for rule in rules:
        match = "" if rule.protocol == "all" else f" -p {rule.protocol}"
        if rule.protocol in ("tcp", "udp") and rule.first is not None and rule.first >= 0:
            match += f" --dport {rule.first}:{rule.last}"
        lines += [f"-A {CHAIN} -s {ipaddress.ip_network(source, strict=False)}{match} -j RETURN" for source in rule.sources]
    return "\n".join([*lines, f"-A {CHAIN} -j DROP", "COMMIT"]) + "\n"


# Run with the chain's script on standard input; the hook is made once. An interface of the cloud is named eth<number> by docker.
HOOK = f"PREROUTING -i eth+ -j {CHAIN}"
APPLY = ["sh", "-c", f"iptables-restore -w --noflush && {{ iptables -w -t mangle -C {HOOK} 2>/dev/null || iptables -w -t mangle -A {HOOK}; }}"]


class SecurityGroupsPlane(Plane):
    """See the module."""

    name = "security_groups"

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.lock = threading.RLock()
        self.wake = threading.Event()
        self.stopping = threading.Event()
        self.others: dict[str, list[str]] = {}  # container that is no guest → its groups
        self.told: dict[str, tuple[str, str]] = {}  # container → (start time, script)

    def protect(self, container: str, groups: list[str]) -> None:
        """From now on, and at once, only what these groups allow arrives at this container."""
        with self.lock:
            self.others[container] = groups
        self.enforce(only=container)

    def start(self) -> None:
        self.stopping.clear()
        threading.Thread(target=self._run, daemon=True, name="security groups").start()

    def stop(self) -> None:
        self.stopping.set()
        self.wake.set()

    def _run(self) -> None:
        while not self.stopping.is_set():
            self.wake.wait(TICK)
            self.wake.clear()
            try:
                self.enforce()
            except Exception:
                log.exception("security groups")

    # ---- what the API says

    def guests(self) -> dict[str, Any]:
        """Container → instance, of the guests that may run."""
        return {self.cloud.container_name(one.id): one for one in self.cloud.planes["vpc"].instances() if one.state in ("pending", "running")}  # type: ignore[attr-defined]

    def members(self) -> dict[str, list[str]]:
        """Group id → private addresses of everything in it."""
        found: dict[str, list[str]] = {}
        for instance in self.guests().values():
            for group in instance.security_groups:
                found.setdefault(group.id, []).append(instance.private_ip)
        with self.lock:
            others = dict(self.others)
        for container, groups in others.items():
            facts = self.cloud.engine.inspect(container)
            if facts is None:
                with self.lock:
                    self.others.pop(container, None)
                continue
            addresses = [one["IPAddress"] for one in facts["NetworkSettings"]["Networks"].values() if one.get("IPAddress")]
            for identifier in groups:
                found.setdefault(identifier, []).extend(addresses)
        return found

    def group(self, identifier: str) -> dict[str, Any]:
        """A moto group as plain data. An unknown one permits nothing."""
        backend = self.cloud.backend("ec2")
        known = next((groups[identifier] for groups in list(backend.groups.values()) if identifier in groups), None)
        permissions = []
        for rule in known.ingress_rules if known else []:
            first, last = rule.from_port, rule.to_port
            permissions.append(
                {
                    "protocol": PROTOCOLS.get(str(rule.ip_protocol), "all"),
                    "first": int(first) if first not in (None, "") else None,
                    "last": int(last) if last not in (None, "") else None,
                    "blocks": [rule.ip_range["CidrIp"]] if rule.ip_range.get("CidrIp") else [],
                    "groups": [rule.source_group["GroupId"]] if rule.source_group.get("GroupId") else [],
                }
            )
        return {"permissions": permissions}

    def lets_in(self, groups: list[str], address: str, port: int) -> bool:
        """Whether these groups let a connection from this address in."""
        rules = evaluate([self.group(identifier) for identifier in groups], self.members())
        inside = ipaddress.ip_address(address)
        return any(rule.admits("tcp", port) and any(inside in ipaddress.ip_network(one, strict=False) for one in rule.sources) for rule in rules)

    # ---- enforcing

    def enforce(self, only: str | None = None) -> None:
        """Bring every protected container, or one of them, to the rules of now."""
        members, guests = self.members(), self.guests()
        wanted = {name: [group.id for group in instance.security_groups] for name, instance in guests.items()}
        with self.lock:
            wanted.update(self.others)
        for gone in set(self.told) - set(wanted):
            self.told.pop(gone, None)

        def rules_of(groups: list[str]) -> list[Rule]:
            return evaluate([self.group(identifier) for identifier in groups], members)

        balancers = self.cloud.planes.get("elbv2")
        instead, further, addresses = balancers.admissions(rules_of) if balancers else ({}, {}, {})
        for group, some in addresses.items():
            members.setdefault(group, []).extend(some)
        for container, groups in wanted.items():
            if only in (None, container):
                more = further.get(guests[container].id, []) if container in guests else []
                self.enforce_one(container, instead[container] if container in instead else [*rules_of(groups), *more])

    def enforce_one(self, container: str, rules: list[Rule]) -> None:
        facts = self.cloud.engine.inspect(container)
        if not facts or not facts["State"]["Running"]:
            return
        text = script(rules)
        # A container that was started again has a new, empty network namespace.
        state = (facts["State"]["StartedAt"], text)
        if self.told.get(container) == state:
            return
        code, output = self.cloud.engine.beside(container, self.cloud.image("guest"), APPLY, text.encode())
        if code == 0:
            self.told[container] = state
        elif self.cloud.engine.running(container):
            log.warning("security groups of %s: %s", container, output.strip()[-300:])
            self.wake.set()
