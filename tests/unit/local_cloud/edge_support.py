"""A cloud without docker for the tests of the planes behind ELBv2, RDS, ECR and ACM: moto in this process, containers that are only written down."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto import mock_aws
from moto.acm import models as acm
from moto.backends import get_backend
from moto.cloudwatch import models as cloudwatch
from moto.core.utils import get_service_model
from moto.ecr import models as ecr
from moto.ecr import responses as ecr_responses
from moto.elbv2 import models as elbv2
from moto.rds import models as rds

ACCOUNT, REGION = "123456789012", "eu-central-1"
PATCHED = [
    *(acm.CertBundle, acm.AWSCertificateManagerBackend, ecr.ECRBackend, ecr.Image, ecr_responses.ECRResponse),
    *(elbv2.FakeLoadBalancer, elbv2.FakeTargetGroup, elbv2.ELBv2Backend),
    *(cloudwatch.CloudWatchBackend, cloudwatch.Dimension, cloudwatch.Statistics),
    *(rds.DBInstance, rds.DBParameterGroup, rds.RDSBackend),
]


class PaperEngine:
    """Writes down what the docker engine would be asked."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.executed: list[tuple[str, Sequence[str], Any]] = []
        self.code = 0

    def run(self, name: str, image: str, **options: Any) -> str:
        self.containers[name] = {"image": image, "running": True, **options}
        return name

    def exec(self, name: str, arguments: Sequence[str], input: Any = None) -> tuple[int, str]:
        self.executed.append((name, list(arguments), input))
        return self.code, ""

    def beside(self, name: str, image: str, arguments: Sequence[str], input: bytes) -> tuple[int, str]:
        return self.exec(name, arguments, input)

    def put(self, name: str, files: dict[str, Any]) -> None:
        self.containers[name]["files"] = {**self.containers[name]["files"], **files}

    def stop(self, name: str, timeout: int = 10) -> None:
        self.containers[name]["running"] = False

    def start(self, name: str) -> None:
        self.containers[name]["running"] = True

    def running(self, name: str) -> bool:
        return name in self.containers and bool(self.containers[name]["running"])

    def logs(self, name: str, lines: int = 50) -> str:
        return f"what {name} said"

    def remove(self, name: str) -> None:
        self.containers.pop(name, None)

    def signal(self, name: str, signal: str) -> None:
        pass

    def connect(self, name: str, network: str, address: str | None = None) -> None:
        pass


class PaperCloud:
    """What planes need of ``Cloud``."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(push_port=1, http_port=4624, https_port=4625, account=ACCOUNT, region=REGION)
        self.engine = PaperEngine()
        self.authority = SimpleNamespace(issue=lambda names: (b"certificate of " + names[0].encode(), b"key"), certificate_pem=b"authority")
        self.names: dict[str, str] = {}
        self.protected: dict[str, list[str]] = {}
        self.planes: dict[str, Any] = {"vpc": SimpleNamespace(networks={})}

    def backend(self, service: str) -> Any:
        return get_backend(service)[ACCOUNT][REGION]  # type: ignore[call-overload]

    def container_name(self, what: str) -> str:
        return f"test-{what}"

    def image(self, name: str) -> str:
        return name

    def network_of(self, vpc_id: str) -> str:
        return vpc_id

    def address_in(self, subnet: Any) -> str:
        return str(subnet.get_available_subnet_ip(SimpleNamespace(id="reserved")))

    def publish(self, name: str, address: str) -> None:
        self.names[name] = address

    def withdraw(self, name: str) -> None:
        self.names.pop(name, None)

    def protect(self, container: str, groups: list[str]) -> None:
        self.protected[container] = groups


@contextlib.contextmanager
def paper_cloud() -> Iterator[PaperCloud]:
    """moto with an empty account; afterwards its classes are as they were, whatever a plane or a correction patched."""
    saved = [(cls, dict(vars(cls))) for cls in PATCHED]
    shape = get_service_model("ecr")._service_description["shapes"]["ServerException"]
    error = shape.get("error")
    monkey = pytest.MonkeyPatch()
    monkey.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # a second for each test otherwise
    try:
        with mock_aws():
            yield PaperCloud()
    finally:
        monkey.undo()
        for cls, attributes in saved:
            for name in [name for name in vars(cls) if name not in attributes]:
                delattr(cls, name)
            for name, value in attributes.items():
                if vars(cls).get(name) is not value:
                    setattr(cls, name, value)
        shape.pop("error", None)
        if error is not None:
            shape["error"] = error


@functools.cache
def client(service: str) -> Any:
    # moto answers for AWS's own addresses only: whatever endpoint the environment names must not count.
    config = Config(ignore_configured_endpoint_urls=True)
    return boto3.client(service, region_name=REGION, aws_access_key_id="local", aws_secret_access_key="local", config=config)  # noqa: S106


def subnets() -> tuple[str, list[str]]:
    """A VPC with a subnet in each of two zones: (VPC id, subnet ids)."""
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    made = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.1.{n}.0/24", AvailabilityZone=f"{REGION}{zone}") for n, zone in enumerate("ab")]
    return vpc, [one["Subnet"]["SubnetId"] for one in made]
