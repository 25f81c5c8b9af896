#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_capacity
short_description: Give a fleet another number of hosts
version_added: 0.1.0
description:
  - Sets the desired capacity of a fleet's Auto Scaling group, between the smallest and the largest number that the stack and the group allow. Anything else
    is refused with the way out, and nothing is changed.
  - Does not wait for the hosts. A fleet with policies goes on from the number that was set.
  - Runs on the control node for whichever host the task is for. This is an action plugin.
options:
  model:
    description: The model that M(flotilla.ec2.stack) has made.
    type: dict
    required: true
  fleet:
    description: The fleet. May be left out when the stack has one.
    type: str
    default: ""
  count:
    description: The number of hosts. A string, as C(-e count=3) gives it.
    type: str
    default: ""
attributes:
  check_mode:
    description: Says what would be changed.
    support: full
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Have three hosts
  flotilla.ec2.fleet_capacity:
    model: "{{ ansible_facts['flotilla'] }}"
    fleet: web
    count: "3"
"""

RETURN = r"""
before:
  description: The number of hosts that was wanted before.
  returned: success
  type: int
after:
  description: The number that is wanted now; in check mode, that would be.
  returned: success
  type: int
fleet:
  description: The name of the fleet.
  returned: success
  type: str
text:
  description: The change, for people.
  returned: success
  type: str
"""
