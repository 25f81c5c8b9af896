"""Replication groups on the local cloud: states, endpoints, tokens and errors as the ElastiCache User Guide and API Reference say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_cloud.fixes.elasticache import endpoints
from tests.unit.local_cloud.core_support import Bed, bed, client, eventually

FIRST, SECOND = "first-token-of-the-test", "second-token-of-the-test"


class Caches:
    """An account with a subnet group over both zones; servers are on paper."""

    def __init__(self, it: Bed) -> None:
        self.it, self.api = it, client("elasticache")
        self.subnets = self.api.create_cache_subnet_group(CacheSubnetGroupName="both", CacheSubnetGroupDescription="both zones", SubnetIds=it.subnets)
        run = it.engine.exec
        it.engine.exec = lambda *args, **options: (run(*args, **options)[0], "PONG")  # type: ignore[method-assign]

    def create(self, **given: Any) -> dict[str, Any]:
        base = {"ReplicationGroupId": "shop", "ReplicationGroupDescription": "a cache", "CacheSubnetGroupName": "both", "CacheNodeType": "cache.t4g.micro"}
        secure = {"TransitEncryptionEnabled": True, "AuthToken": FIRST, "SecurityGroupIds": [self.it.group]}
        return dict(self.api.create_replication_group(**{**base, **secure, **given})["ReplicationGroup"])

    def group(self) -> dict[str, Any]:
        return dict(self.api.describe_replication_groups(ReplicationGroupId="shop")["ReplicationGroups"][0])

    def file(self, name: str) -> str:
        found = self.it.engine.containers[self.it.cloud.container_name("cache-shop")]["files"][f"/etc/cache/{name}"]
        return (found[0] if isinstance(found, tuple) else found).decode()  # type: ignore[no-any-return]

    def words(self) -> list[str]:
        """The digests of the tokens that are good."""
        return [word[1:] for word in self.file("users.acl").splitlines()[0].split() if word.startswith("#")]


@pytest.fixture
def caches(tmp_path: Path) -> Iterator[Caches]:
    with bed(tmp_path) as it:
        yield Caches(it)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def test_endpoints_have_the_names_of_the_guide() -> None:
    """ "Finding connection endpoints": a primary endpoint of a group with encryption in transit begins with master."""
    names = endpoints("shop", "123456789012", "eu-central-1", True)
    label = names["primary"].split(".")[2]
    assert names["primary"] == f"master.shop.{label}.euc1.cache.amazonaws.com" and names["reader"] == f"replica.shop.{label}.euc1.cache.amazonaws.com"
    assert endpoints("shop", "123456789012", "us-west-2", False)["primary"].endswith(".ng.0001.usw2.cache.amazonaws.com")


def test_a_replication_group_is_a_server_with_tls_its_token_and_its_groups(caches: Caches) -> None:
    made = caches.create(NumCacheClusters=2, AutomaticFailoverEnabled=True, MultiAZEnabled=True, Tags=[{"Key": "a", "Value": "b"}])
    assert (made["Status"], made["MultiAZ"], made["AutomaticFailover"], made["AuthTokenEnabled"]) == ("available", "enabled", "enabled", True)
    node = made["NodeGroups"][0]
    assert [(one["CurrentRole"], one["PreferredAvailabilityZone"]) for one in node["NodeGroupMembers"]] == [
        ("primary", "eu-central-1a"),
        ("replica", "eu-central-1b"),
    ]
    it = caches.it
    assert it.cloud.names[node["PrimaryEndpoint"]["Address"]] == it.engine.containers[it.cloud.container_name("cache-shop")]["address"]
    assert "tls-port 6379" in caches.file("redis.conf") and "port 0" in caches.file("redis.conf")
    assert caches.words() == [digest(FIRST)] and FIRST not in caches.file("users.acl")
    members = caches.api.describe_cache_clusters(ShowCacheNodeInfo=True)["CacheClusters"]
    assert [one["CacheClusterId"] for one in members] == made["MemberClusters"] == ["shop-001", "shop-002"]
    assert members[0]["SecurityGroups"] == [{"SecurityGroupId": it.group, "Status": "active"}]
    assert members[0]["CacheParameterGroup"]["CacheParameterGroupName"] == "default.redis7" and members[0]["CacheNodes"][0]["Endpoint"]["Port"] == 6379
    assert caches.api.list_tags_for_resource(ResourceName=made["ARN"])["TagList"] == [{"Key": "a", "Value": "b"}]
    assert [row for row in it.cloud.status() if row["kind"] == "cache"][0]["state"] == "available"


def test_a_token_is_rotated_without_a_moment_of_refusal(caches: Caches) -> None:
    """ "Modifying the AUTH token": ROTATE keeps the previous token good, SET ends it."""
    caches.create()
    caches.api.modify_replication_group(ReplicationGroupId="shop", AuthToken=SECOND, AuthTokenUpdateStrategy="ROTATE", ApplyImmediately=True)
    assert caches.words() == [digest(FIRST), digest(SECOND)]
    assert any("ACL LOAD" in text for _, _, text in caches.it.engine.executed)
    caches.api.modify_replication_group(ReplicationGroupId="shop", AuthToken=SECOND, AuthTokenUpdateStrategy="SET", ApplyImmediately=True)
    assert caches.words() == [digest(SECOND)]


def test_replicas_come_and_go(caches: Caches) -> None:
    caches.create()
    caches.api.increase_replica_count(ReplicationGroupId="shop", NewReplicaCount=1, ApplyImmediately=True)
    caches.api.modify_replication_group(ReplicationGroupId="shop", AutomaticFailoverEnabled=True, ApplyImmediately=True)
    assert caches.group()["MemberClusters"] == ["shop-001", "shop-002"]
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        caches.api.decrease_replica_count(ReplicationGroupId="shop", NewReplicaCount=0, ApplyImmediately=True)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"AuthToken": "short"}, "InvalidParameterValue"),
        ({"AuthToken": "has a space in it, seventeen"}, "InvalidParameterValue"),
        ({"TransitEncryptionEnabled": False}, "InvalidParameterCombination"),
        ({"AutomaticFailoverEnabled": True}, "InvalidParameterValue"),
        ({"CacheSubnetGroupName": "none"}, "CacheSubnetGroupNotFoundFault"),
        ({"CacheParameterGroupName": "none"}, "CacheParameterGroupNotFound"),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidParameterValue"),
        ({"ReplicationGroupId": "1shop"}, "InvalidParameterValue"),
    ],
)
def test_what_aws_refuses(caches: Caches, given: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as caught:
        caches.create(**given)
    assert caught.value.response["Error"]["Code"] == code
    assert caches.api.describe_replication_groups()["ReplicationGroups"] == [] and not [name for name in caches.it.engine.containers if "cache" in name]


def test_parameters_reach_the_server(caches: Caches) -> None:
    api = caches.api
    api.create_cache_parameter_group(CacheParameterGroupName="mine", CacheParameterGroupFamily="redis7", Description="mine")
    changed = [{"ParameterName": "maxmemory-policy", "ParameterValue": "noeviction"}]
    api.modify_cache_parameter_group(CacheParameterGroupName="mine", ParameterNameValues=changed)
    caches.create(CacheParameterGroupName="mine")
    assert "maxmemory-policy noeviction" in caches.file("redis.conf") and "reserved-memory-percent" not in caches.file("redis.conf")
    assert [one["ParameterName"] for one in api.describe_cache_parameters(CacheParameterGroupName="mine", Source="user")["Parameters"]] == ["maxmemory-policy"]
    for refused, code in (("default.redis7", "InvalidCacheParameterGroupState"), ("none", "CacheParameterGroupNotFound")):
        with pytest.raises(ClientError, match=code):
            api.modify_cache_parameter_group(CacheParameterGroupName=refused, ParameterNameValues=changed)
    with pytest.raises(ClientError, match="InvalidCacheParameterGroupState"):
        api.delete_cache_parameter_group(CacheParameterGroupName="mine")


def test_what_it_uses_stays_until_it_is_gone(caches: Caches) -> None:
    caches.create()
    it, api = caches.it, caches.api
    with pytest.raises(ClientError, match="CacheSubnetGroupInUse"):
        api.delete_cache_subnet_group(CacheSubnetGroupName="both")
    for refused in (lambda: it.ec2.delete_subnet(SubnetId=it.subnets[0]), lambda: it.ec2.delete_security_group(GroupId=it.group)):
        with pytest.raises(ClientError, match="DependencyViolation"):
            refused()
    with pytest.raises(ClientError, match="ReplicationGroupAlreadyExists"):
        caches.create()
    assert caches.group()["Status"] == "available", "a refused creation harms nobody"
    assert api.delete_replication_group(ReplicationGroupId="shop")["ReplicationGroup"]["Status"] == "deleting"
    eventually(lambda: api.describe_replication_groups()["ReplicationGroups"] == [], "it is gone")
    with pytest.raises(ClientError, match="ReplicationGroupNotFoundFault"):
        caches.group()
    assert not [name for name in it.engine.containers if "cache" in name] and not [name for name in it.cloud.names if "cache" in name]
    api.delete_cache_subnet_group(CacheSubnetGroupName="both")
    with pytest.raises(ClientError, match="CacheSubnetGroupNotFoundFault"):
        api.describe_cache_subnet_groups(CacheSubnetGroupName="both")
    it.ec2.delete_subnet(SubnetId=it.subnets[0])
