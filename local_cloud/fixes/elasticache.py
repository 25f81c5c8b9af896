"""ElastiCache as far as a cache of one shard needs it: moto's replication groups lack parameter and security groups, endpoints, changes and deletion.

API reference: CreateReplicationGroup, ModifyReplicationGroup, DeleteReplicationGroup, IncreaseReplicaCount, CacheCluster, CacheParameterGroup,
CacheSubnetGroup; User Guide: "Finding connection endpoints", "Authenticating with the AUTH command". States are set by the plane behind it.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.elasticache import models
from moto.elasticache.exceptions import ElastiCacheException
from moto.elasticache.responses import ElastiCacheResponse

VERSIONS = {"redis": "7.1.0", "valkey": "8.0.1"}
FAMILIES = ("redis7", "valkey7", "valkey8")
# Parameters of these families: data type, allowed values, default.
PARAMETERS: dict[str, tuple[str, str, str]] = {
    "activedefrag": ("string", "yes,no", "no"),
    "databases": ("integer", "1-1200000", "16"),
    "lazyfree-lazy-eviction": ("string", "yes,no", "no"),
    "maxmemory-policy": (
        "string",
        "volatile-lru,allkeys-lru,volatile-lfu,allkeys-lfu,volatile-random,allkeys-random,volatile-ttl,noeviction",
        "volatile-lru",
    ),
    "maxmemory-samples": ("integer", "1-", "3"),
    "notify-keyspace-events": ("string", "", ""),
    "reserved-memory-percent": ("integer", "0-100", "25"),
    "slowlog-log-slower-than": ("integer", "-", "10000"),
    "slowlog-max-len": ("integer", "0-", "128"),
    "tcp-keepalive": ("integer", "0-", "300"),
    "timeout": ("integer", "0,20-", "0"),
}
OF_THE_SERVICE = ("reserved-memory-percent",)  # not redis's own
ABBREVIATIONS = {
    "north": "n",
    "south": "s",
    "east": "e",
    "west": "w",
    "central": "c",
    "northeast": "ne",
    "northwest": "nw",
    "southeast": "se",
    "southwest": "sw",
}


def short(region: str) -> str:
    """eu-central-1 → euc1, as endpoints have it."""
    area, direction, number = region.rsplit("-", 2)
    return area.replace("-", "") + ABBREVIATIONS[direction] + number


def endpoints(identifier: str, account: str, region: str, encrypted: bool) -> dict[str, str]:
    """{primary, reader, node: with {} for a member's name}; names differ with encryption in transit (User Guide, "Finding connection endpoints")."""
    label = base64.b32encode(hashlib.sha256(f"{account} {region} cache".encode()).digest()).decode().lower()[:6]
    domain = f"{short(region)}.cache.amazonaws.com"
    if encrypted:
        of_group = f"{identifier}.{label}.{domain}"
        return {"primary": f"master.{of_group}", "reader": f"replica.{of_group}", "node": "{}." + of_group}
    return {
        "primary": f"{identifier}.{label}.ng.0001.{domain}",
        "reader": f"{identifier}-ro.{label}.ng.0001.{domain}",
        "node": "{}." + f"{label}.0001.{domain}",
    }


def fault(code: str, text: str) -> ElastiCacheException:
    return ElastiCacheException(code, text)


def wrong_token(token: str) -> bool:
    """AuthToken: 16 to 128 printable characters; of the special ones only ! & # $ ^ < > - may be in it."""
    return not re.fullmatch(r"[A-Za-z0-9!&#$^<>-]{16,128}", token)


class SubnetGroup:
    """A cache subnet group."""

    def __init__(self, backend: Any, name: str, description: str, subnet_ids: list[str]) -> None:
        self.backend, self.name, self.description = backend, name, description
        self.arn = f"arn:aws:elasticache:{backend.region_name}:{backend.account_id}:subnetgroup:{name}"
        self.put(subnet_ids)

    def put(self, subnet_ids: list[str]) -> None:
        known = {one.id: one for zone in ec2_backends[self.backend.account_id][self.backend.region_name].subnets.values() for one in zone.values()}
        wrong = [one for one in subnet_ids if one not in known]
        vpcs = {known[one].vpc_id for one in subnet_ids if one in known}
        if wrong or not subnet_ids or len(vpcs) > 1:
            raise fault("InvalidSubnet", f"Some input subnets in :{wrong or subnet_ids} are invalid.")
        self.subnets = [known[one] for one in subnet_ids]

    def facts(self) -> dict[str, Any]:
        return {
            "CacheSubnetGroupName": self.name,
            "CacheSubnetGroupDescription": self.description,
            "VpcId": self.subnets[0].vpc_id,
            "Subnets": [
                {"SubnetIdentifier": one.id, "SubnetAvailabilityZone": {"Name": one.availability_zone}, "SupportedNetworkTypes": ["ipv4"]}
                for one in self.subnets
            ],
            "SupportedNetworkTypes": ["ipv4"],
            "ARN": self.arn,
        }


class ParameterGroup:
    """A cache parameter group: what somebody set, over the family's defaults."""

    def __init__(self, backend: Any, name: str, family: str, description: str) -> None:
        self.name, self.family, self.description = name, family, description
        self.arn = f"arn:aws:elasticache:{backend.region_name}:{backend.account_id}:parametergroup:{name}"
        self.values: dict[str, str] = {}

    def facts(self) -> dict[str, Any]:
        names = {"CacheParameterGroupName": self.name, "CacheParameterGroupFamily": self.family, "Description": self.description}
        return {**names, "IsGlobal": False, "ARN": self.arn}

    def put(self, given: Mapping[str, str]) -> None:
        if self.name.startswith("default."):
            raise fault("InvalidCacheParameterGroupState", f"{self.name} is a default parameter group and cannot be modified.")
        for name, value in given.items():
            if name not in PARAMETERS:
                raise fault("InvalidParameterValue", f"The parameter {name} does not exist in the parameter group family {self.family}.")
            kind, allowed, _ = PARAMETERS[name]
            listed = kind == "string" and allowed
            if (listed and value not in allowed.split(",")) or (kind == "integer" and not re.fullmatch(r"-?\d+", value)):
                raise fault("InvalidParameterValue", f"The parameter value {value} is invalid for parameter {name}: {allowed or kind}")
        self.values.update(given)

    def parameters(self) -> list[dict[str, Any]]:
        return [
            {
                "ParameterName": name,
                "ParameterValue": self.values.get(name, default),
                "Description": name,
                "Source": "user" if name in self.values else "system",
                "DataType": kind,
                "AllowedValues": allowed,
                "IsModifiable": True,
                "MinimumEngineVersion": "7.0.0",
                "ChangeType": "immediate",
            }
            for name, (kind, allowed, default) in PARAMETERS.items()
        ]


class Group:
    """A replication group of one shard."""

    def __init__(self, backend: Any, asked: Mapping[str, Any]) -> None:
        self.backend = backend
        self.identifier = str(asked["ReplicationGroupId"]).lower()
        self.arn = f"arn:aws:elasticache:{backend.region_name}:{backend.account_id}:replicationgroup:{self.identifier}"
        self.status = "creating"
        self.created = utcnow()
        self.engine = str(asked.get("Engine") or "redis").lower()
        self.engine_version = str(asked.get("EngineVersion") or VERSIONS.get(self.engine, ""))
        self.engine_version = {"7.0": "7.0.7", "7.1": "7.1.0", "7": "7.1.0"}.get(self.engine_version, self.engine_version)
        self.port = int(asked.get("Port") or 6379)
        self.encrypted = truth(asked.get("TransitEncryptionEnabled"))
        self.at_rest = truth(asked.get("AtRestEncryptionEnabled"))
        self.kms_key = asked.get("KmsKeyId")
        self.token: str | None = asked.get("AuthToken")
        self.token_time = utcnow() if self.token else None
        self.subnet_group: SubnetGroup = backend.subnet_group(asked.get("CacheSubnetGroupName") or "default")
        per_shard = asked.get("ReplicasPerNodeGroup")
        self.members = int(asked.get("NumCacheClusters") or (int(per_shard) + 1 if per_shard is not None else 1))
        self.zones = list(asked.get("PreferredCacheClusterAZs") or [])
        self.description, self.node_type, self.parameter_group_name = "", "cache.t4g.micro", f"default.{self.engine}{self.engine_version.split('.')[0]}"
        self.failover = self.multi_az = False
        self.security_groups: list[str] = []
        self.minor_upgrades, self.retention, self.window, self.maintenance = True, 0, "03:00-04:00", "sun:05:00-sun:06:00"
        self.change(asked, new=True)
        if int(asked.get("NumNodeGroups") or 1) > 1 or asked.get("ClusterMode") == "enabled":
            raise fault("InvalidParameterValue", "the local cloud makes replication groups of one shard, cluster mode disabled")
        if self.engine not in VERSIONS:
            raise fault("InvalidParameterValue", f"Invalid cache engine: {self.engine}")
        if not re.fullmatch(r"[a-z](?!.*--)[a-z0-9-]{0,39}(?<!-)", self.identifier):
            raise fault("InvalidParameterValue", f"The parameter ReplicationGroupIdentifier is not a valid identifier: {self.identifier}")
        if self.token is not None and not self.encrypted:
            raise fault("InvalidParameterCombination", "The AUTH token is only supported when encryption-in-transit is enabled")
        if self.token is not None and wrong_token(self.token):
            raise fault(
                "InvalidParameterValue", "Invalid AuthToken provided. The AUTH token must contain 16 to 128 characters, of the special ones only !&#$^<>-"
            )

    def change(self, asked: Mapping[str, Any], new: bool = False) -> None:
        """Take over what CreateReplicationGroup and ModifyReplicationGroup have in common."""
        failover = truth(asked["AutomaticFailoverEnabled"]) if asked.get("AutomaticFailoverEnabled") is not None else self.failover
        multi_az = truth(asked["MultiAZEnabled"]) if asked.get("MultiAZEnabled") is not None else self.multi_az
        if failover and self.members < 2:
            raise fault("InvalidParameterValue", "Automatic failover is not supported for a replication group without a replica.")
        if multi_az and not failover:
            raise fault("InvalidParameterValue", "Automatic failover must be enabled to enable Multi-AZ.")
        name = asked.get("CacheParameterGroupName")
        if name:
            self.backend.parameter_group(name)
        groups = asked.get("SecurityGroupIds")
        if groups:
            ec2 = ec2_backends[self.backend.account_id][self.backend.region_name]
            known = {group for of_vpc in ec2.groups.values() for group in of_vpc}
            if unknown := [one for one in groups if one not in known]:
                raise fault("InvalidParameterValue", f"Some security groups are invalid, they were: {unknown}")
            self.security_groups = list(groups)
        elif new:
            ec2 = ec2_backends[self.backend.account_id][self.backend.region_name]
            self.security_groups = [ec2.get_default_security_group(self.subnet_group.subnets[0].vpc_id).id]
        self.failover, self.multi_az = failover, multi_az
        self.parameter_group_name = name or self.parameter_group_name
        self.description = asked.get("ReplicationGroupDescription") or self.description
        self.node_type = asked.get("CacheNodeType") or self.node_type
        self.engine_version = asked.get("EngineVersion") or self.engine_version if not new else self.engine_version
        self.window = asked.get("SnapshotWindow") or self.window
        self.maintenance = asked.get("PreferredMaintenanceWindow") or self.maintenance
        if asked.get("SnapshotRetentionLimit") is not None:
            self.retention = int(asked["SnapshotRetentionLimit"])
        if asked.get("AutoMinorVersionUpgrade") is not None:
            self.minor_upgrades = truth(asked["AutoMinorVersionUpgrade"])

    @property
    def names(self) -> dict[str, str]:
        return endpoints(self.identifier, self.backend.account_id, self.backend.region_name, self.encrypted)

    def member_names(self) -> list[str]:
        return [f"{self.identifier}-{number:03d}" for number in range(1, self.members + 1)]

    def subnet_of(self, position: int) -> Any:
        """The subnet of a member: of the zone that was asked for, else one after the other."""
        subnets = self.subnet_group.subnets
        wanted = self.zones[position] if position < len(self.zones) else None
        return next((one for one in subnets if one.availability_zone == wanted), subnets[position % len(subnets)])

    def facts(self) -> dict[str, Any]:
        """ReplicationGroup."""
        names = self.names
        members = [
            {
                "CacheClusterId": name,
                "CacheNodeId": "0001",
                "ReadEndpoint": {"Address": names["node"].format(name), "Port": self.port},
                "PreferredAvailabilityZone": self.subnet_of(position).availability_zone,
                "CurrentRole": "replica" if position else "primary",
            }
            for position, name in enumerate(self.member_names())
        ]
        node_group: dict[str, Any] = {"NodeGroupId": "0001", "Status": self.status, "NodeGroupMembers": members}
        if self.status != "creating":
            node_group["PrimaryEndpoint"] = {"Address": names["primary"], "Port": self.port}
            node_group["ReaderEndpoint"] = {"Address": names["reader"], "Port": self.port}
        return {
            "ReplicationGroupId": self.identifier,
            "Description": self.description,
            "GlobalReplicationGroupInfo": {},
            "Status": self.status,
            "PendingModifiedValues": {},
            "MemberClusters": self.member_names(),
            "NodeGroups": [node_group],
            "AutomaticFailover": "enabled" if self.failover else "disabled",
            "MultiAZ": "enabled" if self.multi_az else "disabled",
            "SnapshotRetentionLimit": self.retention,
            "SnapshotWindow": self.window,
            "ClusterEnabled": False,
            "CacheNodeType": self.node_type,
            "ARN": self.arn,
            "LogDeliveryConfigurations": [],
            "DataTiering": "disabled",
            "ReplicationGroupCreateTime": self.created,
            "ClusterMode": "disabled",
            "Engine": self.engine,
            **self.common(),
        }

    def common(self) -> dict[str, Any]:
        """What a replication group and its members both say."""
        found = {
            "AuthTokenEnabled": self.token is not None,
            "TransitEncryptionEnabled": self.encrypted,
            "AtRestEncryptionEnabled": self.at_rest,
            "AutoMinorVersionUpgrade": self.minor_upgrades,
            "NetworkType": "ipv4",
            "IpDiscovery": "ipv4",
        }
        if self.token_time:
            found["AuthTokenLastModifiedDate"] = self.token_time
        if self.encrypted:
            found["TransitEncryptionMode"] = "required"
        return found

    def clusters(self) -> list[dict[str, Any]]:
        """Its members as DescribeCacheClusters shows them."""
        return [
            {
                "CacheClusterId": name,
                "ARN": self.arn.replace(":replicationgroup:", ":cluster:").rsplit(":", 1)[0] + f":{name}",
                "ReplicationGroupId": self.identifier,
                "CacheNodeType": self.node_type,
                "Engine": self.engine,
                "EngineVersion": self.engine_version,
                "CacheClusterStatus": self.status,
                "NumCacheNodes": 1,
                "PreferredAvailabilityZone": self.subnet_of(position).availability_zone,
                "CacheClusterCreateTime": self.created,
                "PreferredMaintenanceWindow": self.maintenance,
                "PendingModifiedValues": {},
                "CacheSecurityGroups": [],
                "CacheParameterGroup": {
                    "CacheParameterGroupName": self.parameter_group_name,
                    "ParameterApplyStatus": "in-sync",
                    "CacheNodeIdsToReboot": [],
                },
                "CacheSubnetGroupName": self.subnet_group.name,
                "SecurityGroups": [{"SecurityGroupId": one, "Status": "active"} for one in self.security_groups],
                "SnapshotRetentionLimit": 0,
                "SnapshotWindow": self.window,
                "CacheNodes": [
                    {
                        "CacheNodeId": "0001",
                        "CacheNodeStatus": self.status,
                        "CacheNodeCreateTime": self.created,
                        "Endpoint": {"Address": self.names["node"].format(name), "Port": self.port},
                        "ParameterGroupStatus": "in-sync",
                        "CustomerAvailabilityZone": self.subnet_of(position).availability_zone,
                    }
                ],
                **self.common(),
            }
            for position, name in enumerate(self.member_names())
        ]


def truth(value: Any) -> bool:
    return str(value).lower() == "true"


# ---- the backend: what the plane hooks into


def _subnet_group(self: Any, name: str) -> SubnetGroup:
    if name not in self.cache_subnet_groups:
        raise fault("CacheSubnetGroupNotFoundFault", f"Cache Subnet Group {name} does not exist.")
    return self.cache_subnet_groups[name]  # type: ignore[no-any-return]


def _parameter_groups(self: Any) -> dict[str, ParameterGroup]:
    if "cache_parameter_groups" not in vars(self):
        defaults = [ParameterGroup(self, f"default.{family}", family, f"Default parameter group for {family}") for family in FAMILIES]
        self.cache_parameter_groups = {one.name: one for one in defaults}
    return self.cache_parameter_groups  # type: ignore[no-any-return]


def _parameter_group(self: Any, name: str) -> ParameterGroup:
    known = _parameter_groups(self)
    if name not in known:
        raise fault("CacheParameterGroupNotFound", f"CacheParameterGroup {name} not found.")
    return known[name]


def _group(self: Any, identifier: str) -> Group:
    known = self.replication_groups.get(str(identifier).lower())
    if known is None:
        raise fault("ReplicationGroupNotFoundFault", f"ReplicationGroup {identifier} not found.")
    return known  # type: ignore[no-any-return]


def _create(self: Any, asked: Mapping[str, Any]) -> Group:
    group = Group(self, asked)
    if group.identifier in self.replication_groups:
        raise fault("ReplicationGroupAlreadyExists", f"Replication group {group.identifier} already exists")
    self.replication_groups[group.identifier] = group
    self.tagging_service.tag_resource(group.arn, asked.get("Tags") or [])
    return group


def _available(group: Group) -> Group:
    if group.status != "available":
        raise fault("InvalidReplicationGroupState", f"Replication group {group.identifier} is not in available state, it is {group.status}")
    return group


def _modify(self: Any, asked: Mapping[str, Any]) -> Group:
    """ModifyReplicationGroup. ``AuthTokenUpdateStrategy``: ROTATE (the default: old and new token), SET (the new alone), DELETE."""
    group = _available(_group(self, asked["ReplicationGroupId"]))
    token = asked.get("AuthToken")
    if token is not None and not group.encrypted:
        raise fault("InvalidParameterCombination", "The AUTH token is only supported when encryption-in-transit is enabled")
    if token is not None and wrong_token(token):
        raise fault("InvalidParameterValue", "Invalid AuthToken provided. The AUTH token must contain 16 to 128 characters, of the special ones only !&#$^<>-")
    group.change(asked)
    if token is not None:
        group.token, group.token_time = token, utcnow()
    elif asked.get("AuthTokenUpdateStrategy") == "DELETE":
        group.token, group.token_time = None, utcnow()
    return group


def _resize(self: Any, asked: Mapping[str, Any], grow: bool) -> Group:
    """IncreaseReplicaCount, DecreaseReplicaCount: NewReplicaCount is the count of replicas, without the primary."""
    group = _available(_group(self, asked["ReplicationGroupId"]))
    count = int(asked.get("NewReplicaCount") or 0)
    if not (0 <= count <= 5) or (count + 1 <= group.members if grow else count + 1 >= group.members):
        raise fault("InvalidParameterValue", f"NewReplicaCount {count}: replication group {group.identifier} has {group.members - 1} replicas")
    if count == 0 and group.failover:
        raise fault("InvalidParameterValue", "Automatic failover needs a replica: disable it before the last one is removed")
    group.members = count + 1
    return group


def _delete(self: Any, identifier: str) -> Group:
    group = _available(_group(self, identifier))
    group.status = "deleting"
    return group


def _forget(self: Any, group: Group) -> None:
    self.replication_groups.pop(group.identifier, None)
    self.tagging_service.delete_all_tags_for_resource(group.arn)


# ---- the API


def _arn(self: Any) -> str:
    """The resource that a tagging call names. It must be there."""
    arn = str(self._get_params()["ResourceName"])
    backend = self.elasticache_backend
    groups = [*backend.replication_groups.values(), *backend.cache_subnet_groups.values(), *_parameter_groups(backend).values()]
    known = [one.arn for one in groups] + [one["ARN"] for group in backend.replication_groups.values() for one in group.clusters()]
    if arn not in known and arn not in [one.arn for one in backend.cache_clusters.values()]:
        kind, name = arn.split(":")[-2:] if arn.count(":") >= 6 else ("", arn)
        codes = {"replicationgroup": "ReplicationGroupNotFoundFault", "subnetgroup": "CacheSubnetGroupNotFoundFault", "cluster": "CacheClusterNotFound"}
        raise fault(codes.get(kind, "InvalidARN"), f"{name} not found")
    return arn


class Answers:
    """Operations of the API, put into moto's response class."""

    def create_cache_subnet_group(self: Any) -> ActionResult:
        asked, backend = self._get_params(), self.elasticache_backend
        name = str(asked["CacheSubnetGroupName"]).lower()
        if name in backend.cache_subnet_groups:
            raise fault("CacheSubnetGroupAlreadyExists", f"Cache subnet group {name} already exists.")
        made = backend.cache_subnet_groups[name] = SubnetGroup(backend, name, asked.get("CacheSubnetGroupDescription") or "", asked.get("SubnetIds") or [])
        backend.tagging_service.tag_resource(made.arn, asked.get("Tags") or [])
        return ActionResult({"CacheSubnetGroup": made.facts()})

    def describe_cache_subnet_groups(self: Any) -> ActionResult:
        name, backend = self._get_params().get("CacheSubnetGroupName"), self.elasticache_backend
        some = [backend.subnet_group(name.lower())] if name else list(backend.cache_subnet_groups.values())
        return ActionResult({"CacheSubnetGroups": [one.facts() for one in some]})

    def modify_cache_subnet_group(self: Any) -> ActionResult:
        asked = self._get_params()
        known = self.elasticache_backend.subnet_group(str(asked["CacheSubnetGroupName"]).lower())
        known.description = asked.get("CacheSubnetGroupDescription") or known.description
        if asked.get("SubnetIds"):
            used = {
                group.subnet_of(n).id
                for group in self.elasticache_backend.replication_groups.values()
                for n in range(group.members)
                if group.subnet_group is known
            }
            if left := sorted(used - set(asked["SubnetIds"])):
                raise fault("SubnetInUse", f"The subnet {', '.join(left)} is in use by a cache of the group")
            known.put(asked["SubnetIds"])
        return ActionResult({"CacheSubnetGroup": known.facts()})

    def delete_cache_subnet_group(self: Any) -> EmptyResult:
        backend = self.elasticache_backend
        known = backend.subnet_group(str(self._get_params()["CacheSubnetGroupName"]).lower())
        if any(group.subnet_group is known for group in backend.replication_groups.values()):
            raise fault("CacheSubnetGroupInUse", f"Cache subnet group {known.name} is currently in use by a cache cluster.")
        del backend.cache_subnet_groups[known.name]
        backend.tagging_service.delete_all_tags_for_resource(known.arn)
        return EmptyResult()

    def create_cache_parameter_group(self: Any) -> ActionResult:
        asked, backend = self._get_params(), self.elasticache_backend
        name, family = str(asked["CacheParameterGroupName"]).lower(), asked["CacheParameterGroupFamily"]
        if name in _parameter_groups(backend):
            raise fault("CacheParameterGroupAlreadyExists", f"Parameter group {name} already exists")
        if family not in FAMILIES:
            raise fault("InvalidParameterValue", f"CacheParameterGroupFamily {family} is not a valid parameter group family.")
        made = _parameter_groups(backend)[name] = ParameterGroup(backend, name, family, asked.get("Description") or "")
        backend.tagging_service.tag_resource(made.arn, asked.get("Tags") or [])
        return ActionResult({"CacheParameterGroup": made.facts()})

    def describe_cache_parameter_groups(self: Any) -> ActionResult:
        name, backend = self._get_params().get("CacheParameterGroupName"), self.elasticache_backend
        some = [_parameter_group(backend, name.lower())] if name else list(_parameter_groups(backend).values())
        return ActionResult({"CacheParameterGroups": [one.facts() for one in some]})

    def describe_cache_parameters(self: Any) -> ActionResult:
        asked = self._get_params()
        shown = _parameter_group(self.elasticache_backend, asked["CacheParameterGroupName"]).parameters()
        return ActionResult({"Parameters": [one for one in shown if asked.get("Source") in (None, one["Source"])], "CacheNodeTypeSpecificParameters": []})

    def modify_cache_parameter_group(self: Any) -> ActionResult:
        asked = self._get_params()
        known = _parameter_group(self.elasticache_backend, asked["CacheParameterGroupName"])
        known.put({one["ParameterName"]: str(one.get("ParameterValue") or "") for one in asked.get("ParameterNameValues") or []})
        return ActionResult({"CacheParameterGroupName": known.name})

    def reset_cache_parameter_group(self: Any) -> ActionResult:
        asked = self._get_params()
        known = _parameter_group(self.elasticache_backend, asked["CacheParameterGroupName"])
        names = list(known.values) if truth(asked.get("ResetAllParameters")) else [one["ParameterName"] for one in asked.get("ParameterNameValues") or []]
        for name in names:
            known.values.pop(name, None)
        return ActionResult({"CacheParameterGroupName": known.name})

    def delete_cache_parameter_group(self: Any) -> EmptyResult:
        backend = self.elasticache_backend
        known = _parameter_group(backend, self._get_params()["CacheParameterGroupName"])
        if known.name.startswith("default.") or any(group.parameter_group_name == known.name for group in backend.replication_groups.values()):
            raise fault("InvalidCacheParameterGroupState", f"Cache parameter group {known.name} is a default one or in use")
        del _parameter_groups(backend)[known.name]
        return EmptyResult()

    def create_replication_group(self: Any) -> ActionResult:
        return ActionResult({"ReplicationGroup": self.elasticache_backend.create_replication_group(self._get_params()).facts()})

    def describe_replication_groups(self: Any) -> ActionResult:
        identifier, backend = self._get_params().get("ReplicationGroupId"), self.elasticache_backend
        some = [backend.replication_group(identifier)] if identifier else list(backend.replication_groups.values())
        return ActionResult({"ReplicationGroups": [one.facts() for one in some]})

    def modify_replication_group(self: Any) -> ActionResult:
        return ActionResult({"ReplicationGroup": self.elasticache_backend.modify_replication_group(self._get_params()).facts()})

    def increase_replica_count(self: Any) -> ActionResult:
        return ActionResult({"ReplicationGroup": _resize(self.elasticache_backend, self._get_params(), grow=True).facts()})

    def decrease_replica_count(self: Any) -> ActionResult:
        return ActionResult({"ReplicationGroup": _resize(self.elasticache_backend, self._get_params(), grow=False).facts()})

    def delete_replication_group(self: Any) -> ActionResult:
        return ActionResult({"ReplicationGroup": self.elasticache_backend.delete_replication_group(self._get_params()["ReplicationGroupId"]).facts()})

    def list_tags_for_resource(self: Any) -> ActionResult:
        return ActionResult({"TagList": self.elasticache_backend.tagging_service.list_tags_for_resource(_arn(self))["Tags"]})

    def add_tags_to_resource(self: Any) -> ActionResult:
        arn = _arn(self)
        self.elasticache_backend.tagging_service.tag_resource(arn, self._get_params().get("Tags") or [])
        return ActionResult({"TagList": self.elasticache_backend.tagging_service.list_tags_for_resource(arn)["Tags"]})

    def remove_tags_from_resource(self: Any) -> ActionResult:
        arn = _arn(self)
        self.elasticache_backend.tagging_service.untag_resource_using_names(arn, self._get_params().get("TagKeys") or [])
        return ActionResult({"TagList": self.elasticache_backend.tagging_service.list_tags_for_resource(arn)["Tags"]})


def apply() -> None:
    """Correct moto, once, before it serves."""
    backend = models.ElastiCacheBackend
    for name, method in vars(Answers).items():
        if not name.startswith("_"):
            setattr(ElastiCacheResponse, name, method)
    backend.subnet_group, backend.parameter_group, backend.replication_group = _subnet_group, _parameter_group, _group
    backend.create_replication_group, backend.modify_replication_group = _create, _modify
    backend.delete_replication_group, backend.forget_replication_group = _delete, _forget
    clusters = ElastiCacheResponse.describe_cache_clusters

    def describe_cache_clusters(self: Any) -> ActionResult:
        """Members of replication groups are cache clusters too."""
        asked = self._get_params()
        members = [one for group in self.elasticache_backend.replication_groups.values() for one in copy.deepcopy(group.clusters())]
        for one in members:
            if not truth(asked.get("ShowCacheNodeInfo")):
                del one["CacheNodes"]
        identifier = asked.get("CacheClusterId")
        if any(one["CacheClusterId"] == identifier for one in members):
            return ActionResult({"CacheClusters": [one for one in members if one["CacheClusterId"] == identifier]})
        if identifier:
            return clusters(self)  # type: ignore[no-any-return]
        return ActionResult({"CacheClusters": [*members, *self.elasticache_backend.cache_clusters.values()]})

    ElastiCacheResponse.describe_cache_clusters = describe_cache_clusters
