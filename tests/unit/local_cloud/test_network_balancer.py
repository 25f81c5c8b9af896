"""Internal and network load balancers as the API and the firewalls have them (Elastic Load Balancing User Guides and API Reference)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_cloud.planes import elbv2 as module
from local_cloud.planes.elbv2 import both
from tests.unit.local_cloud.core_support import Bed, bed


@pytest.fixture
def it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setattr(module, "Agent", lambda *about: SimpleNamespace(ended=False, command=lambda *lines: list(lines), close=lambda: None))
    with bed(tmp_path) as made:
        yield made


def balancer(it: Bed, name: str = "inner", **given: Any) -> dict[str, Any]:
    return dict(it.elbv2.create_load_balancer(Name=name, Subnets=it.subnets, **{"Scheme": "internal", "Type": "network", **given})["LoadBalancers"][0])


def group(it: Bed, *targets: str, **given: Any) -> str:
    made = it.elbv2.create_target_group(Name="tcp", Protocol="TCP", Port=6000, VpcId=it.vpc, **given)["TargetGroups"][0]["TargetGroupArn"]
    it.elbv2.register_targets(TargetGroupArn=made, Targets=[{"Id": one} for one in targets])
    return str(made)


def listen(it: Bed, balancer: dict[str, Any], group: str, port: int = 7000, protocol: str = "TCP") -> dict[str, Any]:
    actions = [{"Type": "forward", "TargetGroupArn": group}]
    made = it.elbv2.create_listener(LoadBalancerArn=balancer["LoadBalancerArn"], Protocol=protocol, Port=port, DefaultActions=actions)
    return dict(made["Listeners"][0])


def lets_in(it: Bed, what: str) -> dict[int, list[str]]:
    """Port → sources that the firewall of a container lets in."""
    it.engine.executed.clear()
    it.cloud.planes["security_groups"].told.clear()
    it.cloud.planes["security_groups"].enforce()
    (text,) = [text for container, _, text in it.engine.executed if container == it.cloud.container_name(what)]
    found: dict[int, list[str]] = {}
    for line in text.splitlines():
        words = line.split()
        if "--dport" in words:
            found.setdefault(int(words[words.index("--dport") + 1].split(":")[0]), []).append(words[words.index("-s") + 1])
    return found


def test_only_an_internet_facing_balancer_is_published(it: Bed) -> None:
    """ "The nodes of an internal load balancer have only private IP addresses" (How Elastic Load Balancing works)."""
    inner, outer = balancer(it, "inner", Type="application"), balancer(it, "outer", Type="application", Scheme="internet-facing")
    assert inner["DNSName"].startswith("internal-inner-") and outer["DNSName"].startswith("outer-")
    assert it.engine.containers[it.cloud.container_name("lb-inner")]["ports"] == {}
    assert it.engine.containers[it.cloud.container_name("lb-outer")]["ports"][80] == ("127.0.0.1", 4702)
    assert it.cloud.names[inner["DNSName"]] == it.engine.containers[it.cloud.container_name("lb-inner")]["address"]
    it.elbv2.delete_load_balancer(LoadBalancerArn=inner["LoadBalancerArn"])
    assert inner["DNSName"] not in it.cloud.names


def test_a_network_load_balancer_has_the_names_of_its_kind(it: Bed) -> None:
    made = balancer(it)
    identifier = made["LoadBalancerArn"].rsplit("/", 1)[-1]
    assert ":loadbalancer/net/inner/" in made["LoadBalancerArn"]
    assert made["DNSName"] == f"inner-{identifier}.elb.eu-central-1.amazonaws.com"
    assert balancer(it)["LoadBalancerArn"] == made["LoadBalancerArn"], "the same settings again"
    with pytest.raises(ClientError, match="DuplicateLoadBalancerName"):
        balancer(it, Type="application")
    target_group = group(it)
    attributes = {one["Key"]: one["Value"] for one in it.elbv2.describe_target_group_attributes(TargetGroupArn=target_group)["Attributes"]}
    assert attributes["preserve_client_ip.enabled"] == "true" and "load_balancing.algorithm.type" not in attributes
    assert "SslPolicy" not in listen(it, made, target_group)
    with pytest.raises(ClientError, match="listeners of TCP, not of UDP"):
        listen(it, made, target_group, 53, "UDP")


def test_without_groups_of_its_own_the_targets_judge_its_clients(it: Bed) -> None:
    """ "If client IP preservation is enabled … your targets' security groups must allow the clients" (Network Load Balancers, Target security groups)."""
    clients = it.security_group("clients")
    server, client = it.run()["InstanceId"], it.run(SecurityGroupIds=[clients])["PrivateIpAddress"]
    made = balancer(it)
    listen(it, made, group(it, server))
    entry = it.cloud.planes["elbv2"].balancers[made["LoadBalancerArn"]]
    assert lets_in(it, "lb-inner") == {}
    it.allow(it.group, 6000, UserIdGroupPairs=[{"GroupId": clients}])
    assert lets_in(it, "lb-inner") == {7000: [f"{client}/32"]}
    assert lets_in(it, server) == {6000: [f"{client}/32", f"{entry.forwarder}/32"]}, "health checks, from its first address, need a rule of their own"
    assert entry.address != entry.forwarder


def test_its_own_groups_judge_clients_and_may_be_named_by_the_targets(it: Bed) -> None:
    """ "Recommended: … the security group of the load balancer as the source" (Network Load Balancers, Security groups)."""
    shield = it.security_group("shield")
    it.allow(shield, 7000, IpRanges=[{"CidrIp": "10.1.1.0/24"}])
    it.allow(it.group, 6000, UserIdGroupPairs=[{"GroupId": shield}])
    server = it.run()["InstanceId"]
    made = balancer(it, SecurityGroups=[shield])
    listen(it, made, group(it, server))
    assert lets_in(it, "lb-inner") == {7000: ["10.1.1.0/24"]}
    assert f"{it.cloud.planes['elbv2'].balancers[made['LoadBalancerArn']].address}/32" in lets_in(it, server)[6000]


def test_targets_by_address_see_the_load_balancer(it: Bed) -> None:
    """ "If you register targets by IP address … the source IP addresses are the private IP addresses of the load balancer nodes"."""
    made = balancer(it)
    listen(it, made, group(it, "10.1.0.99", TargetType="ip"))
    assert lets_in(it, "lb-inner") == {7000: ["0.0.0.0/0"]}


def test_blocks_in_both() -> None:
    assert both(["10.0.0.0/8", "192.0.2.0/24"], ["10.1.0.0/16", "0.0.0.0/0"]) == ["10.1.0.0/16", "10.0.0.0/8", "192.0.2.0/24"]
