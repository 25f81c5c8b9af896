"""Balancers inside the VPC, caches, file systems and volumes as a guest feels them, on a local cloud of their own. Needs docker and the cloud's images."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local_cloud.settings import CHECKOUT, Settings

pytestmark = pytest.mark.docker
PORT, NETWORK = 4691, "198.19.126.0/24"
ZONES = {"eu-central-1a": "198.19.126.0/25", "eu-central-1b": "198.19.126.128/25"}
IMAGE = "ami-0f10711a00000012"
# Answers HTTP with its path, upgrades to a WebSocket that echoes, frame by frame.
SERVER = r"""
import base64, hashlib, socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        path, headers = self.rfile.readline().decode().split(" ")[1], {}
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("upgrade") != "websocket":
            return self.wfile.write(f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(path)}\r\n\r\n{path}".encode())
        accept = base64.b64encode(hashlib.sha1((headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        self.wfile.write(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        while head := self.rfile.read(2):
            length = head[1] & 127
            mask, body = self.rfile.read(4), self.rfile.read(length)
            self.wfile.write(bytes([129, length]) + bytes(one ^ mask[place % 4] for place, one in enumerate(body)))
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
Server(("", 8080), Echo).serve_forever()
"""
# Talks over a WebSocket twice, silent in between; prints the status line and what came back.
CLIENT = r"""
import socket, sys, time
host, path = sys.argv[1:]
link = socket.create_connection((host, 80), 5)
key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
link.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n\r\n".encode())
stream = link.makefile("rb")
print(stream.readline().decode().split(" ")[1])
while stream.readline().strip(): pass
for text in (b"one", b"two"):
    link.sendall(bytes([129, 128 | len(text)]) + bytes(4) + text)
    print(stream.read(2 + len(text))[2:].decode())
    time.sleep(1)
"""


def run(*arguments: str, **options: Any) -> str:
    return subprocess.run(arguments, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, **options).stdout


def eventually(true: Callable[[], Any], seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.1)


class Bed:
    """A local cloud with a VPC of two zones and two guests in the first one, of the groups `servers` and `clients`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ec2 = self.client("ec2")
        self.vpc = self.ec2.create_vpc(CidrBlock=NETWORK)["Vpc"]["VpcId"]
        made = [self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=cidr, AvailabilityZone=zone)["Subnet"]["SubnetId"] for zone, cidr in ZONES.items()]
        self.subnets = made
        self.servers, self.clients = self.group("servers"), self.group("clients")
        self.server, self.other = self.launch(self.servers), self.launch(self.clients)
        for guest in (self.server, self.other):
            eventually(lambda guest=guest: self.does(guest, "systemctl is-system-running | grep -E 'running|degraded|starting'")[0] == 0, 60, "boots")  # type: ignore[misc]

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        config = Config(retries={"total_max_attempts": 1})
        return boto3.client(service, region_name="eu-central-1", endpoint_url=self.settings.endpoint, config=config, **keys)

    def group(self, name: str) -> str:
        return str(self.ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc)["GroupId"])

    def allow(self, group: str, port: int, source: str) -> None:
        of = {"UserIdGroupPairs": [{"GroupId": source}]} if source.startswith("sg-") else {"IpRanges": [{"CidrIp": source}]}
        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **of}])

    def launch(self, group: str, subnet: int = 0) -> str:
        given = {"ImageId": IMAGE, "MinCount": 1, "MaxCount": 1, "SubnetId": self.subnets[subnet], "SecurityGroupIds": [group]}
        return str(self.ec2.run_instances(**given)["Instances"][0]["InstanceId"])

    def container(self, what: str) -> str:
        return f"flotilla-{self.settings.identity}-{what}"

    def does(self, guest: str, command: str, *arguments: str) -> tuple[int, str]:
        """Run a shell command in a guest: (exit code, output)."""
        asked = ["docker", "exec", self.container(guest), "sh", "-c", command, "sh", *arguments]
        done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        return done.returncode, done.stdout

    def says(self, guest: str, command: str, *arguments: str) -> str:
        code, output = self.does(guest, command, *arguments)
        assert code == 0, output
        return output


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    (CHECKOUT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="flotilla-planes-") as directory, (CHECKOUT / "build" / "planes-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # these ports and addresses are there once on a machine
        settings = Settings(PORT, Path(directory).resolve() / "cloud", NETWORK)
        environment = {**os.environ, **settings.variables()}
        command = [sys.executable, "-m", "local_cloud"]
        try:
            run(*command, "up", env=environment, cwd=CHECKOUT)
            yield Bed(settings)
        finally:
            run(*command, "down", env=environment, cwd=CHECKOUT)


def test_internal_balancers_carry_websockets_rules_and_connections_of_the_right_clients(bed: Bed) -> None:
    api, shield = bed.client("elbv2"), bed.group("balancer")
    bed.says(bed.server, 'nohup python3 -c "$1" > /dev/null 2>&1 &', SERVER)
    bed.allow(shield, 80, bed.clients)
    bed.allow(bed.servers, 8080, shield)

    def group(name: str, protocol: str) -> str:
        health = {"HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2}
        made = api.create_target_group(Name=name, Protocol=protocol, Port=8080, VpcId=bed.vpc, **health)["TargetGroups"][0]["TargetGroupArn"]
        api.register_targets(TargetGroupArn=made, Targets=[{"Id": bed.server}])
        return str(made)

    http, tcp = group("http", "HTTP"), group("tcp", "TCP")
    inner, network = (
        api.create_load_balancer(Name=kind, Scheme="internal", Type=kind, Subnets=bed.subnets, **given)["LoadBalancers"][0]
        for kind, given in (("application", {"SecurityGroups": [shield]}), ("network", {}))
    )
    gone = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}
    listener = api.create_listener(LoadBalancerArn=inner["LoadBalancerArn"], Protocol="HTTP", Port=80, DefaultActions=[gone])["Listeners"][0]["ListenerArn"]
    forward = [{"Type": "forward", "TargetGroupArn": http}]
    api.create_rule(ListenerArn=listener, Priority=1, Conditions=[{"Field": "path-pattern", "Values": ["/live/*"]}], Actions=forward)
    api.create_listener(LoadBalancerArn=network["LoadBalancerArn"], Protocol="TCP", Port=7000, DefaultActions=[{"Type": "forward", "TargetGroupArn": tcp}])
    name, fetch = inner["DNSName"], "curl -s --max-time 2 -o /dev/null -w '%{http_code}' "
    eventually(lambda: bed.does(bed.other, f"{fetch} http://{name}/live/a")[1] == "200", 20, "an answer by path")
    assert bed.says(bed.other, f"{fetch} http://{name}/else") == "404"
    assert bed.says(bed.other, 'python3 -c "$1" "$2" /live/socket', CLIENT, name).split() == ["101", "one", "two"]
    assert bed.does(bed.server, f"{fetch} http://{name}/live/a")[1] == "000", "the group of the server may not"
    # Nobody but the balancer may reach port 8080; the network load balancer keeps the addresses of its clients.
    connect = f"curl -s --max-time 2 http://{network['DNSName']}:7000/x"
    assert bed.does(bed.other, connect)[0] == 28, "not let in by the target's rules"
    bed.allow(bed.servers, 8080, bed.clients)
    eventually(lambda: bed.does(bed.other, connect) == (0, "/x"), 10, "the clients' group is let in")
    assert bed.does(bed.server, connect)[0] == 28, "another group is not"
    assert run("docker", "port", bed.container("lb-network")) == ""
