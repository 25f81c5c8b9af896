#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: run_playbook
short_description: Run a playbook with the inventory and the options of this one
version_added: 0.1.0
description:
  - For a playbook that is run as often as a list says, which C(import_playbook) cannot do. Its output is shown while it runs.
  - It gets the inventory, the extra variables, the vault options, C(--check) and C(--diff) of the running ansible-playbook.
  - Runs on the control node. This is an action plugin.
options:
  playbook:
    description: The playbook, its file or the full name that a collection gives it.
    type: str
    required: true
  variables:
    description: Extra variables; they go before those of the command line.
    type: dict
    default: {}
attributes:
  check_mode:
    description: The playbook runs with C(--check).
    support: full
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Deploy one service after the other
  flotilla.ec2.run_playbook:
    playbook: "{{ playbook_dir }}/deploy.yml"
    variables: {release_service: "{{ item }}"}
  loop: [api, client]
"""

RETURN = r"""
rc:
  description: The playbook's exit code.
  returned: always
  type: int
"""
