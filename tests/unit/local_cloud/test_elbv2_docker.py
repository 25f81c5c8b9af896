"""The data planes behind ELBv2, RDS and ECR as a client feels them, on a local cloud of their own. Needs docker and the cloud's images."""

from __future__ import annotations

import fcntl
import http.client
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local_cloud import images
from local_cloud.settings import CHECKOUT, Settings

pytestmark = pytest.mark.docker
PORT, NETWORK = 4621, "198.19.128.0/18"
APPLICATION = """
import http.server, os, socket, time
class Application(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path.startswith("/slow"): time.sleep(0.8)
        body = (self.headers.get("X-Forwarded-Proto", "") + " " + socket.gethostname()).encode()
        self.send_response(503 if self.path == "/healthz" and os.path.exists("/sick") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer(("", 8080), Application).serve_forever()
"""


def run(*arguments: str, **options: Any) -> str:
    return subprocess.run(arguments, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, **options).stdout


def eventually(true: Callable[[], Any], seconds: float, what: str) -> float:
    """Wait until it holds; the seconds that took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


class Bed:
    """A local cloud with a VPC of two subnets."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        ec2 = self.client("ec2")
        self.vpc = ec2.create_vpc(CidrBlock=NETWORK)["Vpc"]["VpcId"]
        blocks = {"a": "198.19.128.0/20", "b": "198.19.144.0/20"}
        made = [ec2.create_subnet(VpcId=self.vpc, CidrBlock=block, AvailabilityZone=f"eu-central-1{zone}") for zone, block in blocks.items()]
        self.subnets = [one["Subnet"]["SubnetId"] for one in made]
        self.group = ec2.create_security_group(GroupName="open", Description="all of the test", VpcId=self.vpc)["GroupId"]
        permission = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 65535, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        ec2.authorize_security_group_ingress(GroupId=self.group, IpPermissions=[permission])

    def client(self, service: str, **options: Any) -> Any:
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        return boto3.client(service, region_name="eu-central-1", endpoint_url=self.settings.endpoint, config=Config(**options), **keys)

    def container(self, what: str) -> str:
        return f"flotilla-{self.settings.identity}-{what}"

    def application(self, name: str, address: str) -> None:
        label, network = f"flotilla.cloud={self.settings.identity}", self.container(self.vpc)
        options = ["--name", self.container(name), "--label", label, "--network", network, "--ip", address]
        run("docker", "run", "--detach", *options, images.tag("edge"), "python3", "-c", APPLICATION)


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    (CHECKOUT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="flotilla-edge-") as directory, (CHECKOUT / "build" / "edge-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # these ports and addresses are there once on a machine
        state = Path(directory).resolve() / "cloud"
        settings = Settings(PORT, state, NETWORK)
        environment = {**os.environ, **settings.variables()}
        command = [sys.executable, "-m", "local_cloud"]
        try:
            run(*command, "up", env=environment, cwd=CHECKOUT)
            yield Bed(settings)
        finally:
            run(*command, "down", env=environment, cwd=CHECKOUT)


class Balanced:
    """A load balancer with two targets, and a client that asks it."""

    addresses = ("198.19.128.100", "198.19.144.100")

    def __init__(self, bed: Bed) -> None:
        self.bed, self.api = bed, bed.client("elbv2")
        self.balancer = self.api.create_load_balancer(Name="edge", Subnets=bed.subnets, SecurityGroups=[bed.group])["LoadBalancers"][0]["LoadBalancerArn"]
        health = {"HealthCheckPath": "/healthz", "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2, "UnhealthyThresholdCount": 2}
        made = self.api.create_target_group(Name="edge", Protocol="HTTP", Port=8080, VpcId=bed.vpc, TargetType="ip", HealthyThresholdCount=2, **health)
        self.group = made["TargetGroups"][0]["TargetGroupArn"]
        self.api.modify_target_group_attributes(TargetGroupArn=self.group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "2"}])
        forward = [{"Type": "forward", "TargetGroupArn": self.group}]
        made = self.api.create_listener(LoadBalancerArn=self.balancer, Protocol="HTTP", Port=80, DefaultActions=forward)
        self.listener = made["Listeners"][0]["ListenerArn"]
        for number, address in enumerate(self.addresses):
            bed.application(f"app-{number}", address)
            self.register(address)
        eventually(lambda: set(self.health().values()) == {("healthy", None)}, 20, "both targets healthy")
        eventually(lambda: self.get("/")[0] == 200, 5, "an answer")

    def register(self, address: str) -> None:
        self.api.register_targets(TargetGroupArn=self.group, Targets=[{"Id": address}])

    def deregister(self, address: str) -> None:
        self.api.deregister_targets(TargetGroupArn=self.group, Targets=[{"Id": address}])

    def health(self) -> dict[str, tuple[str, str | None]]:
        found = self.api.describe_target_health(TargetGroupArn=self.group)["TargetHealthDescriptions"]
        return {one["Target"]["Id"]: (one["TargetHealth"]["State"], one["TargetHealth"].get("Reason")) for one in found}

    def becomes(self, address: str, state: str, seconds: float) -> float:
        return eventually(lambda: self.health().get(address, ("gone", None))[0] == state, seconds, f"{address} {state}")

    def answers(self, path: str, status: int, seconds: float) -> float:
        return eventually(lambda: self.get(path)[0] == status, seconds, f"{path} {status}")

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.bed.settings.http_port, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def balanced(bed: Bed) -> Balanced:
    return Balanced(bed)


def test_no_request_is_lost_through_state_changes_and_reloads(balanced: Balanced) -> None:
    results: list[Any] = []
    ended = threading.Event()

    def ask(path: str) -> None:
        try:
            results.append(balanced.get(path)[0])
        except OSError as error:
            results.append(repr(error))

    def load() -> None:
        with ThreadPoolExecutor(40) as pool:
            began, number = time.monotonic(), 0
            while not ended.is_set():
                pool.submit(ask, "/slow" if number % 10 == 0 else "/")
                number += 1
                time.sleep(max(0.0, began + number / 60 - time.monotonic()))

    client = threading.Thread(target=load)
    client.start()
    try:
        for number in range(3):
            for address in balanced.addresses:  # four changes of state a turn: draining, unused, initial, healthy
                balanced.deregister(address)
                assert balanced.health()[address] == ("draining", "Target.DeregistrationInProgress")
                drained = balanced.becomes(address, "gone", 5)
                assert drained > 1.5, "draining is shown for the whole delay"
                balanced.register(address)
                balanced.becomes(address, "healthy", 10)
            condition = [{"Field": "path-pattern", "Values": [f"/closed-{number}"]}]
            refusal = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "403"}}]
            balanced.api.create_rule(ListenerArn=balanced.listener, Priority=number + 1, Conditions=condition, Actions=refusal)
            balanced.answers(f"/closed-{number}", 403, 5)
    finally:
        ended.set()
        client.join()
    lost = [one for one in results if one != 200]
    assert len(results) > 500 and lost == []


def test_a_sick_target_gets_no_requests_and_says_why(balanced: Balanced) -> None:
    sick = balanced.bed.container("app-0")
    run("docker", "exec", sick, "touch", "/sick")
    eventually(lambda: balanced.health()[balanced.addresses[0]] == ("unhealthy", "Target.ResponseCodeMismatch"), 15, "unhealthy")
    well = run("docker", "exec", balanced.bed.container("app-1"), "hostname").strip()
    time.sleep(0.5)
    assert {balanced.get("/")[1] for _ in range(12)} == {f"http {well}"}
    run("docker", "exec", sick, "rm", "/sick")
    eventually(lambda: balanced.health()[balanced.addresses[0]][0] == "healthy", 15, "healthy")
    eventually(lambda: balanced.get("/")[1] != f"http {well}", 1, "requests for the recovered target")


def test_weights_move_requests_without_losing_one_and_cloudwatch_tells(balanced: Balanced) -> None:
    """A rule over two target groups: shares as given, changed under load with no reload and no request lost, and a minute's figures of each."""
    bed, api = balanced.bed, balanced.api
    made = api.create_target_group(
        Name="edge-green", Protocol="HTTP", Port=8080, VpcId=bed.vpc, TargetType="ip", HealthCheckPath="/", HealthCheckIntervalSeconds=5
    )
    green = made["TargetGroups"][0]["TargetGroupArn"]
    bed.application("app-green", "198.19.128.101")
    api.register_targets(TargetGroupArn=green, Targets=[{"Id": "198.19.128.101"}])
    name = run("docker", "exec", bed.container("app-green"), "hostname").strip()

    def weighted(share: int) -> list[dict[str, Any]]:
        groups = [{"TargetGroupArn": balanced.group, "Weight": 100 - share}, {"TargetGroupArn": green, "Weight": share}]
        return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]

    condition = [{"Field": "path-pattern", "Values": ["/w*"]}]
    rule = api.create_rule(ListenerArn=balanced.listener, Priority=90, Conditions=condition, Actions=weighted(0))["Rules"][0]["RuleArn"]

    def healthy() -> bool:
        found = api.describe_target_health(TargetGroupArn=green)["TargetHealthDescriptions"]
        return [one["TargetHealth"]["State"] for one in found] == ["healthy"]

    eventually(healthy, 20, "an idle group's target is checked, and healthy")
    eventually(lambda: balanced.get("/w")[0] == 200, 5, "an answer")

    def process() -> list[str]:
        """Process ids of HAProxy, of which a reload makes a new one."""
        return [line.split()[0] for line in run("docker", "top", bed.container("lb-edge"), "-eo", "pid,comm").splitlines() if line.split()[1] == "haproxy"]

    before, results, ended = process(), list[tuple[int, bool]](), threading.Event()

    def load() -> None:
        while not ended.is_set():
            status, body = balanced.get("/w")
            results.append((status, name in body))

    clients = [threading.Thread(target=load) for _ in range(4)]
    for client in clients:
        client.start()
    shares = []
    try:
        for share in (10, 50, 100, 0):
            api.modify_rule(RuleArn=rule, Actions=weighted(share))
            time.sleep(0.6)  # until it is told
            first = len(results)
            while len(results) < first + 400:
                time.sleep(0.05)
            shares.append(sum(colour for _, colour in results[first:]) / len(results[first:]))
    finally:
        ended.set()
        for client in clients:
            client.join()
    assert {status for status, _ in results} == {200}
    assert 0.04 < shares[0] < 0.18 and 0.4 < shares[1] < 0.6 and shares[2:] == [1.0, 0.0]
    assert before and process() == before, "HAProxy was reloaded"

    def requests() -> int:
        dimensions = [
            {"Name": "LoadBalancer", "Value": balanced.balancer.split(":loadbalancer/")[1]},
            {"Name": "TargetGroup", "Value": green.rsplit(":", 1)[1]},
        ]
        metric = {"Namespace": "AWS/ApplicationELB", "MetricName": "RequestCount", "Dimensions": dimensions}
        query = [{"Id": "a", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}}]
        now = datetime.now(UTC)
        (row,) = bed.client("cloudwatch").get_metric_data(
            MetricDataQueries=query, StartTime=now.replace(second=0) - timedelta(minutes=5), EndTime=now + timedelta(minutes=1)
        )["MetricDataResults"]
        return int(sum(row["Values"]))

    eventually(lambda: requests() == sum(colour for _, colour in results), 5, "CloudWatch counts what green answered")


def test_without_targets_503(balanced: Balanced) -> None:
    for address in balanced.addresses:
        balanced.deregister(address)
    eventually(lambda: balanced.get("/")[0] == 503, 1, "503")


def test_database_over_verified_tls_stopped_killed_and_healed(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    import pymysql

    api = bed.client("rds")
    api.create_db_subnet_group(DBSubnetGroupName="edge", DBSubnetGroupDescription="edge", SubnetIds=bed.subnets)
    api.create_db_parameter_group(DBParameterGroupName="edge", DBParameterGroupFamily="mysql8.4", Description="edge")
    tls = {"ParameterName": "require_secure_transport", "ParameterValue": "1", "ApplyMethod": "immediate"}
    api.modify_db_parameter_group(DBParameterGroupName="edge", Parameters=[tls])
    options = {"DBInstanceClass": "db.t3.micro", "AllocatedStorage": 20, "MasterUsername": "admin", "MasterUserPassword": "it's-Secret-1", "DBName": "app"}
    groups = {"DBSubnetGroupName": "edge", "DBParameterGroupName": "edge", "VpcSecurityGroupIds": [bed.group]}
    made = api.create_db_instance(DBInstanceIdentifier="edge", Engine="mysql", EngineVersion="8.4.6", **options, **groups)["DBInstance"]
    assert made["DBInstanceStatus"] == "available"
    name, container = made["Endpoint"]["Address"], bed.container("rds-edge")
    address = run("docker", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container).strip()
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: resolve(address if host == name else host, *rest, **more))

    def query(sql: str, secure: bool = True) -> Any:
        context = ssl.create_default_context(cafile=str(bed.settings.state / "ca.pem")) if secure else None
        connection = pymysql.connect(host=name, user="admin", password="it's-Secret-1", database="app", ssl=context, ssl_disabled=not secure, connect_timeout=2)
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            connection.commit()
            return cursor.fetchall()

    def serves() -> bool:
        try:
            return bool(query("SELECT n FROM kept") == ((7,),))
        except pymysql.err.OperationalError:
            return False

    query("CREATE TABLE kept (n INT)")
    query("INSERT INTO kept VALUES (7)")
    with pytest.raises(pymysql.err.OperationalError, match="insecure transport"):
        query("SELECT 1", secure=False)
    api.stop_db_instance(DBInstanceIdentifier="edge")
    eventually(lambda: api.describe_db_instances()["DBInstances"][0]["DBInstanceStatus"] == "stopped", 15, "stopped")
    assert not serves()
    api.start_db_instance(DBInstanceIdentifier="edge")
    eventually(lambda: api.describe_db_instances()["DBInstances"][0]["DBInstanceStatus"] == "available", 20, "available")
    assert serves()
    run("docker", "kill", container)
    eventually(serves, 20, "the killed server serves again")
    api.delete_db_instance(DBInstanceIdentifier="edge", SkipFinalSnapshot=True)


def test_registry_is_true_and_its_absence_is_a_server_error(bed: Bed) -> None:
    api = bed.client("ecr", retries={"total_max_attempts": 1})
    reference = f"127.0.0.1:{bed.settings.push_port}/edge/app"
    for tag in ("v1", "v2"):
        run("docker", "build", "--tag", f"{reference}:{tag}", "-", input=f"FROM scratch\nLABEL version={tag}\n")
    try:
        with pytest.raises(subprocess.CalledProcessError) as refused:
            run("docker", "push", f"{reference}:v1")
        assert "does not exist" in refused.value.stdout
        api.create_repository(repositoryName="edge/app", imageTagMutability="IMMUTABLE")
        pushed = run("docker", "push", f"{reference}:v1")
        (image,) = api.describe_images(repositoryName="edge/app")["imageDetails"]
        assert image["imageTags"] == ["v1"] and image["imageDigest"] in pushed
        run("docker", "tag", f"{reference}:v2", f"{reference}:v1")
        with pytest.raises(subprocess.CalledProcessError) as refused:
            run("docker", "push", f"{reference}:v1")
        assert "immutable" in refused.value.stdout
        run("docker", "stop", "--time", "5", bed.container("registry"))
        with pytest.raises(ClientError) as caught:
            api.describe_images(repositoryName="edge/app")
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    finally:
        run("docker", "rmi", f"{reference}:v1", f"{reference}:v2")
