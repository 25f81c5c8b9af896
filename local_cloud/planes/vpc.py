"""VPCs: one docker bridge each, with the VPC's own block, so that the private address moto hands out is the guest's address.

The bridge's gateway is the VPC's router (base + 1); Amazon's resolver sits at base + 2, as on AWS ("The Amazon DNS server … the base of the VPC
network range, plus two", VPC User Guide, DNS attributes).
"""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections.abc import Callable
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.security_groups import SecurityGroupBackend
from moto.ec2.models.subnets import SubnetBackend
from moto.ec2.models.vpcs import VPCBackend

from .base import Plane

log = logging.getLogger(__name__)
HOSTS = "/etc/resolver/hosts"
RESOLVER = ["dnsmasq", "--keep-in-foreground", "--user=root", "--log-facility=-", "--no-hosts", "--hostsdir", HOSTS, "--local-ttl=2"]
RELOAD = ["sh", "-c", f"cat > {HOSTS}.new && mv {HOSTS}.new {HOSTS}/names && kill -HUP 1"]


class DependencyViolation(EC2ClientError):
    """ "The specified object has dependent resources" (EC2 API reference, error codes)."""

    def __init__(self, message: str) -> None:
        super().__init__("DependencyViolation", message)


class VpcPlane(Plane):
    """See the module."""

    name = "vpc"

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.lock = threading.RLock()
        self.networks: dict[str, str] = {}
        self.listen: Callable[[str], None] = lambda gateway: None  # set by the server: open the API on this address too

    def install(self) -> None:
        plane = self
        delete_vpc, delete_subnet, delete_group = VPCBackend.delete_vpc, SubnetBackend.delete_subnet, SecurityGroupBackend.delete_security_group

        def deleting_vpc(self: Any, vpc_id: str) -> Any:
            if any(subnet.vpc_id == vpc_id for zone in self.subnets.values() for subnet in zone.values()):
                raise DependencyViolation(f"The vpc '{vpc_id}' has dependencies and cannot be deleted.")
            vpc = delete_vpc(self, vpc_id)
            plane.forget(vpc_id)
            return vpc

        def deleting_subnet(self: Any, subnet_id: str) -> Any:
            if plane.uses_subnet(subnet_id):
                raise DependencyViolation(f"The subnet '{subnet_id}' has dependencies and cannot be deleted.")
            return delete_subnet(self, subnet_id)

        def deleting_group(self: Any, name: str = "", group_id: str = "", **options: Any) -> Any:
            if group_id and plane.uses_group(group_id):
                raise DependencyViolation(f"resource {group_id} has a dependent object")
            return delete_group(self, name, group_id, **options)

        VPCBackend.delete_vpc, SubnetBackend.delete_subnet = deleting_vpc, deleting_subnet
        SecurityGroupBackend.delete_security_group = deleting_group
        self.cloud.on_publish.append(self.tell)

    def instances(self) -> list[Any]:
        """Every instance that still has a network interface."""
        backend = self.cloud.backend("ec2")
        return [one for reservation in list(backend.reservations.values()) for one in reservation.instances if one.state != "terminated"]

    def caches(self) -> list[Any]:
        """The replication groups, also those that are being deleted."""
        return list(self.cloud.backend("elasticache").replication_groups.values())

    def mount_targets(self) -> list[Any]:
        return list(self.cloud.backend("efs").mount_targets_by_id.values())

    def uses_subnet(self, subnet_id: str) -> bool:
        """Whether an instance, a NAT gateway, a load balancer, a cache, a mount target … has an interface there."""
        ec2 = self.cloud.backend("ec2")
        gateways = [one for one in ec2.nat_gateways.values() if one.subnet_id == subnet_id and one.state not in ("deleted", "deleting")]
        balancers = [one for one in self.cloud.backend("elbv2").load_balancers.values() if subnet_id in [subnet.id for subnet in one.subnets]]
        mounts = [one for one in self.mount_targets() if one.subnet_id == subnet_id]
        caches = [one for one in self.caches() if subnet_id in [one.subnet_of(position).id for position in range(one.members)]]
        return bool(gateways or balancers or mounts or caches or [one for one in self.instances() if one.subnet_id == subnet_id])

    def uses_group(self, group_id: str) -> bool:
        """Whether an interface has the group or another group's rule names it."""
        ec2 = self.cloud.backend("ec2")
        if any(group_id in [group.id for group in one.security_groups] for one in self.instances()):
            return True
        if any(group_id in one.security_groups for one in self.cloud.backend("elbv2").load_balancers.values()):
            return True
        if any(group_id in one.vpc_security_group_ids for one in self.cloud.backend("rds").databases.values()):
            return True
        if any(group_id in (one.security_groups or []) for one in [*self.caches(), *self.mount_targets()]):
            return True
        groups = [group for of_vpc in list(ec2.groups.values()) for group in of_vpc.values() if group.id != group_id]
        return any(rule.source_group.get("GroupId") == group_id for group in groups for rule in group.ingress_rules)

    # ---- networks

    def network(self, vpc_id: str) -> str:
        """The docker network of a VPC, with its resolver."""
        with self.lock:
            if vpc_id in self.networks:
                return self.networks[vpc_id]
            vpc = self.cloud.backend("ec2").get_vpc(vpc_id)
            block, name = ipaddress.ip_network(vpc.cidr_block), self.cloud.container_name(vpc_id)
            self.cloud.engine.network(name, str(block), str(block[1]))
            self.listen(str(block[1]))
            self.networks[vpc_id] = name
            self.cloud.engine.run(
                self.resolver(vpc_id),
                self.cloud.image("edge"),
                network=name,
                address=str(block[2]),
                command=RESOLVER,
                files={f"{HOSTS}/names": self.hosts()},
                capabilities=["NET_ADMIN"],
                labels={"flotilla.plane": self.name},
                restart="unless-stopped",
            )
            log.info("VPC %s is docker network %s, %s", vpc_id, name, block)
            return name

    def resolver(self, vpc_id: str) -> str:
        return str(self.cloud.container_name(f"resolver-{vpc_id}"))

    def hosts(self) -> bytes:
        return "".join(f"{address} {name}\n" for name, address in sorted(self.cloud.names.items())).encode()

    def tell(self) -> None:
        """Have the resolvers know the names of now; dnsmasq reads files put into its hostsdir by itself."""
        with self.lock:
            for vpc_id in self.networks:
                code, output = self.cloud.engine.exec(self.resolver(vpc_id), RELOAD, input=self.hosts())
                if code != 0:
                    log.warning("resolver of %s: %s", vpc_id, output)

    def forget(self, vpc_id: str) -> None:
        with self.lock:
            name = self.networks.pop(vpc_id, None)
            if name:
                self.cloud.engine.remove(self.resolver(vpc_id))
                self.cloud.engine.remove_network(name)
