#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: file_system
short_description: An encrypted EFS file system with mount targets, access points and a policy
version_added: 0.1.0
author:
  - Flotilla maintainers (@flotilla)
description:
  - Makes an EFS file system, always encrypted, with all that belongs to it in one go.
  - M(community.aws.efs) knows no access points, no policy and no backups, and goes by calls for tags that AWS has given up.
  - The file system is found by its creation token, which is O(name).
options:
  name:
    description: Name and creation token of the file system.
    type: str
    required: true
  throughput_mode:
    description: How it is paid for its speed. Of its creation.
    type: str
    choices: [elastic, bursting]
    default: elastic
  infrequent_access_after_days:
    description: After how many days without access a file moves to cheaper storage; V(0) is never.
    type: int
    choices: [0, 1, 7, 14, 30, 60, 90]
    default: 30
  backup:
    description: Whether AWS Backup keeps daily backups.
    type: bool
    default: true
  subnets:
    description: A subnet in each zone in which it can be mounted. Mount targets in others are deleted.
    type: list
    elements: str
    default: []
  security_groups:
    description: Security groups that say who reaches the mount targets.
    type: list
    elements: str
    default: []
  access_points:
    description: Its access points. Others are deleted, their files are not. One with another user or path is made anew.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the access point.
        type: str
        required: true
      path:
        description: Directory that is its root. It is made when it is mounted first.
        type: str
        required: true
      uid:
        description: User as whom all files are read and written.
        type: int
        required: true
      gid:
        description: Group as whom all files are read and written.
        type: int
        required: true
      permissions:
        description: Permissions of the directory when it is made.
        type: str
        default: "0750"
  policy:
    description: Policy of the file system. A statement without a resource is about the file system. None leaves the policy alone.
    type: dict
  state:
    description: C(absent) deletes it with all files. C(unmounted) deletes its mount targets and keeps the files.
    type: str
    choices: [present, unmounted, absent]
    default: present
  wait_seconds:
    description: How long it may take until the file system and its mount targets are available, or gone.
    type: int
    default: 600
  tags:
    description: Tags of file system and access points. Tags that are not named here are left alone.
    type: dict
    default: {}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
"""

EXAMPLES = r"""
- name: Make the shared media
  flotilla.ec2.file_system:
    name: media-local
    subnets: [subnet-0123456789abcdef0, subnet-0123456789abcdef1]
    security_groups: [sg-0123456789abcdef0]
    access_points:
      - name: web
        path: /web
        uid: 10001
        gid: 10001
"""

RETURN = r"""
file_system_id:
  description: Id of the file system.
  returned: when it exists
  type: str
  sample: fs-0123456789abcdef0
access_points:
  description: Names and ids of the access points.
  returned: when it exists
  type: list
  sample: [{name: web, id: fsap-0123456789abcdef0}]
"""

try:
    import botocore.exceptions
except ImportError:
    pass  # AnsibleAWSModule says so

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import common
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import file_system as files

POINT = {
    "name": {"type": "str", "required": True},
    "path": {"type": "str", "required": True},
    "uid": {"type": "int", "required": True},
    "gid": {"type": "int", "required": True},
    "permissions": {"type": "str", "default": "0750"},
}
SPECIFICATION = {
    "name": {"type": "str", "required": True},
    "throughput_mode": {"type": "str", "choices": ["elastic", "bursting"], "default": "elastic"},
    "infrequent_access_after_days": {"type": "int", "choices": [0, 1, 7, 14, 30, 60, 90], "default": 30},
    "backup": {"type": "bool", "default": True},
    "subnets": {"type": "list", "elements": "str", "default": []},
    "security_groups": {"type": "list", "elements": "str", "default": []},
    "access_points": {"type": "list", "elements": "dict", "default": [], "options": POINT},
    "policy": {"type": "dict"},
    "state": {"type": "str", "choices": ["present", "unmounted", "absent"], "default": "present"},
    "wait_seconds": {"type": "int", "default": 600},
    "tags": {"type": "dict", "default": {}},
}


def available(efs, name: str) -> bool:
    """Whether the file system can be changed."""
    found = files.find(efs, name)
    return found is not None and found["LifeCycleState"] == "available"


def unmounted(efs, file_system_id: str) -> bool:
    """Whether no mount target is left."""
    return not efs.describe_mount_targets(FileSystemId=file_system_id)["MountTargets"]


def mounted(efs, file_system_id: str) -> bool:
    """Whether all mount targets can be used."""
    return all(one["LifeCycleState"] == "available" for one in efs.describe_mount_targets(FileSystemId=file_system_id)["MountTargets"])


def present(efs, wanted: dict, check: bool) -> dict:
    """Make it, or bring it to what is wanted."""
    found = files.find(efs, wanted["name"])
    created = found is None
    if found is None:
        if check:
            return {"changed": True}
        efs.create_file_system(**files.creation(wanted))
        common.wait(lambda: available(efs, wanted["name"]), f"Making the file system {wanted['name']}", wanted["wait_seconds"], pause=1)
        found = files.find(efs, wanted["name"])
    current = files.details(efs, found)
    steps = files.steps(current, wanted)
    if steps and not check:
        before = [step for step in steps if step[0] == "delete_mount_target"]
        common.take(efs, before)
        leaving = {step[1]["MountTargetId"] for step in before}
        file_system_id = current["FileSystemId"]
        common.wait(
            lambda: not leaving & {one["MountTargetId"] for one in efs.describe_mount_targets(FileSystemId=file_system_id)["MountTargets"]},
            f"Deleting mount targets of {wanted['name']}",
            wanted["wait_seconds"],
        )
        common.take(efs, [step for step in steps if step not in before])
        common.wait(lambda: mounted(efs, file_system_id), f"Making the mount targets of {wanted['name']}", wanted["wait_seconds"], pause=2)
        current = files.details(efs, files.find(efs, wanted["name"]))
    return {"changed": created or bool(steps), **files.summary(current)}


def absent(efs, wanted: dict, check: bool) -> dict:
    """Delete its mount targets, and the file system unless it is kept."""
    found, keep = files.find(efs, wanted["name"]), wanted["state"] == "unmounted"
    if found is None:
        return {"changed": False}
    file_system_id = found["FileSystemId"]
    targets = efs.describe_mount_targets(FileSystemId=file_system_id)["MountTargets"]
    if not check:
        common.take(efs, [("delete_mount_target", {"MountTargetId": one["MountTargetId"]}) for one in targets if one["LifeCycleState"] != "deleting"])
        common.wait(lambda: unmounted(efs, file_system_id), f"Deleting the mount targets of {wanted['name']}", wanted["wait_seconds"], pause=2)
        if not keep:
            efs.delete_file_system(FileSystemId=file_system_id)
            common.wait(lambda: files.find(efs, wanted["name"]) is None, f"Deleting the file system {wanted['name']}", wanted["wait_seconds"], pause=2)
    return {"changed": bool(targets) or not keep, **({"file_system_id": file_system_id} if keep else {})}


def main() -> None:
    module = AnsibleAWSModule(argument_spec=SPECIFICATION, supports_check_mode=True)
    act = present if module.params["state"] == "present" else absent
    try:
        module.exit_json(**act(module.client("efs"), module.params, module.check_mode))
    except TimeoutError as error:
        module.fail_json(msg=str(error))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"File system {module.params['name']}")


if __name__ == "__main__":
    main()
