"""The collection's own AWS modules against moto: planned, made, the same again, changed, deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import adopted_network, plan, replication_group

TAGS = {"flotilla:stack": "whole", "flotilla:environment": "unit"}


@pytest.fixture
def network(client: Callable[[str], Any]) -> dict[str, Any]:
    """A VPC with a public and a private subnet in each of two zones, routed, and a security group."""
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "main"}]}])["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    found: dict[str, Any] = {"vpc": vpc, "public": [], "private": []}
    for number, (kind, zone) in enumerate((kind, zone) for kind in ("public", "private") for zone in "ab"):
        made = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"eu-central-1{zone}")["Subnet"]["SubnetId"]
        ec2.create_tags(Resources=[made], Tags=[{"Key": "Tier", "Value": kind}])
        found[kind].append(made)
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    nat = ec2.create_nat_gateway(SubnetId=found["public"][0], AllocationId=address)["NatGateway"]["NatGatewayId"]
    for kind, way in (("public", {"GatewayId": gateway}), ("private", {"NatGatewayId": nat})):
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **way)
        for subnet in found[kind]:
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    found["group"] = ec2.create_security_group(GroupName="x", Description="x", VpcId=vpc)["GroupId"]
    return found


def cycle(run: Any, module: str, arguments: dict[str, Any], changes: list[dict[str, Any]]) -> dict[str, Any]:
    """Planned = made, the same again changes nothing, and so for each change; the last result."""
    for step in ({}, *changes):
        arguments = {**arguments, **step}
        assert run(module, check=True, **arguments)["changed"] is True, step
        made = run(module, **arguments)
        assert made["changed"] is True and not made.get("failed"), made
        assert run(module, check=True, **arguments)["changed"] is False, step
        result: dict[str, Any] = run(module, **arguments)
        assert result["changed"] is False, step
    gone = {"name": arguments["name"], "state": "absent"}
    assert run(module, check=True, **gone)["changed"] is True
    assert run(module, **gone)["changed"] is True
    assert run(module, **gone)["changed"] is False
    return result


def test_a_network_load_balancer_follows_its_listeners(run, client, network):
    elbv2 = client("elbv2")
    groups = [
        elbv2.create_target_group(Name=f"g{port}", Protocol="TCP", Port=port, VpcId=network["vpc"])["TargetGroups"][0]["TargetGroupArn"] for port in (1, 2)
    ]
    wanted = {
        "name": "whole-unit-tcp",
        "subnets": network["private"],
        "security_groups": [network["group"]],
        "listeners": [{"port": 6379, "target_group_arn": groups[0]}],
        "tags": TAGS,
    }
    changes: list[dict[str, Any]] = [
        {"listeners": [{"port": 6379, "target_group_arn": groups[1]}]},
        {"listeners": [{"port": 6380, "target_group_arn": groups[1]}, {"port": 6379, "target_group_arn": groups[0]}]},
        {"listeners": [{"port": 6380, "target_group_arn": groups[1]}], "deletion_protection": True},
        {"tags": {**TAGS, "more": "x"}},
    ]
    found = cycle(run, "flotilla.ec2.network_load_balancer", wanted, changes)
    assert found["dns_name"].startswith("whole-unit-tcp")


def test_a_name_that_another_kind_of_balancer_has_is_refused(run, client, network):
    client("elbv2").create_load_balancer(Name="taken", Subnets=network["private"])
    result = run("flotilla.ec2.network_load_balancer", name="taken", subnets=network["private"], security_groups=[network["group"]])
    assert result["failed"] and "of type application already" in result["msg"]


def test_shared_media_follow_their_services(run, client, network):
    point = {"name": "web", "path": "/web", "uid": 10001, "gid": 10001}
    wanted = {
        "name": "whole-unit",
        "subnets": network["private"],
        "security_groups": [network["group"]],
        "access_points": [point],
        "policy": {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "elasticfilesystem:ClientMount"}]},
        "tags": TAGS,
    }
    changes: list[dict[str, Any]] = [
        {"access_points": [point, {**point, "name": "admin", "path": "/admin"}]},
        {"access_points": [{**point, "uid": 20001}]},
        {"infrequent_access_after_days": 7, "tags": {**TAGS, "more": "x"}},
        {"subnets": network["private"][:1]},
    ]
    module = "flotilla.ec2.file_system"
    planned = run(module, check=True, **wanted)
    assert planned["file_system_id"] == planned["access_points"] == plan.UNKNOWN
    found = cycle(run, module, wanted, changes)
    assert [one["name"] for one in found["access_points"]] == ["web"]
    assert client("efs").describe_file_systems()["FileSystems"] == []


def test_protected_media_can_no_longer_be_mounted_and_keep_their_files(run, network):
    module, wanted = "flotilla.ec2.file_system", {"name": "kept", "subnets": network["private"], "security_groups": [network["group"]]}
    made = run(module, **wanted)["file_system_id"]
    assert run(module, check=True, name="kept", state="unmounted")["changed"] is True
    assert run(module, name="kept", state="unmounted")["changed"] is True
    assert run(module, name="kept", state="unmounted")["changed"] is False
    assert run(module, **wanted)["file_system_id"] == made


CACHE = {
    "name": "whole-unit",
    "node_type": "cache.t4g.micro",
    "replicas": 1,
    "subnet_group": "whole-unit",
    "security_groups": ["sg-0123456789abcdef0"],
    "auth_token_secret": "token",
}


def test_a_cache_has_tls_a_token_and_failover_and_is_made_once(run, client):
    run("flotilla.ec2.generated_secret", name="token", plain=True, length=64)
    token = client("secretsmanager").get_secret_value(SecretId="token")["SecretString"]
    assert len(token) == 64
    module = "flotilla.ec2.replication_group"
    planned = run(module, check=True, **CACHE)
    assert planned["changed"] is True and planned["primary_endpoint"]["address"] == plan.UNKNOWN
    assert token not in str(planned)
    made = run(module, **CACHE)
    assert made["changed"] is True and token not in str(made)
    group = client("elasticache").describe_replication_groups(ReplicationGroupId="whole-unit")["ReplicationGroups"][0]
    assert group["TransitEncryptionEnabled"] and group["AtRestEncryptionEnabled"] and group["AuthTokenEnabled"]
    assert (group["AutomaticFailover"], group["MultiAZ"], len(group["MemberClusters"])) == ("enabled", "enabled", 2)
    same = run(module, check=True, **CACHE)
    assert (same["changed"], same["primary_endpoint"]["address"]) == (False, made["primary_endpoint"]["address"])
    larger = {**CACHE, "node_type": "cache.t4g.small", "snapshot_retention_days": 3}
    assert run(module, check=True, **larger)["changed"] is True
    assert run(module, **larger)["changed"] is True
    assert run(module, **larger)["changed"] is False


@pytest.mark.parametrize(("members", "replicas", "methods"), [(1, 1, ["increase", "modify"]), (2, 0, ["modify", "decrease"]), (2, 2, ["increase"])])
def test_replicas_come_before_failover_and_go_after_it(members, replicas, methods):
    on = "enabled" if members > 1 else "disabled"
    current = {
        "MemberClusters": ["x"] * members,
        "AutomaticFailover": on,
        "MultiAZ": on,
        "CacheNodeType": "t",
        "SnapshotRetentionLimit": 0,
        "ARN": "arn",
    }
    wanted = {"name": "n", "replicas": replicas, "node_type": "t", "snapshot_retention_days": 0, "tags": {}}
    assert [method.split("_")[0] for method, _ in replication_group.steps(current, [], wanted)] == methods


def test_a_generated_secret_can_be_plain_and_never_changes(run, client):
    secret = {"name": "flotilla/unit/whole/upload_secret", "plain": True, "length": 40, "tags": TAGS}
    run("flotilla.ec2.generated_secret", **secret)
    value = client("secretsmanager").get_secret_value(SecretId=secret["name"])["SecretString"]
    assert len(value) == 40 and value.isalnum()
    assert run("flotilla.ec2.generated_secret", **{**secret, "length": 20})["changed"] is False
    assert client("secretsmanager").get_secret_value(SecretId=secret["name"])["SecretString"] == value


ADOPT = {"vpc": {"tags": {"Name": "main"}}, "public_subnets": {"tags": {"Tier": "public"}}, "private_subnets": {"tags": {"Tier": "private"}}}


def test_a_network_that_fits_is_found_by_tags_and_by_ids(run, network):
    module = "flotilla.ec2.adopted_network_info"
    found = run(module, check=True, **ADOPT)
    assert found["vpc_id"] == network["vpc"] and found["changed"] is False
    assert found["private_subnets"] == [{"id": one, "zone": f"eu-central-1{zone}"} for one, zone in zip(network["private"], "ab", strict=True)]
    by_id = {"vpc": {"id": network["vpc"]}, "public_subnets": {"ids": network["public"]}, "private_subnets": {"ids": network["private"]}}
    assert run(module, **by_id)["public_subnets"] == found["public_subnets"]


def test_what_does_not_fit_is_told_at_once(run, network):
    module = "flotilla.ec2.adopted_network_info"
    swapped = run(module, vpc=ADOPT["vpc"], public_subnets=ADOPT["private_subnets"], private_subnets={"ids": network["public"]})
    assert swapped["failed"]
    assert swapped["msg"].count("no route to an internet gateway") == 2 and swapped["msg"].count("no route to a NAT gateway") == 2
    crowded = run(module, **ADOPT, free_addresses=1000)
    assert "free addresses and 1000 are needed" in crowded["msg"]
    single = run(module, **{**ADOPT, "private_subnets": {"ids": network["private"][:1]}})
    assert "subnets in two zones are needed at least" in single["msg"]
    assert "names 0 VPCs" in run(module, **{**ADOPT, "vpc": {"tags": {"Name": "mian"}}})["msg"]


def test_a_route_of_the_main_table_counts():
    tables = [
        {"Associations": [{"Main": True}], "Routes": [{"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1"}]},
        {"Associations": [{"Main": False, "SubnetId": "subnet-2"}], "Routes": []},
    ]
    assert adopted_network.route(tables, "subnet-1")["NatGatewayId"] == "nat-1"
    assert adopted_network.route(tables, "subnet-2") == {}


def test_repositories_that_are_adopted_must_exist(run, client):
    client("ecr").create_repository(repositoryName="todo/app")
    assert list(run("flotilla.ec2.repositories_info", names=["todo/app"])["repositories"]) == ["todo/app"]
    missing = run("flotilla.ec2.repositories_info", names=["todo/api"])
    assert missing["failed"] and "todo/api cannot be found; there are todo/app" in missing["msg"]
