#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: listener_weights
short_description: Share the requests of a listener's rule out over its target groups
version_added: 0.1.0
author:
  - Flotilla maintainers (@flotilla)
description:
  - Sets the weights of a rule that forwards to several target groups, and nothing else of the load balancer.
options:
  rule_arn:
    description: ARN of the rule.
    type: str
    required: true
  weights:
    description: Weight of each target group of the rule, by its ARN; 0 to 999, at least one above 0.
    type: dict
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
- name: Give the green target group a tenth
  flotilla.ec2.listener_weights:
    rule_arn: "{{ rule }}"
    weights: "{{ {blue.target_group_arn: 90, green.target_group_arn: 10} }}"
"""

RETURN = r"""
before:
  description: The weights as they were.
  returned: always
  type: dict
  sample: {"arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/shop-blue/0123": 100}
"""

try:
    import botocore.exceptions
except ImportError:
    pass  # AnsibleAWSModule says so

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import listener

MAXIMUM = 999  # TargetGroupTuple in the API reference: "The range is 0 to 999."


def numbers(weights: dict) -> dict:
    """The weights as numbers. ValueError for one that is none."""
    found = {}
    for arn, weight in weights.items():
        if not str(weight).isdigit() or int(weight) > MAXIMUM:
            raise ValueError(f"weights: {weight!r} of {arn} is not possible; give a whole number from 0 to {MAXIMUM}")
        found[arn] = int(weight)
    return found


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={"rule_arn": {"type": "str", "required": True}, "weights": {"type": "dict", "required": True}}, supports_check_mode=True
    )
    try:
        weights = numbers(module.params["weights"])
        changed, before = listener.shift(module.client("elbv2"), module.params["rule_arn"], weights, check=module.check_mode)
        module.exit_json(changed=changed, before=before)
    except ValueError as error:
        module.fail_json(msg=str(error))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Weights of {module.params['rule_arn']}")


if __name__ == "__main__":
    main()
