#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: group_scaling
short_description: What scales an Auto Scaling group
version_added: 0.1.0
author:
  - Flotilla maintainers (@flotilla)
description:
  - Makes the target tracking policies, the scheduled actions and the termination lifecycle hook of one group, changes them and takes away those that are no
    longer wanted. All of them bear names that begin with C(flotilla-); what people have made stays as it is.
  - Never touches the number of hosts, which is the policies'.
  - M(community.aws.autoscaling_policy) looks a policy that is to go up by its name alone, in all groups of the account, and nothing there lists what a
    group has, so that what is no longer in a stack file could not be found.
options:
  name:
    description: The group.
    type: str
    required: true
  scaling:
    description: What shall scale it. Left out, nothing of this collection does.
    type: dict
    suboptions:
      cpu_percent:
        description: CPU that the hosts shall use on average.
        type: int
      requests:
        description: Requests that each host shall answer.
        type: dict
        suboptions:
          per_minute:
            description: So many in a minute.
            type: int
            required: true
          load_balancer_arn:
            description: The Application Load Balancer that they come through.
            type: str
            required: true
          target_group_arn:
            description: The target group that they come to.
            type: str
            required: true
      warmup_seconds:
        description: Time from the launch of a host until its figures count.
        type: int
        required: true
      scale_in:
        description: Whether hosts are taken away, too.
        type: bool
        default: true
      schedule:
        description: Times at which the smallest number of hosts changes.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Its name.
            type: str
            required: true
          cron:
            description: When.
            type: str
            required: true
          time_zone:
            description: In which zone.
            type: str
            default: Etc/UTC
          min:
            description: Hosts at least from then on.
            type: int
            required: true
          desired:
            description: Hosts from then on; left out, as many as there are, but for O(scaling.schedule[].min).
            type: int
      leave_seconds:
        description: How long a host that leaves may take, after its requests have been drained, to put its things in order. With 0 there is no hook.
        type: int
        default: 0
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
- name: Keep the CPU of the hosts at 60 percent, with four hosts at least on working days
  flotilla.ec2.group_scaling:
    name: shop-production-web
    scaling:
      cpu_percent: 60
      warmup_seconds: 120
      leave_seconds: 90
      schedule:
        - {name: morning, cron: 0 7 * * 1-5, time_zone: Europe/Berlin, min: 4}
        - {name: evening, cron: 0 20 * * 1-5, time_zone: Europe/Berlin, min: 2}

- name: Leave the number of hosts to people
  flotilla.ec2.group_scaling:
    name: shop-production-web
"""

RETURN = r"""
made:
  description: Names of the policies, scheduled actions and hooks that were made or changed.
  returned: always
  type: list
  elements: str
  sample: [flotilla-cpu]
removed:
  description: Names of those that were taken away.
  returned: always
  type: list
  elements: str
  sample: [flotilla-schedule-morning]
"""

try:
    import botocore.exceptions
except ImportError:
    pass  # AnsibleAWSModule says so

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import common, group_scaling

REQUESTS = {
    "per_minute": {"type": "int", "required": True},
    "load_balancer_arn": {"type": "str", "required": True},
    "target_group_arn": {"type": "str", "required": True},
}
TIME = {
    "name": {"type": "str", "required": True},
    "cron": {"type": "str", "required": True},
    "time_zone": {"type": "str", "default": "Etc/UTC"},
    "min": {"type": "int", "required": True},
    "desired": {"type": "int"},
}
SCALING = {
    "cpu_percent": {"type": "int"},
    "requests": {"type": "dict", "options": REQUESTS},
    "warmup_seconds": {"type": "int", "required": True},
    "scale_in": {"type": "bool", "default": True},
    "schedule": {"type": "list", "elements": "dict", "default": [], "options": TIME},
    "leave_seconds": {"type": "int", "default": 0},
}
SPECIFICATION = {"name": {"type": "str", "required": True}, "scaling": {"type": "dict", "options": SCALING}}


def bring(autoscaling, group: str, wanted: dict | None, check: bool) -> dict:
    """Bring the group's scaling to what is wanted."""
    steps = group_scaling.steps(group, group_scaling.find(autoscaling, group), wanted)
    if not check:
        common.take(autoscaling, steps)
    names = [(method, next(value for key, value in parameters.items() if key != "AutoScalingGroupName")) for method, parameters in steps]
    made = sorted({name for method, name in names if method.startswith("put_")})
    return {"changed": bool(steps), "made": made, "removed": sorted({name for method, name in names if method.startswith("delete_")} - set(made))}


def main() -> None:
    module = AnsibleAWSModule(argument_spec=SPECIFICATION, supports_check_mode=True)
    try:
        module.exit_json(**bring(module.client("autoscaling"), module.params["name"], module.params["scaling"], module.check_mode))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Scaling of {module.params['name']}")


if __name__ == "__main__":
    main()
