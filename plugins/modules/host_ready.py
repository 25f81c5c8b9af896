#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: host_ready
short_description: Wait until an instance answers and its first boot is over, or until it is known that it leaves
version_added: 0.1.0
description:
  - Asks C(cloud-init status) on the host, over and over, until the first boot is over or O(timeout) has passed.
  - First, while the host does not answer, and when its first boot has failed, it asks EC2 and Auto Scaling whether the host is on its way out
    (ended, being ended, or found unhealthy so that its group replaces it). Nothing is waited for then, and the task does not fail.
  - The host is the one that the task is for, or that it is delegated to.
  - Changes nothing; it does the same in check mode. This is an action plugin.
options:
  region:
    description: The region of the instance.
    type: str
    required: true
  timeout:
    description: Seconds until the host must be ready.
    type: int
    default: 300
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Wait until the host is ready
  flotilla.ec2.host_ready:
    region: eu-central-1
  register: ready

- name: Leave out a host that leaves
  ansible.builtin.meta: end_host
  when: ready.gone | length > 0
"""

RETURN = r"""
gone:
  description: Why the host is left out; an empty text for one that is ready.
  returned: success
  type: str
  sample: its Auto Scaling group is ending it (Terminating:Wait)
seconds:
  description: How long it took.
  returned: always
  type: float
"""
