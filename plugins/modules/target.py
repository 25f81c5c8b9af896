#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: target
short_description: Put an instance into a target group or take it out, and wait until that is so
version_added: 0.1.0
description:
  - V(absent) deregisters the target and waits until it no longer drains. V(present) registers it, also while it still drains, and waits until
    it has been healthy for O(healthy_seconds) on end.
  - Unlike M(community.aws.elb_target) it has a check mode, never skips a draining target, and fails with the load balancer's own reason.
  - Runs on the control node for whichever host the task is for. This is an action plugin.
options:
  state:
    description: Whether the target shall serve.
    type: str
    choices: [present, absent]
    default: present
  target_group_arn:
    description: The target group.
    type: str
    required: true
  target:
    description: The instance's id. By default the name of the host that the task is for.
    type: str
  port:
    description: The port on the instance.
    type: int
    required: true
  region:
    description: The region of the target group.
    type: str
    required: true
  deadline_seconds:
    description: How long to wait in all before the task fails.
    type: int
    default: 120
  healthy_seconds:
    description: For how long the target must have been healthy without a break.
    type: int
    default: 0
  settle:
    description: With V(present), do not count that the target was healthy before; for a service that was restarted while it was registered.
    type: bool
    default: false
  wait:
    description: Whether V(absent) waits until the target no longer drains.
    type: bool
    default: true
  min_healthy:
    description: With V(absent), refuse to take a healthy target out when fewer than so many others are healthy, after waiting 30 seconds for them.
    type: int
    default: 0
  together:
    description: Targets that leave service at the same time; they do not count for O(min_healthy).
    type: list
    elements: str
    default: []
  postpone:
    description: With V(absent), leave a target in service that cannot be spared by those that leave with it (O(together)), C(postponed), instead of
      waiting and failing. As many of these as can be leave.
    type: bool
    default: false
  refused:
    description: Why the target must be left as it is; the task fails with it.
    type: str
    default: ""
  unless_leaving:
    description: With V(present), fail at once when the instance's Auto Scaling group is ending it.
    type: bool
    default: false
  lock:
    description: Name and token of the release lock that must still be held before anything is done.
    type: dict
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
    description: Says whether the target would be registered or deregistered.
    support: full
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Take the host out of service
  flotilla.ec2.target:
    state: absent
    target_group_arn: "{{ target_group }}"
    port: 8080
    region: eu-central-1

- name: Put it back, and wait until it has been healthy for five seconds
  flotilla.ec2.target:
    target_group_arn: "{{ target_group }}"
    port: 8080
    region: eu-central-1
    healthy_seconds: 5
"""

RETURN = r"""
health:
  description: C(state), C(reason) and C(description) as the load balancer gives them; before the task for V(absent), after it for V(present).
  returned: success
  type: dict
left_alone:
  description: Nothing was done with the target, because of O(min_healthy), O(unless_leaving) or O(lock).
  returned: failure
  type: bool
lock_lost:
  description: The release lock is not held any more.
  returned: failure
  type: bool
seconds:
  description: How long it took.
  returned: success
  type: float
"""
