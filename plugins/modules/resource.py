#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This file documents the action plugin of the same name, which does the work on the control node.

from __future__ import annotations

DOCUMENTATION = r"""
module: resource
short_description: Run one AWS module in the controller's process, with a true plan in check mode
version_added: 0.1.0
author:
  - Flotilla maintainers (@flotilla)
description:
  - Takes one AWS module by its full name with its arguments, runs it in the process of the task and returns the module's own result.
    This saves the second that starting Python and boto3 costs in each task.
  - The region is taken from the model (C(ansible_facts['flotilla'].environment.region)) unless the arguments name one.
  - In check mode the module runs as it would, but its first API call that writes is not sent and ends it with C(changed=true) and the call's
    parameters as the difference. So the prediction is true for modules without check mode too.
  - Ids that are not known yet are C((known after provision)) in the result. A module whose arguments contain such an id is not run further than
    its first API call, and is predicted to change.
  - Processes that a release has suspended in an Auto Scaling group are never resumed or suspended through this action.
options:
  module:
    description:
      - Not a key of its own. The full name of the module is the key, its arguments are the value, for example C(amazon.aws.ec2_vpc_net).
    type: dict
  known_after:
    description:
      - Ids that later tasks read and that the module's result lacks in check mode, as a dotted path in the result.
      - The value is the place where the module's reads show the id of a thing that exists, in JMESPath.
      - The modules that this collection uses are known already.
    type: dict
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
"""

EXAMPLES = r"""
- name: Make the network
  flotilla.ec2.resource:
    amazon.aws.ec2_vpc_net:
      name: hello-local
      cidr_block: 198.18.0.0/16
  register: network

- name: Make its internet gateway
  flotilla.ec2.resource:
    amazon.aws.ec2_vpc_igw:
      vpc_id: "{{ network.vpc.id }}"
"""

RETURN = r"""
msg:
  description: In check mode, the call that would be made.
  returned: in check mode, when something would change
  type: str
  sample: Would call ec2 CreateVpc.
"""
