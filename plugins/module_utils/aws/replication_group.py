# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An ElastiCache replication group of one shard: encrypted, behind a token, with failover when it has replicas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.aws.common import Step, code_of, missing_tags, tag_list


def find(elasticache: Any, identifier: str) -> dict[str, Any] | None:
    """The replication group, or None."""
    try:
        found: dict[str, Any] = elasticache.describe_replication_groups(ReplicationGroupId=identifier)["ReplicationGroups"][0]
    except elasticache.exceptions.ClientError as error:
        if code_of(error) == "ReplicationGroupNotFoundFault":
            return None
        raise
    return found


def settled(group: Mapping[str, Any] | None) -> bool:
    """Whether nothing is under way: "creating, available, modifying, deleting, create-failed, snapshotting" (DescribeReplicationGroups)."""
    return group is None or group["Status"] not in ("creating", "modifying", "deleting", "snapshotting")


def creation(wanted: Mapping[str, Any], token: str) -> dict[str, Any]:
    """Parameters of CreateReplicationGroup."""
    replicated = wanted["replicas"] > 0
    return {
        "ReplicationGroupId": wanted["name"],
        "ReplicationGroupDescription": wanted["description"] or wanted["name"],
        "Engine": wanted["engine"],
        "EngineVersion": wanted["engine_version"],
        "CacheNodeType": wanted["node_type"],
        "NumNodeGroups": 1,
        "ReplicasPerNodeGroup": wanted["replicas"],
        "AutomaticFailoverEnabled": replicated,
        "MultiAZEnabled": replicated,
        "Port": wanted["port"],
        "CacheSubnetGroupName": wanted["subnet_group"],
        "SecurityGroupIds": list(wanted["security_groups"]),
        "TransitEncryptionEnabled": True,
        "AtRestEncryptionEnabled": True,
        "AuthToken": token,
        "SnapshotRetentionLimit": wanted["snapshot_retention_days"],
        **({"Tags": tag_list(wanted["tags"])} if wanted["tags"] else {}),
    }


def steps(current: Mapping[str, Any], tags: list[dict[str, str]], wanted: Mapping[str, Any]) -> list[Step]:
    """The calls that lead from what is there to what is wanted, each to be waited for; none when nothing differs.

    Version, port, subnets, security groups and encryption are those of its creation.
    """
    name, now, replicas = wanted["name"], len(current["MemberClusters"]) - 1, wanted["replicas"]
    at_once = {"ReplicationGroupId": name, "ApplyImmediately": True}
    found: list[Step] = []
    change: dict[str, Any] = {}
    if replicas > now:
        found.append(("increase_replica_count", {**at_once, "NewReplicaCount": replicas}))
    failover = replicas > 0
    if (current.get("AutomaticFailover") in ("enabled", "enabling")) != failover:
        change["AutomaticFailoverEnabled"] = failover
    if (current.get("MultiAZ") == "enabled") != failover:
        change["MultiAZEnabled"] = failover
    if current["CacheNodeType"] != wanted["node_type"]:
        change["CacheNodeType"] = wanted["node_type"]
    if current.get("SnapshotRetentionLimit", 0) != wanted["snapshot_retention_days"]:
        change["SnapshotRetentionLimit"] = wanted["snapshot_retention_days"]
    if change:
        found.append(("modify_replication_group", {**at_once, **change}))
    # The last replica can go only when failover is off.
    if replicas < now:
        found.append(("decrease_replica_count", {**at_once, "NewReplicaCount": replicas}))
    differ = missing_tags(tags, wanted["tags"])
    if differ:
        found.append(("add_tags_to_resource", {"ResourceName": current["ARN"], "Tags": differ}))
    return found


def removal(name: str, final_snapshot: str) -> dict[str, Any]:
    """Parameters of DeleteReplicationGroup."""
    return {"ReplicationGroupId": name, "RetainPrimaryCluster": False, **({"FinalSnapshotIdentifier": final_snapshot} if final_snapshot else {})}


def endpoint(group: Mapping[str, Any] | None) -> dict[str, Any]:
    """Address and port of the primary; it stays the same over a failover."""
    found = ((group or {}).get("NodeGroups") or [{}])[0].get("PrimaryEndpoint") or {}
    return {"address": found.get("Address"), "port": found.get("Port")}
