# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An EFS file system with its mount targets, access points and policy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.policy import compare_policies
from ansible_collections.flotilla.ec2.plugins.module_utils.aws.common import Step, code_of, missing_tags, tag_list

LIFECYCLE = "TransitionToIA"


def find(efs: Any, name: str) -> dict[str, Any] | None:
    """The file system that was made with this creation token, or None."""
    found = efs.describe_file_systems(CreationToken=name)["FileSystems"]
    return found[0] if found else None


def _policy(efs: Any, file_system_id: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(efs.describe_file_system_policy(FileSystemId=file_system_id)["Policy"])
    except efs.exceptions.ClientError as error:
        if code_of(error) == "PolicyNotFound":
            return {}
        raise
    return found


def _backup(efs: Any, file_system_id: str) -> bool:
    try:
        return str(efs.describe_backup_policy(FileSystemId=file_system_id)["BackupPolicy"]["Status"]) in ("ENABLED", "ENABLING")
    except efs.exceptions.ClientError as error:
        if code_of(error) == "PolicyNotFound":
            return False
        raise


def details(efs: Any, file_system: Mapping[str, Any]) -> dict[str, Any]:
    """All that belongs to a file system."""
    file_system_id = file_system["FileSystemId"]
    targets = efs.describe_mount_targets(FileSystemId=file_system_id)["MountTargets"]
    return {
        **file_system,
        "Policy": _policy(efs, file_system_id),
        "Backup": _backup(efs, file_system_id),
        "Lifecycle": efs.describe_lifecycle_configuration(FileSystemId=file_system_id)["LifecyclePolicies"],
        "MountTargets": [
            {**one, "SecurityGroups": efs.describe_mount_target_security_groups(MountTargetId=one["MountTargetId"])["SecurityGroups"]} for one in targets
        ],
        "AccessPoints": efs.describe_access_points(FileSystemId=file_system_id)["AccessPoints"],
    }


def creation(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of CreateFileSystem."""
    return {
        "CreationToken": wanted["name"],
        "PerformanceMode": "generalPurpose",
        "ThroughputMode": wanted["throughput_mode"],
        "Encrypted": True,
        "Backup": bool(wanted["backup"]),
        "Tags": tag_list({"Name": wanted["name"], **wanted["tags"]}),
    }


def steps(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Step]:
    """The calls that lead from what is there to what is wanted; none when nothing differs."""
    file_system_id = current["FileSystemId"]
    found: list[Step] = []
    tags = missing_tags(current.get("Tags") or [], {"Name": wanted["name"], **wanted["tags"]})
    if tags:
        found.append(("tag_resource", {"ResourceId": file_system_id, "Tags": tags}))
    days = wanted["infrequent_access_after_days"]
    lifecycle = [{LIFECYCLE: f"AFTER_{days}_DAYS"}] if days else []
    if [one for one in current["Lifecycle"] if LIFECYCLE in one] != lifecycle:
        found.append(("put_lifecycle_configuration", {"FileSystemId": file_system_id, "LifecyclePolicies": lifecycle}))
    if current["Backup"] != bool(wanted["backup"]):
        status = "ENABLED" if wanted["backup"] else "DISABLED"
        found.append(("put_backup_policy", {"FileSystemId": file_system_id, "BackupPolicy": {"Status": status}}))
    policy = policy_of(wanted["policy"], current.get("FileSystemArn"))
    if policy and compare_policies(current["Policy"], policy):
        found.append(("put_file_system_policy", {"FileSystemId": file_system_id, "Policy": json.dumps(policy, sort_keys=True)}))
    return found + _mount_target_steps(current, wanted) + _access_point_steps(current, wanted)


def policy_of(policy: Mapping[str, Any] | None, arn: str | None) -> dict[str, Any]:
    """The policy with the file system as the resource of each statement that names none."""
    if not policy:
        return {}
    return {**policy, "Statement": [{"Resource": arn, **statement} if arn else dict(statement) for statement in policy["Statement"]]}


def _mount_target_steps(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Step]:
    targets = {one["SubnetId"]: one for one in current["MountTargets"] if one["LifeCycleState"] not in ("deleting", "deleted")}
    groups = list(wanted["security_groups"])
    # A zone has one mount target at most: those that go, go first.
    found: list[Step] = [("delete_mount_target", {"MountTargetId": one["MountTargetId"]}) for subnet, one in targets.items() if subnet not in wanted["subnets"]]
    for subnet in wanted["subnets"]:
        if subnet not in targets:
            found.append(("create_mount_target", {"FileSystemId": current["FileSystemId"], "SubnetId": subnet, "SecurityGroups": groups}))
        elif set(targets[subnet]["SecurityGroups"]) != set(groups):
            found.append(("modify_mount_target_security_groups", {"MountTargetId": targets[subnet]["MountTargetId"], "SecurityGroups": groups}))
    return found


def _place(point: Mapping[str, Any]) -> tuple[Any, ...]:
    """What cannot be changed of an access point."""
    user, root = point.get("PosixUser") or {}, point.get("RootDirectory") or {}
    return user.get("Uid"), user.get("Gid"), root.get("Path")


def _name(point: Mapping[str, Any]) -> str:
    return str(point.get("Name") or next((tag["Value"] for tag in point.get("Tags") or [] if tag["Key"] == "Name"), ""))


def _access_point_steps(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Step]:
    points = {_name(one): one for one in current["AccessPoints"] if one.get("LifeCycleState") not in ("deleting", "deleted")}
    found: list[Step] = []
    for name, point in points.items():
        asked = next((one for one in wanted["access_points"] if one["name"] == name), None)
        if asked is None or _place(point) != (asked["uid"], asked["gid"], asked["path"]):
            found.append(("delete_access_point", {"AccessPointId": point["AccessPointId"]}))
    gone = {step[1]["AccessPointId"] for step in found}
    for asked in wanted["access_points"]:
        if asked["name"] in points and points[asked["name"]]["AccessPointId"] not in gone:
            continue
        owner = {"OwnerUid": asked["uid"], "OwnerGid": asked["gid"], "Permissions": asked["permissions"]}
        found.append(
            (
                "create_access_point",
                {
                    # As a token its name and place: a call that is repeated makes no second one.
                    "ClientToken": f"{current['FileSystemId']}-{asked['name']}-{asked['uid']}-{asked['gid']}"[:64],
                    "FileSystemId": current["FileSystemId"],
                    "PosixUser": {"Uid": asked["uid"], "Gid": asked["gid"]},
                    "RootDirectory": {"Path": asked["path"], "CreationInfo": owner},
                    "Tags": tag_list({**wanted["tags"], "Name": asked["name"]}),
                },
            )
        )
    return found


def summary(current: Mapping[str, Any]) -> dict[str, Any]:
    """What a task returns of it."""
    points = [one for one in current["AccessPoints"] if one.get("LifeCycleState") not in ("deleting", "deleted")]
    return {
        "file_system_id": current["FileSystemId"],
        "access_points": [{"name": _name(one), "id": one["AccessPointId"]} for one in sorted(points, key=_name)],
    }
