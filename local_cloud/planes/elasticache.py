"""ElastiCache: a redis server in a container for each replication group, with TLS from the local authority and its AUTH token.

One server stands for the primary and its replicas: both endpoints lead to it. Nothing is kept on disk, as in ElastiCache without a snapshot: a node
that was stopped starts empty. A container that ended stays ended until it is started (`docker start`), so that an outage can be watched.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from moto.elasticache import models

from ..fixes.elasticache import OF_THE_SERVICE, Group, _parameter_group
from .base import Plane

log = logging.getLogger(__name__)
BOOT_SECONDS = 30
SOCKET = "/run/cache.sock"
# "Restricted commands" (User Guide): clients may not have them.
RESTRICTED = "-bgrewriteaof -bgsave -config -debug -migrate -psync -replicaof -save -shutdown -slaveof -sync -acl|deluser -acl|load -acl|save -acl|setuser"
MEMORY = {"micro": 384, "small": 1024}  # MiB that a node type leaves for data; larger ones get what the machine may spare


def users(tokens: Sequence[str], own: str) -> str:
    """The access control file: clients with any of the tokens (all, when there is none), and the cloud itself."""

    def hashed(word: str) -> str:
        return "#" + hashlib.sha256(word.encode()).hexdigest()

    words = " ".join(hashed(one) for one in tokens) or "nopass"
    return f"user default on {words} ~* &* +@all {RESTRICTED}\nuser local-cloud on {hashed(own)} ~* &* +@all\n"


def configuration(group: Group, parameters: Mapping[str, str]) -> str:
    """redis.conf of a replication group."""
    listening = [f"port {group.port}"]
    if group.encrypted:
        files = [f"tls-{kind}-file /etc/cache/{name}" for kind, name in (("cert", "server.pem"), ("key", "server.key"), ("ca-cert", "ca.pem"))]
        listening = ["port 0", f"tls-port {group.port}", *files, "tls-auth-clients no"]
    size = MEMORY.get(group.node_type.rsplit(".", 1)[-1], 2048)
    lines = [
        "bind 0.0.0.0",
        "protected-mode no",
        *listening,
        f"unixsocket {SOCKET}",
        "unixsocketperm 700",
        "aclfile /etc/cache/users.acl",
        'save ""',
        "appendonly no",
        "dir /var/lib/cache",
        f"maxmemory {size}mb",
    ]
    lines += [f"{name} {value or chr(34) * 2}" for name, value in sorted(parameters.items()) if name not in OF_THE_SERVICE]
    return "\n".join(lines) + "\n"


def names_of(group: Group, members: Sequence[str]) -> list[str]:
    """The names of its endpoints."""
    return [group.names["primary"], group.names["reader"], *(group.names["node"].format(one) for one in members)]


class ElastiCachePlane(Plane):
    """See the module."""

    name = "elasticache"

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.addresses: dict[str, tuple[Any, str]] = {}  # replication group → (subnet, address)
        self.tokens: dict[str, list[str]] = {}  # that are good now, the newest last
        self.certificates: dict[str, tuple[bytes, bytes]] = {}
        self.protected: dict[str, list[str]] = {}
        self.parameters: dict[str, dict[str, str]] = {}  # as the running server has them
        self.own = secrets.token_hex(16)

    # ---- the API's side

    def install(self) -> None:
        """Patch moto: replication groups have a server."""
        plane, backend = self, models.ElastiCacheBackend
        create, modify, delete = backend.create_replication_group, backend.modify_replication_group, backend.delete_replication_group

        def creating(self: Any, asked: Mapping[str, Any]) -> Group:
            group: Group = create(self, asked)
            try:
                plane.launch(group)
            except Exception:
                self.forget_replication_group(group)
                plane.remove(group)
                raise
            group.status = "available"
            return group

        def modifying(self: Any, asked: Mapping[str, Any]) -> Group:
            group: Group = modify(self, asked)
            plane.change_tokens(group, asked)
            plane.follow(group)
            return group

        def deleting(self: Any, identifier: str) -> Group:
            group: Group = delete(self, identifier)

            def run() -> None:
                plane.remove(group)
                self.forget_replication_group(group)

            threading.Thread(target=run, daemon=True, name=f"elasticache {group.identifier}").start()
            return group

        backend.create_replication_group, backend.modify_replication_group = creating, modifying
        backend.delete_replication_group = deleting

    def container(self, group: Group) -> str:
        return self.cloud.container_name(f"cache-{group.identifier}")

    # ---- containers

    def launch(self, group: Group) -> None:
        """Create and boot the server. CreateReplicationGroup answers when it is there: waiters sleep for 15 seconds at every ``creating``."""
        subnet = group.subnet_of(0)
        address = self.cloud.address_in(subnet)
        with self.lock:
            self.addresses[group.identifier] = (subnet, address)
            self.tokens[group.identifier] = [group.token] if group.token else []
            self.certificates[group.identifier] = self.cloud.authority.issue(names_of(group, ["*"]))
        began = time.monotonic()
        self.cloud.engine.run(
            self.container(group),
            self.cloud.image("cache"),
            network=self.cloud.network_of(subnet.vpc_id),
            address=address,
            files=self.files(group),
            labels={"flotilla.plane": self.name},
        )
        self.wait(group)
        self.follow(group)
        log.info("replication group %s is available after %.1f s", group.identifier, time.monotonic() - began)

    def files(self, group: Group) -> dict[str, Any]:
        certificate, key = self.certificates[group.identifier]
        self.parameters[group.identifier] = self.wanted(group)
        return {
            "/etc/cache/redis.conf": configuration(group, self.parameters[group.identifier]).encode(),
            "/etc/cache/users.acl": (users(self.tokens[group.identifier], self.own).encode(), 0o600),
            "/etc/cache/ca.pem": self.cloud.authority.certificate_pem,
            "/etc/cache/server.pem": certificate,
            "/etc/cache/server.key": (key, 0o400),
        }

    def wanted(self, group: Group) -> dict[str, str]:
        """The parameters of its group."""
        known = _parameter_group(group.backend, group.parameter_group_name)
        return {one["ParameterName"]: one["ParameterValue"] for one in known.parameters()}

    def tell(self, group: Group, *lines: str) -> tuple[int, str]:
        """Give the server commands, as the cloud's own user."""
        told = "\n".join([f"AUTH local-cloud {self.own}", *lines]) + "\n"
        code, output = self.cloud.engine.exec(self.container(group), ["redis-cli", "-s", SOCKET], input=told.encode())
        return int(code), str(output)

    def wait(self, group: Group) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline and not self.stopping.is_set():
            if "PONG" in self.tell(group, "PING")[1]:
                return
            time.sleep(0.1)
        raise TimeoutError(f"redis of replication group {group.identifier} does not start; see: docker logs {self.container(group)}")

    def change_tokens(self, group: Group, asked: Mapping[str, Any]) -> None:
        """ROTATE: "adds the new token, the old one stays valid"; SET: the new one alone ("Modifying the AUTH token", User Guide)."""
        strategy, known = asked.get("AuthTokenUpdateStrategy") or "ROTATE", self.tokens.get(group.identifier, [])
        if asked.get("AuthToken") is not None:
            wanted = [str(asked["AuthToken"])] if strategy == "SET" else [*[one for one in known if one != asked["AuthToken"]][-1:], str(asked["AuthToken"])]
        elif strategy == "DELETE" and "AuthTokenUpdateStrategy" in asked:
            wanted = []
        else:
            return
        with self.lock:
            self.tokens[group.identifier] = wanted
        self.cloud.engine.put(self.container(group), {"/etc/cache/users.acl": (users(wanted, self.own).encode(), 0o600)})
        if self.cloud.engine.running(self.container(group)):
            self.tell(group, "ACL LOAD")

    def follow(self, group: Group) -> None:
        """Bring a running server to the security groups and parameters of now."""
        if group.identifier not in self.addresses or not self.cloud.engine.running(self.container(group)):
            return
        self.protect(group)
        for name in names_of(group, group.member_names()):
            self.cloud.publish(name, self.addresses[group.identifier][1])
        before, after = self.parameters.get(group.identifier, {}), self.wanted(group)
        changed = {name: value for name, value in after.items() if before.get(name) != value and name not in OF_THE_SERVICE}
        if changed:
            self.tell(group, *(f'CONFIG SET {name} "{value}"' for name, value in sorted(changed.items())))
            self.cloud.engine.put(self.container(group), {"/etc/cache/redis.conf": configuration(group, after).encode()})
            self.parameters[group.identifier] = after

    def protect(self, group: Group) -> None:
        if self.protected.get(group.identifier) != group.security_groups:
            self.cloud.protect(self.container(group), list(group.security_groups))
            self.protected[group.identifier] = list(group.security_groups)

    def remove(self, group: Group) -> None:
        with self.lock:
            known = self.addresses.pop(group.identifier, None)
            for memory in (self.tokens, self.certificates, self.protected, self.parameters):
                memory.pop(group.identifier, None)  # type: ignore[attr-defined]
        if known:
            self.cloud.engine.remove(self.container(group))
            for name in names_of(group, group.member_names()):
                self.cloud.withdraw(name)
            known[0].del_subnet_ip(known[1])

    # ---- the thread

    def start(self) -> None:
        self.stopping.clear()
        threading.Thread(target=self._run, daemon=True, name="elasticache").start()

    def stop(self) -> None:
        self.stopping.set()

    def _run(self) -> None:
        while not self.stopping.wait(2):
            for group in list(self.cloud.backend("elasticache").replication_groups.values()):
                try:
                    if group.status == "available":
                        self.follow(group)
                except Exception:
                    log.exception("replication group %s", group.identifier)

    def status(self) -> list[dict[str, str]]:
        """One line per replication group; `ended` when its container was stopped."""
        rows = []
        for group in list(self.cloud.backend("elasticache").replication_groups.values()):
            known = self.addresses.get(group.identifier)
            state = group.status if group.status != "available" or self.cloud.engine.running(self.container(group)) else "ended"
            rows.append({"kind": "cache", "name": group.identifier, "state": state, "address": known[1] if known else "", "url": group.names["primary"]})
        return rows
