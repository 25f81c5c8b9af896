#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: network_load_balancer
short_description: An internal Network Load Balancer with security groups
version_added: 0.1.0
author:
  - Flotilla maintainers (@flotilla)
description:
  - Makes an internal Network Load Balancer with TCP listeners that stands behind security groups.
  - M(community.aws.elb_network_lb) gives it no security groups, and they can be given at creation only. Without them the targets' groups could
    name address ranges only, not who the clients are.
options:
  name:
    description: Name of the load balancer.
    type: str
    required: true
  subnets:
    description: Subnets in which it stands. Needed with O(state=present).
    type: list
    elements: str
    default: []
  security_groups:
    description: Security groups that say who reaches it. Needed with O(state=present).
    type: list
    elements: str
    default: []
  listeners:
    description: Its listeners. Others are deleted.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: Port that clients connect to.
        type: int
        required: true
      target_group_arn:
        description: Target group to which connections are forwarded.
        type: str
        required: true
  cross_zone:
    description: Whether each of its nodes sends to targets in all zones.
    type: bool
    default: true
  deletion_protection:
    description: Whether it must be unprotected before it can be deleted. O(state=absent) does so by itself.
    type: bool
    default: false
  state:
    description: C(absent) deletes it.
    type: str
    choices: [present, absent]
    default: present
  wait_seconds:
    description: How long it may take until it is active, or gone.
    type: int
    default: 600
  tags:
    description: Tags of the load balancer. Tags that are not named here are left alone.
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
- name: Make the load balancer of the stack's TCP services
  flotilla.ec2.network_load_balancer:
    name: sums-local-tcp
    subnets: [subnet-0123456789abcdef0, subnet-0123456789abcdef1]
    security_groups: [sg-0123456789abcdef0]
    listeners:
      - port: 6379
        target_group_arn: "{{ target_group.target_group_arn }}"
"""

RETURN = r"""
load_balancer_arn:
  description: ARN of the load balancer.
  returned: when it exists
  type: str
  sample: arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/net/sums-local-tcp/0123456789abcdef
dns_name:
  description: Its name in DNS.
  returned: when it exists
  type: str
  sample: sums-local-tcp-0123456789abcdef.elb.eu-central-1.amazonaws.com
"""

try:
    import botocore.exceptions
except ImportError:
    pass  # AnsibleAWSModule says so

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import common
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import network_load_balancer as balancer

LISTENER = {"port": {"type": "int", "required": True}, "target_group_arn": {"type": "str", "required": True}}
SPECIFICATION = {
    "name": {"type": "str", "required": True},
    "subnets": {"type": "list", "elements": "str", "default": []},
    "security_groups": {"type": "list", "elements": "str", "default": []},
    "listeners": {"type": "list", "elements": "dict", "default": [], "options": LISTENER},
    "cross_zone": {"type": "bool", "default": True},
    "deletion_protection": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "wait_seconds": {"type": "int", "default": 600},
    "tags": {"type": "dict", "default": {}},
}


def present(elbv2, wanted: dict, check: bool) -> dict:
    """Make it, or bring it to what is wanted."""
    current = balancer.find(elbv2, wanted["name"])
    created = current is None
    if current is None:
        if check:
            return {"changed": True}
        elbv2.create_load_balancer(**balancer.creation(wanted))
        current = balancer.find(elbv2, wanted["name"])
    steps = balancer.steps(current, wanted)
    if not check:
        common.take(elbv2, steps)
        if created:
            arn = [current["LoadBalancerArn"]]
            # Listeners can be made before it is active.
            common.wait(
                lambda: elbv2.describe_load_balancers(LoadBalancerArns=arn)["LoadBalancers"][0]["State"]["Code"] == "active",
                f"Making the load balancer {wanted['name']}",
                wanted["wait_seconds"],
            )
    return {"changed": created or bool(steps), "load_balancer_arn": current["LoadBalancerArn"], "dns_name": current["DNSName"]}


def absent(elbv2, wanted: dict, check: bool) -> dict:
    """Delete it and wait until it is gone."""
    current = balancer.find(elbv2, wanted["name"])
    if current and not check:
        common.take(elbv2, balancer.removal(current))
        common.wait(lambda: balancer.find(elbv2, wanted["name"]) is None, f"Deleting the load balancer {wanted['name']}", wanted["wait_seconds"])
    return {"changed": current is not None}


def main() -> None:
    module = AnsibleAWSModule(argument_spec=SPECIFICATION, supports_check_mode=True, required_if=[["state", "present", ["subnets", "security_groups"]]])
    act = present if module.params["state"] == "present" else absent
    try:
        module.exit_json(**act(module.client("elbv2"), module.params, module.check_mode))
    except (TimeoutError, ValueError) as error:
        module.fail_json(msg=str(error))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Load balancer {module.params['name']}")


if __name__ == "__main__":
    main()
