"""One local cloud: its settings, engine, authority and planes, and what planes share."""

from __future__ import annotations

import importlib
import ipaddress
import logging
import threading
from collections.abc import Callable
from typing import Any

from . import fixes, images
from .authority import Authority
from .engine import Engine
from .settings import Settings

log = logging.getLogger(__name__)

# In the order of their start. A further service is one module more in `planes` and one line here.
PLANES = {
    "vpc": "VpcPlane",
    "security_groups": "SecurityGroupsPlane",
    "metadata": "MetadataPlane",
    "ec2": "Ec2Plane",
    "status_checks": "StatusChecksPlane",
    "ami": "AmiPlane",
    "efs": "EfsPlane",
    "ebs": "EbsPlane",
    "rds": "RdsPlane",
    "elasticache": "ElastiCachePlane",
    "ecr": "EcrPlane",
    "elbv2": "ElbV2Plane",
    "autoscaling": "AutoScalingPlane",
    "scaling": "ScalingPlane",
    "alarms": "AlarmsPlane",
}


class Cloud:
    """What the daemon runs. Planes reach each other and the engine through it."""

    def __init__(self, settings: Settings, engine: Engine | None = None) -> None:
        self.settings = settings
        self.engine = engine or Engine(settings.identity)
        self.authority = Authority(settings.state)
        self.lock = threading.RLock()
        self.names: dict[str, str] = {}
        self.on_publish: list[Callable[[], None]] = []
        self.planes: dict[str, Any] = {}
        for module, name in PLANES.items():
            self.planes[module] = getattr(importlib.import_module(f".planes.{module}", __package__), name)(self)

    def install(self) -> None:
        """Correct moto and put the planes behind it; once, before it serves."""
        fixes.apply()
        for plane in self.planes.values():
            plane.install()

    def start(self) -> None:
        for plane in self.planes.values():
            plane.start()

    def stop(self) -> None:
        for plane in reversed(self.planes.values()):
            plane.stop()

    def status(self) -> list[dict[str, str]]:
        return [row for plane in self.planes.values() for row in plane.status()]

    # ---- shared by planes

    def backend(self, service: str) -> Any:
        """moto's backend of this account in this region (IAM's and S3's are global)."""
        from moto.backends import get_backend

        regions = get_backend(service)[self.settings.account]  # type: ignore[call-overload]
        return regions["aws"] if service in ("iam", "s3", "sts") else regions[self.settings.region]

    def container_name(self, what: str) -> str:
        return f"flotilla-{self.settings.identity}-{what}"

    def image(self, name: str) -> str:
        """The tag of one of the cloud's images. They are built before the daemon starts."""
        return images.tag(name)

    def network_of(self, vpc_id: str) -> str:
        """The docker network that is this VPC, made when first needed."""
        return self.planes["vpc"].network(vpc_id)  # type: ignore[attr-defined,no-any-return]

    def address_in(self, subnet: Any) -> str:
        """A free private address of a moto subnet, kept for whoever asked."""
        holder = type("Reserved", (), {"id": f"reserved-{subnet.id}"})()
        return str(subnet.get_available_subnet_ip(holder))

    def gateway_of(self, vpc: Any) -> str:
        """The VPC's router: the first address of its block. The API and the metadata service listen there for guests."""
        return str(ipaddress.ip_network(vpc.cidr_block)[1])

    def publish(self, name: str, address: str) -> None:
        """Have this name resolve in every VPC."""
        with self.lock:
            if self.names.get(name) == address:
                return
            self.names[name] = address
        for tell in self.on_publish:
            tell()

    def withdraw(self, name: str) -> None:
        """Have this name resolve no longer."""
        with self.lock:
            if self.names.pop(name, None) is None:
                return
        for tell in self.on_publish:
            tell()

    def protect(self, container: str, security_group_ids: list[str]) -> None:
        """Enforce these security groups on what arrives at a container (a load balancer, a database)."""
        self.planes["security_groups"].protect(container, list(security_group_ids))  # type: ignore[attr-defined]
