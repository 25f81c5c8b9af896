"""A whole local cloud in this process without docker: moto, its corrections and all planes, with containers that are only written down."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto import mock_aws

from local_cloud.cloud import Cloud
from local_cloud.settings import Settings

REGION = "eu-central-1"
IMAGE = "ami-0f10711a00000012"


class PaperEngine:
    """Writes down what the docker engine would be asked."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.networks: dict[str, str] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.executed: list[tuple[str, Sequence[str], str]] = []
        self.starts = 0

    def run(self, name: str, image: str, **options: Any) -> str:
        self.containers[name] = {"image": image, **options}
        self.start(name)
        return name

    def start(self, name: str) -> None:
        self.starts += 1
        self.containers[name] |= {"running": True, "started": str(self.starts)}

    def restart(self, name: str, timeout: int = 10) -> None:
        self.start(name)

    def stop(self, name: str, timeout: int = 10) -> None:
        self.containers[name]["running"] = False

    def remove(self, name: str) -> None:
        self.containers.pop(name, None)

    def exec(self, name: str, arguments: Sequence[str], input: bytes | str | None = None, timeout: float = 60) -> tuple[int, str]:
        text = input.decode() if isinstance(input, bytes) else input or ""
        self.executed.append((name, list(arguments), text))
        return 0, ""

    def beside(self, name: str, image: str, arguments: Sequence[str], input: bytes) -> tuple[int, str]:
        return self.exec(name, arguments, input)

    def put(self, name: str, files: dict[str, Any]) -> None:
        self.containers[name]["files"] = {**self.containers[name].get("files", {}), **files}

    def inspect(self, name: str) -> dict[str, Any] | None:
        known = self.containers.get(name)
        if known is None:
            return None
        return {"State": {"Running": known["running"], "StartedAt": known["started"]}, "NetworkSettings": self.networks_of(known)}

    def networks_of(self, known: dict[str, Any]) -> dict[str, Any]:
        return {"Networks": {known["network"]: {"IPAddress": known["address"]}} if known.get("network") else {}}

    def cpu_seconds(self, name: str) -> float | None:
        return float(self.containers[name].get("cpu", 0.0)) if self.running(name) else None

    def exists(self, name: str) -> bool:
        return name in self.containers

    def running(self, name: str) -> bool:
        return name in self.containers and bool(self.containers[name]["running"])

    def mine(self) -> list[dict[str, Any]]:
        states = {True: "running", False: "exited"}
        return [
            {"Labels": one.get("labels", {}), "State": one.get("state", states[one["running"]]), "NetworkSettings": self.networks_of(one)}
            for one in self.containers.values()
        ]

    def volume(self, name: str) -> str:
        return name

    def in_volume(self, volume: str, image: str, arguments: Sequence[str]) -> None:
        self.executed.append((volume, list(arguments), ""))

    def commit(self, name: str, image: str) -> None:
        self.images[image] = dict(self.containers[name])

    def copy_out(self, container: str, path: str, volume: str, image: str) -> None:
        self.executed.append((container, ["copy", path, volume], ""))

    def remove_image(self, image: str) -> None:
        self.images.pop(image, None)

    def remove_volume(self, name: str) -> None:
        """Nothing to write down."""

    def network(self, name: str, cidr: str, gateway: str) -> None:
        self.networks[name] = cidr

    def remove_network(self, name: str) -> None:
        self.networks.pop(name, None)

    def connect(self, name: str, network: str, address: str | None = None) -> None:
        """Nothing to write down."""


class Bed:
    """An account of a cloud on paper, with a VPC of a subnet in each of two zones."""

    def __init__(self, cloud: Cloud, engine: PaperEngine) -> None:
        self.cloud, self.engine = cloud, engine
        self.ec2, self.autoscaling, self.iam, self.elbv2 = (client(one) for one in ("ec2", "autoscaling", "iam", "elbv2"))
        self.vpc = self.ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        made = [self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.1.{n}.0/24", AvailabilityZone=f"{REGION}{zone}") for n, zone in enumerate("ab")]
        self.subnets = [one["Subnet"]["SubnetId"] for one in made]
        self.group = self.security_group("hosts")

    def security_group(self, name: str) -> str:
        return str(self.ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc)["GroupId"])

    def allow(self, group: str, port: int, **source: Any) -> None:
        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **source}])

    def run(self, **options: Any) -> dict[str, Any]:
        """A running instance of the first subnet."""
        given = {"ImageId": IMAGE, "MinCount": 1, "MaxCount": 1, "SubnetId": self.subnets[0], "SecurityGroupIds": [self.group], **options}
        instance = self.ec2.run_instances(**given)["Instances"][0]
        self.settle()
        return dict(instance)

    def instance(self, identifier: str) -> dict[str, Any]:
        return dict(self.ec2.describe_instances(InstanceIds=[identifier])["Reservations"][0]["Instances"][0])

    def state(self, identifier: str) -> str:
        return str(self.instance(identifier)["State"]["Name"])

    def container(self, identifier: str) -> dict[str, Any]:
        return self.engine.containers[self.cloud.container_name(identifier)]

    def settle(self) -> None:
        """Until no thread boots or ends a guest."""
        eventually(lambda: not self.cloud.planes["ec2"].busy, "instances come to rest")

    def reconcile(self, times: int = 4) -> None:
        """What the loop of Auto Scaling does by itself."""
        plane = self.cloud.planes["autoscaling"]
        for _ in range(times):
            for group in list(self.cloud.backend("autoscaling").autoscaling_groups.values()):
                plane.reconcile(group)
            self.settle()


def eventually(true: Callable[[], Any], what: str, seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.005)


@functools.cache
def client(service: str) -> Any:
    # moto answers for AWS's own addresses only: whatever endpoint the environment names must not count.
    config = Config(ignore_configured_endpoint_urls=True)
    return boto3.client(service, region_name=REGION, aws_access_key_id="local", aws_secret_access_key="local", config=config)  # noqa: S106


@contextlib.contextmanager
def unpatched() -> Iterator[None]:
    """Afterwards every class of moto is as it was."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("moto.")]
    classes = {value for module in modules for value in vars(module).values() if isinstance(value, type) and value.__module__.startswith("moto.")}
    saved = [(one, dict(vars(one))) for one in classes]
    try:
        yield
    finally:
        for one, attributes in saved:
            for name in [name for name in vars(one) if name not in attributes]:
                delattr(one, name)
            for name, value in attributes.items():
                if vars(one).get(name) is not value:
                    setattr(one, name, value)


@contextlib.contextmanager
def bed(state: Path) -> Iterator[Bed]:
    """A cloud on paper. Its loops do not run: tests make their steps."""
    monkey = pytest.MonkeyPatch()
    monkey.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # a second for each test otherwise
    monkey.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "false")  # two more
    try:
        engine = PaperEngine()
        cloud = Cloud(Settings(4699, state, "10.1.0.0/16"), engine)  # type: ignore[arg-type]
        with unpatched(), mock_aws():
            cloud.install()
            cloud.planes["ec2"].register_images()
            yield Bed(cloud, engine)
    finally:
        monkey.undo()
