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

from local_cloud.engine import loop_devices
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
            assert loop_devices(settings.identity) == {}


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


def test_a_cache_speaks_tls_to_the_clients_group_and_wants_its_token(bed: Bed) -> None:
    api, group = bed.client("elasticache"), bed.group("cache")
    bed.allow(group, 6379, bed.clients)
    api.create_cache_subnet_group(CacheSubnetGroupName="all", CacheSubnetGroupDescription="all", SubnetIds=bed.subnets)
    given = {"ReplicationGroupDescription": "a cache", "CacheSubnetGroupName": "all", "SecurityGroupIds": [group]}
    api.create_replication_group(ReplicationGroupId="store", TransitEncryptionEnabled=True, AuthToken="a-token-of-the-test", **given)  # noqa: S106
    known = api.describe_replication_groups(ReplicationGroupId="store")["ReplicationGroups"][0]
    assert known["Status"] == "available"
    endpoint = known["NodeGroups"][0]["PrimaryEndpoint"]
    talk = r"""
import socket, ssl, sys
host, port, authority, *lines = sys.argv[1:]
context = ssl.create_default_context(cadata=authority)
with context.wrap_socket(socket.create_connection((host, int(port)), 2), server_hostname=host) as link:
    stream = link.makefile("rb")
    for line in lines:
        link.sendall(line.encode() + b"\r\n")
        print(stream.readline().decode().strip())
"""
    authority = (bed.settings.state / "ca.pem").read_text()

    def ask(guest: str, *lines: str, name: str = endpoint["Address"], port: int = endpoint["Port"]) -> tuple[int, list[str]]:
        code, output = bed.does(guest, 'exec python3 -c "$@"', talk, name, str(port), authority, *lines)
        return code, output.splitlines()

    assert ask(bed.other, "PING")[1][0].startswith("-NOAUTH")
    assert ask(bed.other, "AUTH wrong-token-of-the-test")[1][0].startswith("-WRONGPASS")
    said = ask(bed.other, "AUTH a-token-of-the-test", "SET k 7", "STRLEN k", "CONFIG GET maxmemory")[1]
    assert said[:3] == ["+OK", "+OK", ":1"] and said[3].startswith("-NOPERM"), "some commands are ElastiCache's own"
    code, said = ask(bed.server, "PING")
    assert code != 0 and "timed out" in said[-1], "another group"
    # A network load balancer in front of it, its target an address: the cache sees the load balancer.
    balancing = bed.client("elbv2")
    made = balancing.create_load_balancer(Name="front", Scheme="internal", Type="network", Subnets=bed.subnets)["LoadBalancers"][0]
    health = {"HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2}
    target = balancing.create_target_group(Name="front", Protocol="TCP", Port=6379, VpcId=bed.vpc, TargetType="ip", **health)["TargetGroups"][0][
        "TargetGroupArn"
    ]
    address = bed.says(bed.other, f"getent hosts {endpoint['Address']}").split()[0]
    balancing.register_targets(TargetGroupArn=target, Targets=[{"Id": address}])
    balancing.create_listener(
        LoadBalancerArn=made["LoadBalancerArn"], Protocol="TCP", Port=6379, DefaultActions=[{"Type": "forward", "TargetGroupArn": target}]
    )
    bed.allow(group, 6379, NETWORK)

    def healthy() -> bool:
        found = balancing.describe_target_health(TargetGroupArn=target)["TargetHealthDescriptions"]
        return [one["TargetHealth"]["State"] for one in found] == ["healthy"]

    eventually(healthy, 20, "the cache is healthy")
    link = "ssl._create_unverified_context().wrap_socket(socket.create_connection((sys.argv[1], 6379), 2))"
    raw = f"import socket, ssl, sys; link = {link}; link.sendall(b'PING\\r\\n'); print(link.recv(99))"
    assert "NOAUTH" in bed.says(bed.other, 'python3 -c "$1" "$2"', raw, made["DNSName"])
    run("docker", "stop", bed.container("cache-store"))
    assert ask(bed.other, "PING")[0] != 0
    run("docker", "start", bed.container("cache-store"))
    eventually(lambda: ask(bed.other, "AUTH a-token-of-the-test", "GET k") == (0, ["+OK", "$-1"]), 10, "it starts empty")


def test_a_file_system_is_one_on_all_guests_and_survives_a_reboot(bed: Bed) -> None:
    api, group = bed.client("efs"), bed.group("files")
    system = api.create_file_system(CreationToken="media", Tags=[{"Key": "Name", "Value": "media"}])["FileSystemId"]
    root = {"Path": "/apps/web", "CreationInfo": {"OwnerUid": 1234, "OwnerGid": 4321, "Permissions": "0750"}}
    point = api.create_access_point(ClientToken="a", FileSystemId=system, PosixUser={"Uid": 1234, "Gid": 4321}, RootDirectory=root)["AccessPointId"]
    api.create_mount_target(FileSystemId=system, SubnetId=bed.subnets[1], SecurityGroups=[group])
    mount = f"mkdir -p /media && mount -t efs -o tls,iam,accesspoint={point} {system}:/ /media"
    code, said = bed.does(bed.server, mount)
    assert code == 1 and f'Failed to resolve "{system}.efs.eu-central-1.amazonaws.com"' in said, "no mount target in its zone"
    api.create_mount_target(FileSystemId=system, SubnetId=bed.subnets[0], SecurityGroups=[group])
    assert bed.does(bed.server, mount) == (32, "mount.nfs4: Connection timed out\n"), "its security group keeps the guest out"
    bed.allow(group, 2049, bed.servers)
    bed.allow(group, 2049, bed.clients)
    code, said = bed.does(bed.server, mount.replace(point, "fsap-0123456789abcdef0"))
    assert (code, "access denied by server" in said) == (32, True), "no such access point"
    assert "is required when mounting" in bed.does(bed.server, mount.replace("tls,", ""))[1]
    for guest in (bed.server, bed.other):
        line = f"{system}:/ /media efs _netdev,tls,iam,accesspoint={point} 0 0"
        bed.says(guest, f"echo '{line}' >> /etc/fstab; {mount}")
    assert bed.says(bed.server, "stat -c '%u %g %a' /media").split() == ["1234", "4321", "750"]
    bed.says(bed.server, "echo first > /media/note")
    assert bed.says(bed.other, "cat /media/note; echo second > /media/note") == "first\n"
    assert bed.says(bed.server, "cat /media/note") == "second\n"
    bed.says(bed.server, "mount -o remount,ro /media && ! touch /media/x && mount -o remount,rw /media && touch /media/x")
    bed.says(bed.server, "touch /run/before")
    bed.ec2.reboot_instances(InstanceIds=[bed.server])
    eventually(
        lambda: bed.does(bed.server, "! test -e /run/before && mountpoint -q /media && cat /media/note") == (0, "second\n"), 30, "mounted again after a reboot"
    )


def test_a_volume_outlives_its_guests(bed: Bed) -> None:
    volume = bed.ec2.create_volume(AvailabilityZone="eu-central-1a", Size=1, VolumeType="gp3")["VolumeId"]
    link = f"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume.replace('-', '')}"

    def state() -> tuple[str, list[str]]:
        known = bed.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]
        return known["State"], [one["State"] for one in known["Attachments"]]

    first = bed.launch(bed.servers)
    eventually(lambda: bed.ec2.describe_instances(InstanceIds=[first])["Reservations"][0]["Instances"][0]["State"]["Name"] == "running", 30, "it runs")
    bed.ec2.attach_volume(VolumeId=volume, InstanceId=first, Device="/dev/sdf")
    assert state() == ("in-use", ["attached"])
    bed.says(first, f"mkfs.ext4 -q {link} && mkdir /data && mount {link} /data && echo kept > /data/note && sync")
    assert bed.says(first, "df --output=size -BM /data | tail -n 1").strip() in ("974M", "973M", "975M")
    bed.ec2.detach_volume(VolumeId=volume)
    eventually(lambda: state() == ("in-use", ["busy"]), 10, "it is mounted")
    bed.says(first, "umount /data")
    eventually(lambda: state() == ("available", []), 5, "unmounted, it is free")
    bed.ec2.attach_volume(VolumeId=volume, InstanceId=first, Device="/dev/sdf")
    bed.says(first, f"mount {link} /data && echo more >> /data/note")
    bed.ec2.reboot_instances(InstanceIds=[first])
    eventually(
        lambda: bed.does(first, f"test -b {link} && ! mountpoint -q /data && mount {link} /data && cat /data/note") == (0, "kept\nmore\n"), 30, "after a reboot"
    )
    bed.ec2.terminate_instances(InstanceIds=[first])
    eventually(lambda: state() == ("available", []), 30, "free when the guest has ended")
    bed.ec2.attach_volume(VolumeId=volume, InstanceId=bed.other, Device="/dev/sdf")
    assert bed.says(bed.other, f"mkdir /data && mount {link} /data && cat /data/note") == "kept\nmore\n"
    # Whatever ends a guest, its loop device goes with it (the fixture's end looks at the others).
    run("docker", "kill", bed.container(bed.other))
    eventually(lambda: not loop_devices(volume), 10, "no loop device is left")
