#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: release_history
short_description: Say what was released, taken back and refused
version_added: 0.1.0
description:
  - The records of a stack's services, newest first, as data and as one page of text - who, from where, when, what, how long each phase and host took,
    what became of it and why.
  - Changes nothing. Runs on the control node for whichever host the task is for. This is an action plugin.
options:
  model:
    description: The model of the stack, as M(flotilla.ec2.stack) gives it.
    type: dict
    required: true
  service:
    description: One service only.
    type: str
  limit:
    description: How many are printed of each service.
    type: int
    default: 20
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Ask for the last five
  flotilla.ec2.release_history:
    model: "{{ ansible_facts['flotilla'] }}"
    limit: 5
"""

RETURN = r"""
text:
  description: One page.
  returned: success
  type: str
services:
  description: Service to C({pointer, events}), the events newest first.
  returned: success
  type: dict
"""
