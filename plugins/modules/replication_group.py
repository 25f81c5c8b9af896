#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: replication_group
short_description: An ElastiCache replication group, encrypted and behind a token
version_added: 0.1.0
author:
  - Flotilla maintainers (@flotilla)
description:
  - Makes a replication group of one shard with TLS, encryption at rest and an AUTH token, and with failover to another zone when it has replicas.
  - M(community.aws.elasticache) makes lone clusters only, which have neither TLS nor failover.
  - The token is read from Secrets Manager by the module when the group is made. It is in no argument, result or log.
options:
  name:
    description: Identifier of the group.
    type: str
    required: true
  description:
    description: What it is for.
    type: str
    default: ""
  engine:
    description: Cache engine.
    type: str
    choices: [redis, valkey]
    default: redis
  engine_version:
    description: Version with which it is made. A version that AWS or somebody has raised since is left alone.
    type: str
    default: "7.1"
  node_type:
    description: Type of its nodes. Needed with O(state=present).
    type: str
  replicas:
    description: Copies in other zones. With V(0) there is no failover.
    type: int
    default: 1
  port:
    description: Port that it listens on.
    type: int
    default: 6379
  subnet_group:
    description: Subnet group in which it stands. Needed with O(state=present).
    type: str
  security_groups:
    description: Security groups that say who reaches it. Needed with O(state=present).
    type: list
    elements: str
    default: []
  auth_token_secret:
    description: Name or ARN of the secret in Secrets Manager that is the token. Needed with O(state=present).
    type: str
  snapshot_retention_days:
    description: For how many days daily snapshots are kept; V(0) takes none.
    type: int
    default: 0
  final_snapshot:
    description: With O(state=absent), name of a snapshot to take before; none when empty.
    type: str
    default: ""
  state:
    description: C(absent) deletes it.
    type: str
    choices: [present, absent]
    default: present
  wait_seconds:
    description: How long each change may take until the group is available, or gone.
    type: int
    default: 1800
  tags:
    description: Tags of the group. Tags that are not named here are left alone.
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
- name: Make the cache
  flotilla.ec2.replication_group:
    name: media-local
    node_type: cache.t4g.micro
    replicas: 1
    subnet_group: media-local
    security_groups: [sg-0123456789abcdef0]
    auth_token_secret: flotilla/local/media/cache-token
"""

RETURN = r"""
primary_endpoint:
  description: Address and port of the primary. The address stays the same over a failover.
  returned: when it exists
  type: dict
  sample: {address: master.media-local.abcdef.euc1.cache.amazonaws.com, port: 6379}
"""

try:
    import botocore.exceptions
except ImportError:
    pass  # AnsibleAWSModule says so

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import common
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import replication_group as groups

SPECIFICATION = {
    "name": {"type": "str", "required": True},
    "description": {"type": "str", "default": ""},
    "engine": {"type": "str", "choices": ["redis", "valkey"], "default": "redis"},
    "engine_version": {"type": "str", "default": "7.1"},
    "node_type": {"type": "str"},
    "replicas": {"type": "int", "default": 1},
    "port": {"type": "int", "default": 6379},
    "subnet_group": {"type": "str"},
    "security_groups": {"type": "list", "elements": "str", "default": []},
    "auth_token_secret": {"type": "str", "no_log": False},
    "snapshot_retention_days": {"type": "int", "default": 0},
    "final_snapshot": {"type": "str", "default": ""},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "wait_seconds": {"type": "int", "default": 1800},
    "tags": {"type": "dict", "default": {}},
}


def settle(elasticache, wanted: dict, what: str) -> dict | None:
    """Wait until nothing is under way; the group then."""
    found: list = []

    def done() -> bool:
        found[:] = [groups.find(elasticache, wanted["name"])]
        return groups.settled(found[0])

    common.wait(done, f"{what} the replication group {wanted['name']}", wanted["wait_seconds"], pause=10)
    return found[0]


def present(module) -> dict:
    """Make it, or bring it to what is wanted."""
    elasticache, wanted = module.client("elasticache"), module.params
    current = groups.find(elasticache, wanted["name"])
    if current is not None and current["Status"] == "deleting" and not module.check_mode:
        current = settle(elasticache, wanted, "Deleting")
    if current is None:
        if module.check_mode:
            return {"changed": True}
        token = module.client("secretsmanager").get_secret_value(SecretId=wanted["auth_token_secret"])["SecretString"]
        module.no_log_values.add(token)
        elasticache.create_replication_group(**groups.creation(wanted, token))
        return {"changed": True, "primary_endpoint": groups.endpoint(settle(elasticache, wanted, "Making"))}
    if not module.check_mode:
        current = settle(elasticache, wanted, "A change of")
    tags = elasticache.list_tags_for_resource(ResourceName=current["ARN"])["TagList"]
    steps = groups.steps(current, tags, wanted)
    for step in [] if module.check_mode else steps:
        common.take(elasticache, [step])
        settle(elasticache, wanted, "A change of")
    return {"changed": bool(steps), "primary_endpoint": groups.endpoint(current)}


def absent(module) -> dict:
    """Delete it and wait until it is gone."""
    elasticache, wanted = module.client("elasticache"), module.params
    current = groups.find(elasticache, wanted["name"])
    if current is None:
        return {"changed": False}
    if not module.check_mode:
        if current["Status"] != "deleting":
            settle(elasticache, wanted, "A change of")
            elasticache.delete_replication_group(**groups.removal(wanted["name"], wanted["final_snapshot"]))
        common.wait(lambda: groups.find(elasticache, wanted["name"]) is None, f"Deleting the replication group {wanted['name']}", wanted["wait_seconds"])
    return {"changed": True}


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec=SPECIFICATION,
        supports_check_mode=True,
        required_if=[["state", "present", ["node_type", "subnet_group", "security_groups", "auth_token_secret"]]],
    )
    try:
        module.exit_json(**(present if module.params["state"] == "present" else absent)(module))
    except TimeoutError as error:
        module.fail_json(msg=str(error))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Replication group {module.params['name']}")


if __name__ == "__main__":
    main()
