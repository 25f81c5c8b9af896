#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: autoscaling_processes
short_description: Suspend the Auto Scaling processes that fight a release, and resume just those
version_added: 0.1.0
description:
  - What is to be suspended is written into the release lock before it is suspended, so that the next run can resume it after a crash.
  - What somebody else has suspended stays as it is. Whoever takes the lock over takes the note over, so that without the lock nothing is resumed.
  - Runs on the control node for whichever host the task is for. This is an action plugin.
options:
  state:
    description: Whether the processes shall be suspended or run.
    type: str
    choices: [suspended, resumed]
    required: true
  groups:
    description: The names of the Auto Scaling groups. Used by V(suspended) only; V(resumed) goes by the note in the lock.
    type: list
    elements: str
    default: []
  processes:
    description: The processes.
    type: list
    elements: str
    default: [AZRebalance, AlarmNotification, HealthCheck, ReplaceUnhealthy, ScheduledActions]
  region:
    description: The region of the groups.
    type: str
    required: true
  lock:
    description: Name and token of the release lock that carries the note.
    type: dict
    required: true
    suboptions:
      name:
        description: The SSM parameter.
        type: str
        required: true
      token:
        description: The token of the lease.
        type: str
        required: true
attributes:
  check_mode:
    description: Says what would be suspended or resumed.
    support: full
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Keep Auto Scaling from replacing a host that is being released to
  flotilla.ec2.autoscaling_processes:
    state: suspended
    groups: [hello-production-web]
    region: eu-central-1
    lock: {name: /flotilla/production/hello/lock, token: "{{ lock.lock.token }}"}
"""

RETURN = r"""
suspended:
  description: Group to the processes that this release has suspended (V(suspended)) or that were resumed (V(resumed)).
  returned: success
  type: dict
"""
