#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: adopted_network_info
short_description: Find a VPC that exists and check that a stack fits into it
version_added: 0.1.0
author:
  - Flotilla maintainers (@flotilla)
description:
  - Finds a VPC and its public and private subnets, by id or by tags.
  - Fails with all that does not fit. Subnets of each kind must be in two zones at least, public ones with a route to an internet gateway and
    private ones with a route to a NAT gateway, with free addresses; and names must resolve in the VPC.
  - It only reads.
options:
  vpc:
    description: The VPC, C(id) or C(tags).
    type: dict
    required: true
  public_subnets:
    description: Its public subnets, C(ids) or C(tags).
    type: dict
    required: true
  private_subnets:
    description: Its private subnets, C(ids) or C(tags).
    type: dict
    required: true
  free_addresses:
    description: Addresses that each subnet must have left. A load balancer wants eight.
    type: int
    default: 8
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
attributes:
  check_mode:
    description: Only reads.
    support: full
"""

EXAMPLES = r"""
- name: Find the VPC of the platform team
  flotilla.ec2.adopted_network_info:
    vpc: {tags: {Name: main}}
    public_subnets: {tags: {Tier: public}}
    private_subnets: {tags: {Tier: private}}
"""

RETURN = r"""
vpc_id:
  description: Id of the VPC.
  returned: success
  type: str
  sample: vpc-0123456789abcdef0
cidr_block:
  description: Its addresses.
  returned: success
  type: str
  sample: 10.0.0.0/16
public_subnets:
  description: Ids and zones of its public subnets.
  returned: success
  type: list
  sample: [{id: subnet-0123456789abcdef0, zone: eu-central-1a}]
private_subnets:
  description: Ids and zones of its private subnets.
  returned: success
  type: list
  sample: [{id: subnet-0123456789abcdef1, zone: eu-central-1a}]
"""

try:
    import botocore.exceptions
except ImportError:
    pass  # AnsibleAWSModule says so

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import adopted_network

SPECIFICATION = {
    "vpc": {"type": "dict", "required": True},
    "public_subnets": {"type": "dict", "required": True},
    "private_subnets": {"type": "dict", "required": True},
    "free_addresses": {"type": "int", "default": 8},
}


def main() -> None:
    module = AnsibleAWSModule(argument_spec=SPECIFICATION, supports_check_mode=True)
    try:
        found = adopted_network.look(module.client("ec2"), module.params)
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg="Cannot look at the network to adopt")
    problems = adopted_network.problems(found, module.params, module.params["free_addresses"])
    if problems:
        module.fail_json(msg="The network that the stack should adopt does not fit; nothing has been changed:\n" + "\n".join(f"  - {one}" for one in problems))
    module.exit_json(changed=False, **adopted_network.summary(found))


if __name__ == "__main__":
    main()
