#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: outputs_info
short_description: Read what provisioning made
version_added: 0.1.0
description:
  - Reads the outputs that C(provision.yml) has left in the Parameter Store, and fails when there are none.
  - Changes nothing. Runs on the control node for whichever host the task is for. This is an action plugin.
options:
  model:
    description: The model of the stack, as M(flotilla.ec2.stack) gives it.
    type: dict
    required: true
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Look up what was provisioned
  flotilla.ec2.outputs_info:
    model: "{{ ansible_facts['flotilla'] }}"
  register: provisioned
"""

RETURN = r"""
outputs:
  description: Names and addresses of what was made.
  returned: success
  type: dict
  sample: {bucket: hello-production-123456789012-eu-central-1, registry: 123456789012.dkr.ecr.eu-central-1.amazonaws.com}
"""
