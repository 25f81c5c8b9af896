#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: listener_rules
short_description: Rules of a listener whose weights belong to somebody else
version_added: 0.1.0
author:
  - Flotilla maintainers (@flotilla)
description:
  - Makes the rules of an Application Load Balancer's listener that forward to target groups. Rules that are not named are deleted.
  - A rule with two target groups shares its requests out by weight. The weights belong to releases. They begin with all for the first group, and
    stay as they are found ever after.
  - M(amazon.aws.elb_application_lb) restates the weights of the rules that it is given, and so takes back what a release has shifted.
options:
  load_balancer_arn:
    description: ARN of the load balancer.
    type: str
    required: true
  port:
    description: Port of the listener, which must exist.
    type: int
    required: true
  rules:
    description: The rules.
    type: list
    elements: dict
    required: true
    suboptions:
      priority:
        description: Its priority; rules are tried from the lowest on.
        type: int
        required: true
      hosts:
        description: Host names that it is for.
        type: list
        elements: str
        default: []
      paths:
        description: Paths that it is for.
        type: list
        elements: str
        default: []
      target_groups:
        description: One or two ARNs of target groups.
        type: list
        elements: str
        required: true
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
- name: Share what comes for the shop out over two target groups
  flotilla.ec2.listener_rules:
    load_balancer_arn: "{{ balancer.load_balancer_arn }}"
    port: 443
    rules:
      - priority: 1
        paths: [/shop/*]
        target_groups: ["{{ blue.target_group_arn }}", "{{ green.target_group_arn }}"]
"""

RETURN = r"""
rules:
  description: Priority and ARN of each rule.
  returned: always
  type: list
  elements: dict
  sample: [{priority: "1", arn: "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener-rule/app/shop/0123/4567/89ab"}]
"""

try:
    import botocore.exceptions
except ImportError:
    pass  # AnsibleAWSModule says so

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import common, listener

RULE = {
    "priority": {"type": "int", "required": True},
    "hosts": {"type": "list", "elements": "str", "default": []},
    "paths": {"type": "list", "elements": "str", "default": []},
    "target_groups": {"type": "list", "elements": "str", "required": True},
}
SPECIFICATION = {
    "load_balancer_arn": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "rules": {"type": "list", "elements": "dict", "required": True, "options": RULE},
}


def rules(elbv2, wanted: dict, check: bool) -> dict:
    """Bring the listener's rules to what is wanted."""
    arn = listener.find_listener(elbv2, wanted["load_balancer_arn"], wanted["port"])
    current = listener.rules_of(elbv2, arn)
    steps = listener.steps(arn, current, wanted["rules"])
    if steps and not check:
        common.take(elbv2, steps)
        current = listener.rules_of(elbv2, arn)
    return {"changed": bool(steps), "rules": [{"priority": rule["Priority"], "arn": rule["RuleArn"]} for rule in current]}


def main() -> None:
    module = AnsibleAWSModule(argument_spec=SPECIFICATION, supports_check_mode=True)
    try:
        module.exit_json(**rules(module.client("elbv2"), module.params, module.check_mode))
    except ValueError as error:
        module.fail_json(msg=str(error))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Rules of the listener on port {module.params['port']}")


if __name__ == "__main__":
    main()
