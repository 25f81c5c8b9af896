#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: release_status
short_description: Say what runs where, and whether it is what the records say
version_added: 0.1.0
description:
  - Pointer, target health, Auto Scaling processes and the lock of a stack, together with what was seen on its hosts, as data and as one page of text.
  - Changes nothing. Runs on the control node for whichever host the task is for. This is an action plugin.
options:
  model:
    description: The model of the stack, as M(flotilla.ec2.stack) gives it.
    type: dict
    required: true
  seen:
    description: Host to C({reachable, message, zone, services}), where C(services) is what M(flotilla.ec2.service_info) says of each service.
    type: dict
    required: true
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Ask for the status
  flotilla.ec2.release_status:
    model: "{{ ansible_facts['flotilla'] }}"
    seen: "{{ seen }}"
"""

RETURN = r"""
text:
  description: One page.
  returned: success
  type: str
status:
  description: The same as data, by service.
  returned: success
  type: dict
problems:
  description: What is not as the records say.
  returned: success
  type: list
  elements: str
"""
