#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

# This file documents the action plugin of the same name, which does the work on the control node.

from __future__ import annotations

DOCUMENTATION = r"""
module: strategy_check
short_description: Refuse a change of strategy that would take a service's traffic away
version_added: 0.1.0
description:
  - A service whose current release serves on its green colour loses port, target group and rule of that colour when its strategy is no longer
    blue_green. The task fails then, before anything is changed. It changes nothing itself.
options:
  model:
    description: The model of the stack, as M(flotilla.ec2.stack) gives it.
    type: dict
    required: true
attributes:
  check_mode:
    support: full
    description: Reads only.
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: See that no traffic is taken away
  flotilla.ec2.strategy_check:
    model: "{{ ansible_facts['flotilla'] }}"
"""

RETURN = r"""
live:
  description: The colour on which each service that has been released serves.
  returned: success
  type: dict
  sample: {web: green}
"""
