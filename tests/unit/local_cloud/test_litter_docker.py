"""What a killed cloud leaves, and who clears it. Needs docker and the cloud's images."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local_cloud import images
from local_cloud.engine import Engine
from local_cloud.settings import CHECKOUT, Settings

pytestmark = pytest.mark.docker
NETWORK = "198.19.127.0/24"
HALVES = {"eu-central-1a": "198.19.127.0/25", "eu-central-1b": "198.19.127.128/25"}


def command(settings: Settings, verb: str) -> None:
    environment = {**os.environ, **settings.variables()}
    subprocess.run([sys.executable, "-m", "local_cloud", verb], env=environment, cwd=CHECKOUT, check=True, timeout=600)


def balance(settings: Settings) -> str:
    """Make a load balancer, and with it the docker network of its VPC. Returns its state."""
    ec2, balancers = (
        boto3.client(
            name,
            endpoint_url=settings.endpoint,
            region_name=settings.region,
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 1}),
        )
        for name in ("ec2", "elbv2")
    )
    vpc = ec2.create_vpc(CidrBlock=NETWORK)["Vpc"]["VpcId"]
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=zone)["Subnet"]["SubnetId"] for zone, cidr in HALVES.items()]
    return str(balancers.create_load_balancer(Name="litter", Subnets=subnets)["LoadBalancers"][0]["State"]["Code"])


def left_of(settings: Settings) -> list[str]:
    """Names of the containers and networks of a cloud."""
    label = f"label=flotilla.cloud={settings.identity}"
    listings = (["docker", "ps", "--all", "--filter", label, "--format", "{{.Names}}"], ["docker", "network", "ls", "--filter", label, "--format", "{{.Name}}"])
    return [name for listing in listings for name in subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split()]


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[list[Settings]]:
    """Two clouds of different checkouts that want the same addresses."""
    both = [Settings(port, tmp_path / name / "cloud", NETWORK) for port, name in ((4661, "killed"), (4671, "next"))]
    with ExitStack() as stack:
        for settings in both:
            stack.callback(command, settings, "down")
        yield both


def test_a_start_clears_what_a_killed_cloud_of_another_checkout_has_left(clouds: list[Settings]) -> None:
    killed, following = clouds
    command(killed, "up")
    balance(killed)
    command(following, "up")
    assert left_of(killed), "the containers of a cloud that runs are not anybody's litter"
    with pytest.raises(ClientError, match=f"InternalFailure.*{NETWORK} are taken by another docker network.*FLOTILLA_CLOUD_NETWORK"):
        balance(following)
    command(following, "down")
    os.kill(int((killed.state / "pid").read_text()), signal.SIGKILL)
    command(following, "up")
    assert left_of(killed) == []
    assert balance(following) in ("active", "provisioning")


def test_a_volume_that_docker_makes_anew_for_a_late_command_goes_with_its_cloud() -> None:
    engine = Engine("litter-test")
    engine.in_volume("flotilla-litter-test-ebs", images.tag("edge"), ["touch", "late"])
    assert engine.clear() == 1
    assert engine.clear() == 0
