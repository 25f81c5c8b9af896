"""ELBv2 as its API shows it: registration, health, draining, errors. Containers are only written down; time is the test's."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local_cloud.fixes import acm as acm_fixes
from local_cloud.fixes import elbv2 as fixes
from local_cloud.planes import elbv2 as module
from local_cloud.planes.elbv2 import ElbV2Plane, fingerprint
from local_cloud.planes.target_health import Outcome
from tests.unit.local_cloud.edge_support import PaperCloud, client, paper_cloud, subnets

REDIRECT = {"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}}


def certificate() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hello.flotilla.test")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    signed = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return signed.public_bytes(serialization.Encoding.PEM), pem


class Stack:
    """A load balancer in front of a target group with two instances in two zones, and the plane behind it."""

    def __init__(self, cloud: PaperCloud, plane: ElbV2Plane) -> None:
        self.cloud, self.plane, self.now = cloud, plane, 1000.0
        plane.clock = lambda: self.now
        self.api, self.ec2 = client("elbv2"), client("ec2")
        self.vpc, self.subnets = subnets()
        self.balancer = self.api.create_load_balancer(Name="web", Subnets=self.subnets)["LoadBalancers"][0]["LoadBalancerArn"]
        self.group = self.target_group("web")
        self.listener = self.listen(80, {"Type": "forward", "TargetGroupArn": self.group})
        self.instances = [
            self.ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, SubnetId=subnet)["Instances"][0]["InstanceId"] for subnet in self.subnets
        ]

    def target_group(self, name: str) -> str:
        made = self.api.create_target_group(
            Name=name, Protocol="HTTP", Port=8080, VpcId=self.vpc, HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2, HealthyThresholdCount=2
        )
        return str(made["TargetGroups"][0]["TargetGroupArn"])

    def listen(self, port: int, action: dict[str, Any], **options: Any) -> str:
        made = self.api.create_listener(
            LoadBalancerArn=self.balancer, Protocol="HTTPS" if port == 443 else "HTTP", Port=port, DefaultActions=[action], **options
        )
        return str(made["Listeners"][0]["ListenerArn"])

    def register(self, *instances: str) -> None:
        self.api.register_targets(TargetGroupArn=self.group, Targets=[{"Id": one} for one in instances])

    def deregister(self, *instances: str) -> None:
        self.api.deregister_targets(TargetGroupArn=self.group, Targets=[{"Id": one} for one in instances])

    def observe(self, instance: str, *codes: int) -> None:
        for code in codes:
            self.plane.groups[self.group].targets[instance].observe(Outcome("response", code), matcher="200", healthy_threshold=2, unhealthy_threshold=2)

    def health(self, *instances: str) -> dict[str, tuple[str, str | None]]:
        asked = {"Targets": [{"Id": one} for one in instances]} if instances else {}
        found = self.api.describe_target_health(TargetGroupArn=self.group, **asked)["TargetHealthDescriptions"]
        return {one["Target"]["Id"]: (one["TargetHealth"]["State"], one["TargetHealth"].get("Reason")) for one in found}

    def wanted(self) -> Any:
        backend = self.cloud.backend("elbv2")
        return self.plane.wanted(backend.load_balancers[self.balancer], self.plane.balancers[self.balancer])[0]

    def servers(self) -> dict[int, tuple[str, str]]:
        return {slot: (one.address, one.state) for slot, one in self.wanted().backends[self.group].servers.items()}


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    monkeypatch.setattr(module, "Agent", lambda *about: SimpleNamespace(ended=False, command=lambda *lines: list(lines), close=lambda: None))
    with paper_cloud() as cloud:
        fixes.apply()
        acm_fixes.apply()
        plane = ElbV2Plane(cloud)
        plane.install()
        yield Stack(cloud, plane)


def fails(call: Any, code: str) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] == code
    return str(caught.value)


def test_a_registered_target_goes_from_initial_to_healthy(stack: Stack) -> None:
    one = stack.instances[0]
    stack.register(one)
    assert stack.health() == {one: ("initial", "Elb.RegistrationInProgress")}
    stack.observe(one, 200)
    assert stack.health() == {one: ("healthy", None)}


def test_draining_is_shown_for_the_whole_delay_then_unused(stack: Stack) -> None:
    one, two = stack.instances
    stack.register(one, two)
    stack.observe(one, 200)
    stack.api.modify_target_group_attributes(TargetGroupArn=stack.group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "5"}])
    stack.deregister(one)
    stack.now += 4.9
    assert stack.health()[one] == stack.health(one)[one] == ("draining", "Target.DeregistrationInProgress")
    stack.now += 0.1
    assert one not in stack.health()
    assert stack.health(one) == {one: ("unused", "Target.NotRegistered")}


def test_registering_a_draining_target_makes_it_initial(stack: Stack) -> None:
    one = stack.instances[0]
    stack.register(one)
    stack.observe(one, 200)
    stack.deregister(one)
    stack.register(one)
    assert stack.health() == {one: ("initial", "Elb.RegistrationInProgress")}


def test_deregistering_what_is_not_registered_succeeds(stack: Stack) -> None:
    stack.deregister(stack.instances[0])
    assert stack.health() == {}


def test_unknown_instances_and_groups_are_refused(stack: Stack) -> None:
    fails(lambda: stack.register("i-0123456789abcdef0"), "InvalidTarget")
    gone = stack.group[:-1] + "x"
    fails(lambda: stack.api.describe_target_health(TargetGroupArn=gone), "TargetGroupNotFound")
    fails(lambda: stack.api.register_targets(TargetGroupArn=gone, Targets=[{"Id": stack.instances[0]}]), "TargetGroupNotFound")


def test_a_stopped_instance_is_unused_and_gets_no_requests(stack: Stack) -> None:
    one, two = stack.instances
    stack.register(one, two)
    stack.observe(one, 200)
    stack.observe(two, 200)
    stack.ec2.stop_instances(InstanceIds=[one])
    assert stack.health()[one] == ("unused", "Target.InvalidState")
    assert [state for _, state in stack.servers().values()] == ["ready"]


def test_a_terminated_instance_drains_and_disappears(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    one = stack.instances[0]
    stack.register(one)
    stack.ec2.terminate_instances(InstanceIds=[one])
    monkeypatch.setattr(stack.plane.balancers[stack.balancer], "apply", lambda *_: None)
    stack.plane.step()
    assert stack.health() == {one: ("draining", "Target.DeregistrationInProgress")}
    stack.now += 300
    assert stack.health() == {}


def test_a_group_that_no_listener_uses_is_not_in_use(stack: Stack) -> None:
    stack.group = stack.target_group("idle")
    stack.register(stack.instances[0])
    assert stack.health() == {stack.instances[0]: ("unused", "Target.NotInUse")}
    stack.deregister(stack.instances[0])
    assert stack.health(stack.instances[0]) == {stack.instances[0]: ("unused", "Target.NotRegistered")}


def test_requests_follow_health(stack: Stack) -> None:
    one, two = stack.instances
    stack.register(one, two)
    assert [state for _, state in stack.servers().values()] == ["ready", "ready"], "none is healthy: fail open"
    stack.observe(one, 200)
    assert [state for _, state in stack.servers().values()] == ["ready", "drain"]
    stack.observe(two, 200)
    assert [state for _, state in stack.servers().values()] == ["ready", "ready"]


def test_health_never_needs_a_reload_but_a_rule_does(stack: Stack) -> None:
    one, two = stack.instances
    before = fingerprint(stack.wanted(), {})
    stack.register(one, two)
    stack.observe(one, 200)
    stack.deregister(two)
    assert fingerprint(stack.wanted(), {}) == before
    actions = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "403"}}]
    stack.api.create_rule(ListenerArn=stack.listener, Priority=1, Conditions=[{"Field": "path-pattern", "Values": ["/x"]}], Actions=actions)
    assert fingerprint(stack.wanted(), {}) != before


def test_checks_are_those_of_the_target_group(stack: Stack) -> None:
    stack.register(stack.instances[1])
    entry = stack.plane.balancers[stack.balancer]
    (check,) = stack.plane.checks(stack.cloud.backend("elbv2").load_balancers[stack.balancer], entry)
    assert (check["host"].startswith("10.1.1."), check["port"], check["path"], check["interval"], check["timeout"]) == (True, 8080, "/", 5.0, 2.0)


def test_late_outcomes_of_a_former_registration_do_not_count(stack: Stack) -> None:
    one = stack.instances[0]
    entry = stack.plane.balancers[stack.balancer]
    stack.register(one)
    (check,) = stack.plane.checks(stack.cloud.backend("elbv2").load_balancers[stack.balancer], entry)
    stack.deregister(one)
    stack.register(one)
    entry._observed(check["key"], Outcome("response", 200))
    assert stack.health()[one][0] == "initial"


def test_the_load_balancer_is_active_published_protected_and_removed(stack: Stack) -> None:
    known = stack.api.describe_load_balancers()["LoadBalancers"][0]
    container = stack.cloud.engine.containers["test-lb-web"]
    assert known["State"]["Code"] == "active"
    assert stack.cloud.names[known["DNSName"]] == container["address"]
    assert container["ports"] == {80: ("127.0.0.1", 4624), 443: ("127.0.0.1", 4625)}
    assert "test-lb-web" in stack.cloud.protected
    second = stack.api.create_load_balancer(Name="other", Subnets=stack.subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    assert stack.cloud.engine.containers["test-lb-other"]["ports"][80] == ("127.0.0.1", 4629)
    stack.api.delete_load_balancer(LoadBalancerArn=second)
    stack.api.delete_load_balancer(LoadBalancerArn=second)
    assert set(stack.cloud.engine.containers) == {"test-lb-web"}


def test_deletion_protection(stack: Stack) -> None:
    stack.api.modify_load_balancer_attributes(LoadBalancerArn=stack.balancer, Attributes=[{"Key": "deletion_protection.enabled", "Value": "true"}])
    fails(lambda: stack.api.delete_load_balancer(LoadBalancerArn=stack.balancer), "OperationNotPermitted")


def test_plain_listeners_have_no_ssl_policy_and_ports_are_unique(stack: Stack) -> None:
    assert "SslPolicy" not in stack.api.describe_listeners(LoadBalancerArn=stack.balancer)["Listeners"][0]
    fails(lambda: stack.listen(80, REDIRECT), "DuplicateListener")


def test_attributes_are_complete(stack: Stack) -> None:
    known = {one["Key"]: one["Value"] for one in stack.api.describe_load_balancer_attributes(LoadBalancerArn=stack.balancer)["Attributes"]}
    assert known["idle_timeout.timeout_seconds"] == "60" and known["routing.http2.enabled"] == "true"


def test_a_group_in_use_cannot_be_deleted_and_its_load_balancers_are_true(stack: Stack) -> None:
    def arns() -> list[str]:
        return list(stack.api.describe_target_groups(TargetGroupArns=[stack.group])["TargetGroups"][0]["LoadBalancerArns"])

    assert arns() == [stack.balancer]
    fails(lambda: stack.api.delete_target_group(TargetGroupArn=stack.group), "ResourceInUse")
    stack.api.modify_listener(ListenerArn=stack.listener, DefaultActions=[REDIRECT])
    assert arns() == []
    stack.api.delete_target_group(TargetGroupArn=stack.group)


def test_a_certificate_has_its_own_chain_and_is_in_use_by_its_listener(stack: Stack) -> None:
    acm = client("acm")
    pem, key = certificate()
    arn = acm.import_certificate(Certificate=pem, PrivateKey=key, CertificateChain=pem)["CertificateArn"]
    assert acm.get_certificate(CertificateArn=arn)["CertificateChain"].strip() == pem.decode().strip()
    listener = stack.listen(443, {"Type": "forward", "TargetGroupArn": stack.group}, Certificates=[{"CertificateArn": arn}])
    assert acm.describe_certificate(CertificateArn=arn)["Certificate"]["InUseBy"] == [stack.balancer]
    fails(lambda: acm.delete_certificate(CertificateArn=arn), "ResourceInUseException")
    wanted, files = stack.plane.wanted(stack.cloud.backend("elbv2").load_balancers[stack.balancer], stack.plane.balancers[stack.balancer])
    assert [one.port for one in wanted.listeners] == [80, 443]
    assert files[wanted.listeners[1].certificates[0]].count(b"BEGIN CERTIFICATE") == 2
    stack.api.delete_listener(ListenerArn=listener)
    acm.delete_certificate(CertificateArn=arn)
