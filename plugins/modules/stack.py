#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack
short_description: Validate a stack file and an environment and build the model
description:
  - Holds the stack file (C(flotilla_stack)) and the environment (C(flotilla_environment)) against their specifications and against each other.
  - Fails with every problem found (the offending key, the value seen and the fix) before anything is changed.
  - Sets the fact C(flotilla), the model that everything else in the collection reads.
  - Runs on the controller; no connection to the host is made.
version_added: 0.1.0
author: flotilla contributors (@flotilla)
options:
  stack:
    description: The stack. Default is the variable C(flotilla_stack), which C(-e @examples/hello/stack.yml) gives.
    type: dict
  environment:
    description: The environment. Default is the variable C(flotilla_environment) of the inventory.
    type: dict
  fleets:
    description:
      - Sizes of fleets that go before both, by fleet.
      - Default is the variable C(flotilla_fleets), a mapping such as C({web - {min - 3}}) given with C(-e).
    type: dict
attributes:
  check_mode:
    description: Nothing is ever changed.
    support: full
"""

EXAMPLES = r"""
- name: Build the model
  flotilla.ec2.stack:
"""

RETURN = r"""
ansible_facts:
  description: The fact C(flotilla).
  returned: success
  type: dict
  contains:
    flotilla:
      description: The model; its keys are described in docs/architecture.md.
      returned: success
      type: dict
problems:
  description: Every problem found.
  returned: failure
  type: list
  elements: str
"""
