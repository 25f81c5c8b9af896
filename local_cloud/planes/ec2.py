"""EC2 instances: systemd guests in containers, with the address, key and user data that the API gave them."""

from __future__ import annotations

import base64
import ipaddress
import json
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import Instance, InstanceBackend, InstanceState
from moto.ec2.responses.general import General

from .base import Plane

log = logging.getLogger(__name__)

SEED = "/var/lib/cloud/seed/nocloud"
CONSOLE_SIZE = 64 * 1024
USER = "admin"  # as in Debian's images on AWS
IMAGES = {
    "ami-0f10711a00000012": ("debian-12-amd64-flotilla", "guest"),
    "ami-0f10711a00000013": ("debian-13-amd64-flotilla", "guest13"),
}
# What of root's a guest takes, and what set-up sees to (tools/setup.py); the kernel's own number is 128, for all of the machine.
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_PER_GUEST, INOTIFY_ENOUGH = 8, 1024
NO_CAPACITY = "InsufficientInstanceCapacity"  # EC2 API Reference, "Server error codes"
STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


def inotify_instances() -> int:
    """How many inotify instances a user of this machine may have."""
    return int(INOTIFY.read_text(encoding="ascii"))


def crowded() -> str:
    """What makes guests fail on a machine that has many of them, and its fix; an empty text where that is not so."""
    limit = inotify_instances()
    if limit >= INOTIFY_ENOUGH:
        return ""
    room = f"fs.inotify.max_user_instances={limit} is enough for about {limit // INOTIFY_PER_GUEST} guests, those of all clouds together"
    return f"; {room}; fix: sudo sysctl -w fs.inotify.max_user_instances={INOTIFY_ENOUGH}"


class Ec2Plane(Plane):
    """See the module."""

    name = "ec2"

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.lock = threading.RLock()
        self.turns: dict[str, threading.Lock] = {}  # of instances, to change the container
        self.busy: set[str] = set()  # instances of which a thread changes the container now
        self.booted: set[str] = set()  # instances that have had a container
        self.restarting: dict[str, int] = {}  # instance → how often its guest was seen between two starts
        self.stopping = threading.Event()
        self.consoles: dict[str, str] = {}  # of instances, as they were last read
        self.thread: threading.Thread | None = None

    # ---- the API's side

    def install(self) -> None:
        plane = self
        run = InstanceBackend.run_instances
        terminate, stop, start, reboot = Instance.terminate, Instance.stop, Instance.start, Instance.reboot

        def running(self: Any, *args: Any, **options: Any) -> Any:
            subnet = options.get("subnet_id")
            zone = self.get_subnet(subnet).availability_zone if subnet else ""
            if zone in plane.zones_away():
                kind = options.get("instance_type") or "the requested"
                text = f"We currently do not have sufficient {kind} capacity in the Availability Zone you requested ({zone})."
                raise EC2ClientError(NO_CAPACITY, f"{text} Our system will be working on provisioning additional capacity.")
            reservation = run(self, *args, **options)
            for instance in reservation.instances:
                plane.launch(instance)
            return reservation

        def terminating(self: Any, *args: Any, **options: Any) -> Any:
            gone = self.state in ("shutting-down", "terminated")
            answer = terminate(self, *args, **options)
            if not gone:
                plane.later(self, "shutting-down", "terminated", lambda: plane.end(self))
            return answer

        def stopping(self: Any, *args: Any, **options: Any) -> Any:
            answer = stop(self, *args, **options)
            plane.later(self, "stopping", "stopped", lambda: plane.cloud.engine.stop(plane.container(self), 20))
            return answer

        def starting(self: Any, *args: Any, **options: Any) -> Any:
            answer = start(self, *args, **options)
            plane.later(self, "pending", "running", lambda: plane.cloud.engine.start(plane.container(self)))
            return answer

        def rebooting(self: Any, *args: Any, **options: Any) -> Any:
            answer = reboot(self, *args, **options)
            plane.later(self, "running", "running", lambda: plane.cloud.engine.restart(plane.container(self), 20))
            return answer

        def get_console_output(self: Any) -> ActionResult:
            instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
            text = plane.console(instance)
            return ActionResult({"InstanceId": instance.id, "Timestamp": datetime.now(UTC), "Output": base64.b64encode(text.encode()).decode()})

        General.get_console_output = get_console_output
        InstanceBackend.run_instances = running
        Instance.terminate, Instance.stop, Instance.start, Instance.reboot = terminating, stopping, starting, rebooting

    def zones_away(self) -> set[str]:
        """The zones in which nothing can be launched: a line each in the file zones-away of the cloud's state directory, for tests of a zone's end."""
        file = self.cloud.settings.state / "zones-away"
        return set(file.read_text(encoding="utf-8").split()) if file.is_file() else set()

    def container(self, instance: Any) -> str:
        return str(self.cloud.container_name(instance.id))

    def later(self, instance: Any, meanwhile: str, afterwards: str, act: Callable[[], None]) -> None:
        """Show one state, do it in the background, show the other. What is asked of an instance meanwhile is done after it, and its states are shown."""
        shown = instance._state = InstanceState(meanwhile, STATES[meanwhile])
        with self.lock:
            self.busy.add(instance.id)
            turn = self.turns.setdefault(instance.id, threading.Lock())
        self.cloud.planes["status_checks"].forget(instance.id)  # type: ignore[attr-defined]

        def run() -> None:
            with turn:
                try:
                    act()
                    state = afterwards
                except Exception:
                    log.exception("instance %s: %s failed", instance.id, meanwhile)
                    state = "terminated" if afterwards == "terminated" else "stopped"
                with self.lock:
                    if instance._state is shown:
                        instance._state = InstanceState(state, STATES[state])
                        self.busy.discard(instance.id)
                self.wake()

        threading.Thread(target=run, daemon=True, name=f"ec2 {instance.id}").start()

    def wake(self) -> None:
        """Something about instances changed: firewalls and groups look now."""
        for name in ("security_groups", "autoscaling"):
            plane = self.cloud.planes.get(name)
            if plane is not None:
                plane.wake.set()  # type: ignore[attr-defined]

    def launch(self, instance: Any) -> None:
        """Boot a guest. The state is `running` when systemd runs, a moment before its ssh does, as on AWS."""
        self.later(instance, "pending", "running", lambda: self.boot(instance))

    def boot(self, instance: Any) -> None:
        backend = self.cloud.backend("ec2")
        subnet = backend.get_subnet(instance.subnet_id)
        vpc = backend.get_vpc(subnet.vpc_id)
        image, disks, files = self.cloud.planes["ami"].of(instance.image_id, IMAGES.get(instance.image_id, ("", "guest"))[1])  # type: ignore[attr-defined]
        gateway = self.cloud.gateway_of(vpc)
        began = time.monotonic()
        self.cloud.engine.run(
            self.container(instance),
            image,
            network=self.cloud.network_of(vpc.id),
            address=instance.private_ip,
            hostname="ip-" + instance.private_ip.replace(".", "-"),
            files={**files, **self.seed(instance, backend)},
            environment={
                "GUEST_METADATA": f"{gateway}:{self.cloud.settings.metadata_port}",
                "GUEST_RESOLVER": str(ipaddress.ip_address(gateway) + 1),
                "GUEST_CGROUP": self.cloud.settings.cgroup,
            },
            labels={"flotilla.plane": self.name, "flotilla.instance": instance.id},
            restart="unless-stopped",
            systemd=True,
            volumes={**self.cloud.planes["efs"].volumes(), **self.cloud.planes["ebs"].volumes(), **disks},  # type: ignore[attr-defined]
            devices=self.cloud.planes["ebs"].devices,  # type: ignore[attr-defined]
        )
        self.booted.add(instance.id)
        # "ip-private-ipv4-address.region.compute.internal" (EC2 User Guide, "EC2 instance hostnames and domains")
        self.cloud.publish(instance.private_dns_name, instance.private_ip)
        self.cloud.planes["security_groups"].wake.set()  # type: ignore[attr-defined]
        log.info("instance %s (%s) runs after %.1f s", instance.id, instance.private_ip, time.monotonic() - began)

    def console(self, instance: Any) -> str:
        """What the guest has written since it was made, "the most recent 64 KB" (GetConsoleOutput); its journal stands for the serial console.

        Of one that has ended, what it had written by then.
        """
        journal = ["journalctl", "--no-pager", "--quiet", "--output", "short-monotonic"]
        code, text = self.cloud.engine.exec(self.container(instance), journal)
        if code == 0:
            self.consoles[instance.id] = text[-CONSOLE_SIZE:]
        return self.consoles.get(instance.id, "")

    def end(self, instance: Any) -> None:
        """Remove the guest of a terminated instance, and its name."""
        self.console(instance)
        self.cloud.engine.remove(self.container(instance))
        self.cloud.withdraw(instance.private_dns_name)
        self.cloud.planes["ami"].sweep()  # type: ignore[attr-defined]

    def seed(self, instance: Any, backend: Any) -> dict[str, Any]:
        """cloud-init's NoCloud seed: identity, key and user data."""
        metadata: dict[str, Any] = {"instance-id": instance.id, "local-hostname": "ip-" + instance.private_ip.replace(".", "-")}
        pair = backend.key_pairs.get(instance.key_name) if instance.key_name else None
        if pair:
            public = pair.material_public
            metadata["public-keys"] = [(public.decode() if isinstance(public, bytes) else public).strip()]
        given = instance.user_data  # moto keeps what the caller sent: base64
        data = base64.b64decode(given.as_bytes() if hasattr(given, "as_bytes") else given) if given else b"#cloud-config\n{}\n"
        return {f"{SEED}/meta-data": json.dumps(metadata).encode(), f"{SEED}/user-data": (data, 0o600)}

    # ---- the thread: what containers do by themselves

    def start(self) -> None:
        self.register_images()
        self.stopping.clear()
        self.thread = threading.Thread(target=self._run, daemon=True, name="ec2")
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()

    def register_images(self) -> None:
        """The machine images of the contract, besides moto's own."""
        backend = self.cloud.backend("ec2")
        from moto.ec2.models.amis import Ami

        for identifier, (name, _) in IMAGES.items():
            if identifier not in backend.amis:
                backend.amis[identifier] = Ami(
                    backend,
                    identifier,
                    name=name,
                    description="Debian with docker.io",
                    owner_id="136693071363",
                    owner_alias=None,
                    public=True,
                    virtualization_type="hvm",
                    architecture="x86_64",
                    state="available",
                    creation_date=datetime(2026, 1, 1, tzinfo=UTC),
                    platform=None,
                    image_type="machine",
                    image_location=name,
                    hypervisor="xen",
                    root_device_type="ebs",
                    root_device_name="/dev/xvda",
                    sriov="simple",
                    region_name=self.cloud.settings.region,
                )

    def _run(self) -> None:
        while not self.stopping.wait(1):
            try:
                self.observe()
            except Exception:
                log.exception("instances")

    def settled(self) -> list[Any]:
        """The running instances that have been booted and that nobody stops, starts or ends just now.

        To be asked before containers are listed: moto says `running` of an instance that is about to be booted, and one may be booted right after the list.
        """
        with self.lock:
            settled = self.booted - self.busy
        return [one for one in self.cloud.planes["vpc"].instances() if one.id in settled and one.state == "running"]  # type: ignore[attr-defined]

    def observe(self) -> None:
        """An instance whose container has ended is `stopped`: it shut itself down or its host failed."""
        running = self.settled()
        guests = {one["Labels"].get("flotilla.instance"): one["State"] for one in self.cloud.engine.mine()}
        alive = {identifier for identifier, state in guests.items() if state in ("running", "paused", "restarting", "created")}
        self.restarting = {one.id: self.restarting.get(one.id, 0) + (guests.get(one.id) == "restarting") for one in running}
        for instance in running:
            # Once may be a reboot from within.
            if guests.get(instance.id) == "restarting" and self.restarting[instance.id] == 2:
                log.warning("instance %s: its guest restarts instead of running%s", instance.id, crowded())
        for instance in running:
            with self.lock:
                busy = instance.id in self.busy
            if not busy and instance.state == "running" and instance.id not in alive:
                log.warning("instance %s ended by itself", instance.id)
                gone = not self.cloud.engine.exists(self.container(instance))
                state = "terminated" if gone else "stopped"
                instance._state = InstanceState(state, STATES[state])
                self.wake()

    def status(self) -> list[dict[str, str]]:
        return [
            {"kind": "instance", "name": one.id, "state": one.state, "address": one.private_ip or "", "url": one.availability_zone or ""}
            for one in self.cloud.planes["vpc"].instances()  # type: ignore[attr-defined]
        ]
