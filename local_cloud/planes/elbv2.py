"""Application and network load balancers: one HAProxy container for each, driven by moto's listeners, rules, target groups and by real health checks.

A thread compares what the API says with what each HAProxy has been told and tells it the difference: targets by the runtime API (at once, no
reload), everything else by a reload that hands the listening sockets over. Health checks are made inside the load balancer's container (see
``images/edge/agent.py``); ``target_health`` decides what their outcomes mean.

A network load balancer keeps its clients' addresses for instance targets ("Client IP preservation", Network Load Balancers User Guide), so that the
targets' security groups judge clients. HAProxy is a proxy and cannot: it forwards from a second address of its own, which targets let in, and the
targets' rules for clients are enforced where the clients arrive, at its container (``admissions``). Health checks come from its first address, for
which the targets' own rules hold, as on AWS.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from moto.elbv2 import models

from ..fixes.elbv2 import balancers_of
from . import haproxy
from .base import Plane
from .elb_metrics import Metrics, install
from .security_groups import Rule
from .target_health import Draining, Group, Health, Outcome, Target

log = logging.getLogger(__name__)

CONFIGURATION = "/etc/haproxy/haproxy.cfg"
TICK = 0.2  # seconds between two looks at the API's state; registrations and health changes wake the thread at once
PORTS_PER_BALANCER = 5
EVERYWHERE = "0.0.0.0/0"


class Agent:
    """The process in the load balancer's container that makes the checks and speaks to HAProxy."""

    def __init__(self, container: str, on_outcome: Callable[[str, Outcome], None], on_requests: Callable[[dict[str, Any]], None]) -> None:
        self.process = subprocess.Popen(
            ["docker", "exec", "-i", container, "python3", "/usr/local/lib/edge/agent.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        self.on_outcome, self.on_requests = on_outcome, on_requests
        self.replies: dict[int, list[str]] = {}
        self.arrived = threading.Condition()
        self.number = 0
        self.ended = False
        threading.Thread(target=self._read, daemon=True, name=f"agent {container}").start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            message = json.loads(line)
            if "key" in message:
                self.on_outcome(message["key"], Outcome(message["kind"], message.get("code")))
            elif "requests" in message:
                self.on_requests(message["requests"])
            else:
                with self.arrived:
                    self.replies[message["id"]] = message["replies"]
                    self.arrived.notify_all()
        with self.arrived:
            self.ended = True
            self.arrived.notify_all()

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def command(self, *lines: str, timeout: float = 10) -> list[str]:
        """HAProxy's answers to these commands. OSError when the container or HAProxy is away."""
        self.number += 1
        self.send({"id": self.number, "commands": list(lines)})
        with self.arrived:
            self.arrived.wait_for(lambda: self.number in self.replies or self.ended, timeout)
            if self.number not in self.replies:
                raise OSError("the load balancer's container does not answer")
            replies = self.replies.pop(self.number)
        wrong = [reply for reply in replies if reply.startswith("error:")]
        if wrong:
            raise OSError(wrong[0])
        return replies

    def close(self) -> None:
        if self.process.stdin:
            try:
                self.process.stdin.close()
            except OSError:
                pass
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Balancer:
    """One load balancer's container: what it has been told so far, and the telling."""

    def __init__(self, plane: ElbV2Plane, container: str, address: str, published: dict[int, int], forwarder: str | None = None, name: str = "") -> None:
        self.name = name  # as CloudWatch knows it: app/name/id
        self.plane, self.container, self.address, self.published, self.forwarder = plane, container, address, published, forwarder
        self.agent: Agent | None = None
        self.launched = False
        self.told: str | None = None  # digest of what needs a reload
        self.servers: dict[str, dict[int, haproxy.Server]] = {}
        self.slots: dict[str, dict[int, str]] = {}
        self.shares: dict[str, int] = {}
        self.checks: dict[str, tuple[Group, Target, dict[str, Any]]] = {}
        self.checks_told: list[dict[str, Any]] | None = None
        self.security_groups: list[str] | None = None  # as the firewall was told

    def files(self, configuration: str, certificates: dict[str, bytes]) -> dict[str, Any]:
        return {CONFIGURATION: configuration.encode(), **{f"{haproxy.CERTIFICATES}/{name}": (pem, 0o600) for name, pem in certificates.items()}}

    def connect(self) -> Agent | None:
        """The agent; it is started again when it, or the container, had ended."""
        if self.agent and not self.agent.ended:
            return self.agent
        agent = Agent(self.container, self._observed, self._served)
        try:
            agent.command("show version")
        except OSError as error:
            agent.close()
            if not self.plane.cloud.engine.running(self.container):
                log.warning("load balancer %s ended (%s); starting it", self.container, error)
                self.plane.cloud.engine.start(self.container)
            return None
        self.agent = agent
        # It may be a new process in a new network namespace: tell it, and the firewall, everything.
        self.servers, self.shares, self.checks_told, self.security_groups = {}, {}, None, None
        if self.forwarder:
            add = ["ip", "address", "replace", f"{self.forwarder}/32", "dev", "eth0"]
            code, output = self.plane.cloud.engine.beside(self.container, self.plane.cloud.image("guest"), add, b"")
            if code != 0:
                log.error("load balancer %s: no address to forward from: %s", self.container, output.strip())
        return agent

    def _observed(self, key: str, outcome: Outcome) -> None:
        """A check was made. Called by the agent's reader."""
        with self.plane.lock:
            known = self.checks.get(key)
            if known is None:
                return
            group, target, limits = known
            if group.targets.get(target.identifier) is target and target.observe(outcome, **limits):
                log.info("target %s of %s is %s %s", target.identifier, self.container, target.health.state, target.health.reason or "")
                self.plane.wake.set()

    def _served(self, requests: dict[str, Any]) -> None:
        """Requests were answered: by backend. Called by the agent's reader."""
        for backend, counted in requests.items():
            self.plane.metrics.count(self.name, backend, counted["requests"], counted["errors"], {int(ms): n for ms, n in counted["times"].items()})

    def apply(self, wanted: haproxy.LoadBalancer, certificates: dict[str, bytes], checks: list[dict[str, Any]]) -> None:
        """Bring the container to the wanted state. Raises OSError when it is away (the next round tries again)."""
        agent = self.connect()
        if agent is None:
            return
        digest = fingerprint(wanted, certificates)
        if digest != self.told:
            self._reload(agent, wanted, certificates)
            self.told = digest
        shares = haproxy.shares(wanted)
        lines = haproxy.share_commands(self.shares, shares)
        for backend in wanted.backends.values():
            # A network load balancer lets connections live on ("deregistration_delay.connection_termination.enabled": false).
            cut = wanted.kind == "application"
            lines += haproxy.commands(backend.name, self.servers.get(backend.name, {}), backend.servers, cut=cut)
        if lines:
            for line, reply in zip(lines, agent.command(*lines), strict=True):
                if reply and "changed" not in reply and "no need to change" not in reply:
                    log.warning("load balancer %s: %s: %s", self.container, line, reply)
        self.servers = {backend.name: dict(backend.servers) for backend in wanted.backends.values()}
        self.shares = shares
        if checks != self.checks_told:
            agent.send({"checks": checks})
            self.checks_told = checks

    def _reload(self, agent: Agent, wanted: haproxy.LoadBalancer, certificates: dict[str, bytes]) -> None:
        """Have the container take a new configuration; the new process listens before the old one stops to."""
        engine = self.plane.cloud.engine
        engine.put(self.container, self.files(haproxy.render(wanted), certificates))
        code, output = engine.exec(self.container, ["haproxy", "-c", "-q", "-f", CONFIGURATION])
        if code != 0:
            log.error("load balancer %s: configuration refused, the old one stays: %s", self.container, output)
            return
        before = process_of(agent)
        engine.signal(self.container, "SIGUSR2")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            time.sleep(0.05)
            try:
                if process_of(agent) != before:
                    break
            except OSError:
                continue
        else:
            log.error("load balancer %s: no new process after a reload", self.container)
        self.servers, self.shares = {}, {}


def process_of(agent: Agent) -> str:
    """The process id of the HAProxy that answers now."""
    return next(line for line in agent.command("show info")[0].splitlines() if line.startswith("Pid:"))


def fingerprint(wanted: haproxy.LoadBalancer, certificates: dict[str, bytes]) -> str:
    """Equal exactly when no reload is needed."""
    return hashlib.sha256(haproxy.render(wanted, slots=False).encode() + b"".join(certificates[name] for name in sorted(certificates))).hexdigest()


class ElbV2Plane(Plane):
    """See the module."""

    name = "elbv2"

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.lock = threading.RLock()
        self.wake = threading.Event()
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None
        self.groups: dict[str, Group] = {}
        self.balancers: dict[str, Balancer] = {}
        self.clock: Callable[[], float] = time.monotonic
        self.metrics = Metrics()

    # -- the API's side -------------------------------------------------------------------------------------------------------------------

    def install(self) -> None:
        """Patch moto: registration and health go to ``target_health``, load balancers have containers."""
        plane = self
        register, deregister = models.FakeTargetGroup.register, models.FakeTargetGroup.deregister

        def registering(self: Any, targets: list[dict[str, Any]]) -> None:
            register(self, targets)
            with plane.lock:
                for target in targets:
                    plane.group(self.arn).register(target["Id"], int(target.get("Port") or self.port))
            plane.wake.set()

        def deregistering(self: Any, targets: list[dict[str, Any]]) -> None:
            deregister(self, targets)
            plane.drain(self, [target["Id"] for target in targets])

        def terminated(self: Any, instance_ids: list[str]) -> None:
            for identifier in instance_ids:
                self.targets.pop(identifier, None)
            plane.drain(self, instance_ids)

        models.FakeTargetGroup.register = registering
        models.FakeTargetGroup.deregister = deregistering
        models.FakeTargetGroup.deregister_terminated_instances = terminated
        models.FakeTargetGroup.health_for = lambda self, target, ec2_backend: plane.describe(self, target["Id"], target.get("Port"))
        describe_target_health = models.ELBv2Backend.describe_target_health

        def describing(self: Any, target_group_arn: str, targets: list[dict[str, Any]]) -> list[Any]:
            shown = describe_target_health(self, target_group_arn, targets)
            if targets:
                return shown
            with plane.lock:
                draining = [one for one in plane.group(target_group_arn).draining.values() if one.until > plane.clock()]
            return shown + [plane.describe(self.target_groups[target_group_arn], one.identifier, one.port) for one in draining]

        models.ELBv2Backend.describe_target_health = describing
        create, delete = models.ELBv2Backend.create_load_balancer, models.ELBv2Backend.delete_load_balancer

        def creating(self: Any, *args: Any, **options: Any) -> Any:
            balancer = create(self, *args, **options)
            if balancer.type in ("application", "network") and balancer.arn not in plane.balancers:
                try:
                    plane.launch(balancer)
                except Exception:
                    self.load_balancers.pop(balancer.arn, None)
                    raise
            return balancer

        def deleting(self: Any, arn: str) -> None:
            balancer = self.load_balancers.get(arn)
            delete(self, arn)
            plane.remove(arn, balancer)

        models.ELBv2Backend.create_load_balancer, models.ELBv2Backend.delete_load_balancer = creating, deleting
        install(self.metrics)

    def group(self, arn: str) -> Group:
        """The states of a target group's targets. Hold the lock."""
        return self.groups.setdefault(arn, Group(lambda: self.clock()))

    def drain(self, target_group: Any, identifiers: list[str]) -> None:
        delay = float(target_group.attributes["deregistration_delay.timeout_seconds"])
        in_use = bool(target_group.load_balancer_arns)
        with self.lock:
            for identifier in identifiers:
                self.group(target_group.arn).deregister(identifier, delay, in_use=in_use)
        self.wake.set()

    def describe(self, target_group: Any, identifier: str, port: int | None = None) -> Any:
        """What DescribeTargetHealth shows for one target."""
        with self.lock:
            group = self.group(target_group.arn)
            known = group.targets.get(identifier) or group.draining.get(identifier)
            port = known.port if known else int(port or target_group.port)
            health: Health = group.health(
                identifier,
                in_use=bool(target_group.load_balancer_arns),
                stopped=self._instance_state(identifier) in ("stopping", "stopped"),
                zone_enabled=self._zone_enabled(target_group, identifier),
            )
        checked = str(port) if target_group.health_check_port in (None, "traffic-port") else str(target_group.health_check_port)
        return models.FakeHealthStatus(identifier, str(port), checked, health.state, health.reason, health.description)

    def _instance(self, identifier: str) -> Any:
        return self.cloud.backend("ec2").get_instance_by_id(identifier) if identifier.startswith("i-") else None

    def _instance_state(self, identifier: str) -> str:
        instance = self._instance(identifier)
        return instance.state if instance else "running"

    def _address(self, identifier: str) -> str | None:
        if not identifier.startswith("i-"):
            return identifier
        instance = self._instance(identifier)
        return instance.private_ip if instance and instance.state == "running" else None

    def _zone_enabled(self, target_group: Any, identifier: str) -> bool:
        instance = self._instance(identifier)
        balancer = self._balancer_of(target_group)
        if instance is None or balancer is None or not instance.subnet_id:
            return True
        zone = self.cloud.backend("ec2").get_subnet(instance.subnet_id).availability_zone
        return zone in [subnet.availability_zone for subnet in balancer.subnets]

    def _balancer_of(self, target_group: Any) -> Any:
        backend = self.cloud.backend("elbv2")
        arns = balancers_of(backend, target_group.arn)
        return backend.load_balancers.get(arns[0]) if arns else None

    # -- containers -----------------------------------------------------------------------------------------------------------------------

    def launch(self, balancer: Any) -> None:
        """Start a load balancer's container; its listeners follow as they are made."""
        settings, engine = self.cloud.settings, self.cloud.engine
        with self.lock:
            taken = {one.published.get(80) for one in self.balancers.values()}
            step = next(step for step in range(0, 500, PORTS_PER_BALANCER) if settings.http_port + step not in taken)
            # "The nodes of an internal load balancer have only private IP addresses": nothing outside of the VPC reaches them.
            published = {} if balancer.scheme == "internal" else {80: settings.http_port + step, 443: settings.https_port + step}
            address = self.cloud.address_in(balancer.subnets[0])
            forwarder = self.cloud.address_in(balancer.subnets[0]) if balancer.type == "network" else None
            container = self.cloud.container_name(f"lb-{balancer.name}")
            entry = Balancer(self, container, address, published, forwarder, balancer.arn.split(":loadbalancer/", 1)[1])
            self.balancers[balancer.arn] = entry
        empty = haproxy.LoadBalancer([], {}, kind=balancer.type)
        try:
            engine.run(
                container,
                self.cloud.image("edge"),
                network=self.cloud.network_of(balancer.vpc_id),
                address=address,
                command=["haproxy", "-W", "-db", "-f", CONFIGURATION],
                files=entry.files(haproxy.render(empty), {}),
                ports={inside: ("127.0.0.1", outside) for inside, outside in published.items()},
                restart="unless-stopped",
                labels={"flotilla.plane": self.name},
            )
        except Exception:
            with self.lock:
                self.balancers.pop(balancer.arn, None)
            raise
        deadline = time.monotonic() + 10
        while entry.connect() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        entry.told = fingerprint(empty, {})
        self._protect(balancer, entry)
        entry.launched = True
        self.cloud.publish(balancer.dns_name, address)

    def _protect(self, balancer: Any, entry: Balancer) -> None:
        groups = list(balancer.security_groups or [])
        if not groups and balancer.type == "application":
            # "If you don't specify a security group, Elastic Load Balancing uses the default security group of the VPC."
            groups = [self.cloud.backend("ec2").get_default_security_group(balancer.vpc_id).id]
        if groups != entry.security_groups:
            self.cloud.protect(entry.container, groups)
            entry.security_groups = groups

    def remove(self, arn: str, balancer: Any) -> None:
        with self.lock:
            entry = self.balancers.pop(arn, None)
        if entry:
            if entry.agent:
                entry.agent.close()
            self.cloud.engine.remove(entry.container)
            self.cloud.withdraw(balancer.dns_name)
            for address in filter(None, (entry.address, entry.forwarder)):
                balancer.subnets[0].del_subnet_ip(address)
        self.wake.set()

    # -- the thread -----------------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.stopping.clear()
        self.thread = threading.Thread(target=self._run, daemon=True, name="elbv2")
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self.wake.set()
        if self.thread:
            self.thread.join(15)
        for entry in list(self.balancers.values()):
            if entry.agent:
                entry.agent.close()

    def _run(self) -> None:
        while not self.stopping.is_set():
            self.wake.wait(TICK)
            self.wake.clear()
            try:
                self.step()
            except Exception:
                log.exception("elbv2: round failed, trying again")

    def step(self) -> None:
        """One round: states that time changes, then every load balancer."""
        backend = self.cloud.backend("elbv2")
        with self.lock:
            for arn in [arn for arn in self.groups if arn not in backend.target_groups]:
                del self.groups[arn]
            for arn, group in self.groups.items():
                group.expire()
                self._count_hosts(backend.target_groups[arn], group)
                for identifier in [one for one in group.targets if self._instance_state(one) in ("shutting-down", "terminated")]:
                    backend.target_groups[arn].deregister_terminated_instances([identifier])
        for balancer in list(backend.load_balancers.values()):
            entry = self.balancers.get(balancer.arn)
            if entry is None or not entry.launched:
                continue
            with self.lock:
                wanted, certificates = self.wanted(balancer, entry)
                checks = self.checks(balancer, entry)
            try:
                entry.apply(wanted, certificates, checks)
            except OSError as error:
                log.info("load balancer %s: %s", entry.container, error)
                continue
            with self.lock:
                for _, target, _ in entry.checks.values():
                    target.start_checking()
            self._protect(balancer, entry)

    def _count_hosts(self, target_group: Any, group: Group) -> None:
        """HealthyHostCount and UnHealthyHostCount of a target group as it is now."""
        states = [target.health.state for target in group.targets.values()]
        for arn in target_group.load_balancer_arns[:1]:
            name = arn.split(":loadbalancer/", 1)[1]
            self.metrics.hosts(name, backend_name(target_group), states.count("healthy"), states.count("unhealthy"))

    def wanted(self, balancer: Any, entry: Balancer) -> tuple[haproxy.LoadBalancer, dict[str, bytes]]:
        """The load balancer as plain data, with the PEM files that its listeners need. Hold the lock."""
        backend = self.cloud.backend("elbv2")
        certificates: dict[str, bytes] = {}
        listeners, used = [], []
        for listener in sorted(balancer.listeners.values(), key=lambda one: int(one.port)):
            ordered = sorted((rule for rule in listener.rules.values() if not rule.is_default), key=lambda rule: int(rule.priority))
            default = [rule for rule in listener.rules.values() if rule.is_default]
            rules = [haproxy.Rule(rule.conditions, final_action(rule.actions)) for rule in [*ordered, *default]]
            names = []
            for arn in listener.certificates if listener.protocol == "HTTPS" else []:
                pem = self._certificate(arn)
                if pem:
                    names.append(arn.rsplit("/", 1)[-1] + ".pem")
                    certificates[names[-1]] = pem
            if listener.protocol == "HTTPS" and not names:
                continue
            listeners.append(haproxy.Listener(int(listener.port), listener.protocol, rules, tuple(names)))
            used += [arn for rule in rules for arn, _ in haproxy.forwards(rule.action)]
        backends = {arn: self._backend(backend.target_groups[arn], entry) for arn in dict.fromkeys(used) if arn in backend.target_groups}
        attributes = dict(balancer.attrs)
        for listener in balancer.listeners.values():
            attributes.setdefault("tcp.idle_timeout.seconds", listener.attributes.get("tcp.idle_timeout.seconds", "350"))
        return haproxy.LoadBalancer(listeners, backends, attributes, entry.published, balancer.type), certificates

    def _certificate(self, arn: str) -> bytes | None:
        known = self.cloud.backend("acm")._certificates.get(arn)
        return b"\n".join(part.strip() for part in (known.cert, known.chain or b"", known.key)) + b"\n" if known else None

    def _backend(self, target_group: Any, entry: Balancer) -> haproxy.Backend:
        name = backend_name(target_group)
        group = self.group(target_group.arn)
        usable = {identifier: address for identifier in group.targets if (address := self._address(identifier))}
        routable = group.routable(lambda identifier: identifier in usable)
        slots = haproxy.assign(entry.slots.get(name, {}), [*group.targets, *group.draining])
        servers = {}
        for slot, identifier in slots.items():
            known: Target | Draining = group.targets.get(identifier) or group.draining[identifier]
            before = entry.servers.get(name, {}).get(slot)
            if identifier in usable:
                servers[slot] = haproxy.Server(usable[identifier], known.port, "ready" if identifier in routable else "drain")
            elif before and entry.slots.get(name, {}).get(slot) == identifier:
                # Deregistered or stopped: requests in flight go on, at the address known so far.
                servers[slot] = haproxy.Server(before.address, before.port, "drain")
        entry.slots[name] = slots
        algorithm = target_group.attributes.get("load_balancing.algorithm.type", "round_robin")
        return haproxy.Backend(name, target_group.protocol or "HTTP", algorithm, servers, entry.forwarder if preserves_clients(target_group) else None)

    def admissions(self, rules_of: Callable[[list[str]], list[Rule]]) -> tuple[dict[str, list[Rule]], dict[str, list[Rule]], dict[str, list[str]]]:
        """What network load balancers mean for firewalls: the rules of their containers, more rules for instances, more addresses of groups.

        ``rules_of`` gives the rules of security groups. A client reaches a listener when the load balancer's own groups allow it, if it has some, and
        the targets allow it, or the load balancer's groups, on the target's port.
        """
        of_balancers: dict[str, list[Rule]] = {}
        of_instances: dict[str, list[Rule]] = {}
        members: dict[str, list[str]] = {}
        backend = self.cloud.backend("elbv2")
        with self.lock:
            entries = [(backend.load_balancers[arn], entry) for arn, entry in self.balancers.items() if entry.forwarder and arn in backend.load_balancers]
        for balancer, entry in entries:
            own = list(balancer.security_groups or [])
            for group in own:
                members.setdefault(group, []).append(str(entry.forwarder))
            rules = of_balancers[entry.container] = []
            for listener in list(balancer.listeners.values()):
                port = int(listener.port)
                admitted: tuple[str, ...] = (EVERYWHERE,)
                named = [arn for rule in listener.rules.values() for arn, _ in haproxy.forwards(final_action(rule.actions))]
                keeping = [backend.target_groups[arn] for arn in named if arn in backend.target_groups and preserves_clients(backend.target_groups[arn])]
                with self.lock:
                    targets = [target for group in keeping for target in self.group(group.arn).targets.values()]
                sources: list[str] = []
                for target in targets:
                    instance = self._instance(target.identifier)
                    groups = [group.id for group in instance.security_groups] if instance else []
                    of_instances.setdefault(target.identifier, []).append(Rule("tcp", target.port, target.port, (f"{entry.forwarder}/32",)))
                    for one in rules_of(groups):
                        if one.admits("tcp", target.port):
                            sources += [EVERYWHERE] if f"{entry.address}/32" in one.sources and own else one.sources
                if targets:
                    admitted = tuple(dict.fromkeys(sources))
                if own:
                    allowed = [source for one in rules_of(own) if one.admits("tcp", port) for source in one.sources]
                    admitted = tuple(both(allowed, admitted))
                if admitted:
                    rules.append(Rule("tcp", port, port, admitted))
        return of_balancers, of_instances, members

    def checks(self, balancer: Any, entry: Balancer) -> list[dict[str, Any]]:
        """The health checks to make from this load balancer; sets ``entry.checks``. Hold the lock."""
        entry.checks, wanted = {}, []
        for arn, group in self.groups.items():
            target_group = self.cloud.backend("elbv2").target_groups.get(arn)
            if target_group is None or not target_group.health_check_enabled or target_group.load_balancer_arns[:1] != [balancer.arn]:
                continue
            limits = {
                "matcher": (getattr(target_group, "matcher", None) or {}).get("HttpCode") or "200",
                "healthy_threshold": int(target_group.healthy_threshold_count),
                "unhealthy_threshold": int(target_group.unhealthy_threshold_count),
            }
            for target in group.targets.values():
                address = self._address(target.identifier)
                if address is None or not self._zone_enabled(target_group, target.identifier):
                    continue
                # With the serial, late outcomes of a former registration do not count.
                key = f"{arn} {target.identifier} {target.serial}"
                entry.checks[key] = (group, target, limits)
                traffic = target_group.health_check_port in (None, "traffic-port")
                wanted.append(
                    {
                        "key": key,
                        "host": address,
                        "port": target.port if traffic else int(target_group.health_check_port),
                        "path": target_group.health_check_path or "/",
                        "protocol": target_group.health_check_protocol,
                        "interval": float(target_group.health_check_interval_seconds),
                        "timeout": float(target_group.health_check_timeout_seconds),
                    }
                )
        return wanted

    def status(self) -> list[dict[str, str]]:
        """One line per load balancer for ``local_cloud status``."""
        lines = []
        for balancer in list(self.cloud.backend("elbv2").load_balancers.values()):
            entry = self.balancers.get(balancer.arn)
            if entry:
                public = f"http://127.0.0.1:{entry.published[80]}/ https://127.0.0.1:{entry.published[443]}/" if entry.published else balancer.dns_name
                lines.append({"kind": "load balancer", "name": balancer.name, "state": balancer.state, "address": entry.address, "url": public})
        return lines


def backend_name(target_group: Any) -> str:
    """The name of a target group's backend; no two groups have the same."""
    return f"{target_group.name}-{target_group.arn.rsplit('/', 1)[-1]}"


def preserves_clients(target_group: Any) -> bool:
    """Whether targets see the clients' addresses (attribute preserve_client_ip.enabled; "by default" of instance targets of TCP)."""
    return target_group.protocol in ("TCP", "TLS") and target_group.attributes.get("preserve_client_ip.enabled") == "true"


def both(some: Iterable[str], others: Iterable[str]) -> list[str]:
    """The blocks that are in both: of two that overlap one lies within the other."""
    pairs = [(ipaddress.ip_network(one, strict=False), ipaddress.ip_network(other, strict=False)) for one in some for other in others]
    return list(dict.fromkeys(str(one if one.prefixlen >= other.prefixlen else other) for one, other in pairs if one.overlaps(other)))


def final_action(actions: list[Any]) -> dict[str, Any]:
    """The routing action of a rule (authentication actions may precede it)."""
    plain = [getattr(action, "data", action) for action in actions]
    return next(action for action in plain if action["Type"] in ("forward", "redirect", "fixed-response"))
