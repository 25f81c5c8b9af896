#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_lock
short_description: Hold the release lock of a stack, a lease kept off the hosts
version_added: 0.1.0
description:
  - Takes, extends and gives back a lease in one SSM parameter, so that two releases never run at once and nobody is locked out by a dead one.
  - While the lease is held a small process of its own renews it; it ends with the playbook.
  - A lease whose process on this machine has ended, or that has expired, is taken over at once, with what its owner had suspended noted in it.
  - Runs on the control node for whichever host the task is for. This is an action plugin.
options:
  state:
    description:
      - V(present) takes the lock, V(absent) gives it back and resumes what is still noted in it as suspended, V(noted) writes O(suspended) into it.
    type: str
    choices: [present, absent, noted]
    default: present
  name:
    description: The SSM parameter that is the lock.
    type: str
    required: true
  region:
    description: The region of the parameter.
    type: str
    required: true
  message:
    description: What the lock is held for; shown to whoever finds it held.
    type: str
    default: a release
  token:
    description: The token of the lease that is held; required for V(absent) and V(noted).
    type: str
  force:
    description: Take a lock that a living owner holds. Written down in the new lease.
    type: bool
    default: false
  wait_seconds:
    description: How long to wait for a living owner to end. With 0 the task fails at once, naming owner, message and start.
    type: int
    default: 0
  lease_seconds:
    description: How long the lease lives when nobody renews it. It is renewed four times in that time.
    type: int
    default: 60
  suspended:
    description: Auto Scaling group to the processes suspended in it.
    type: dict
    default: {}
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Take the lock
  flotilla.ec2.deploy_lock:
    name: /flotilla/production/hello/lock
    region: eu-central-1
    message: deploy of v2
  register: lock

- name: Give it back
  flotilla.ec2.deploy_lock:
    state: absent
    name: /flotilla/production/hello/lock
    region: eu-central-1
    token: "{{ lock.lock.token }}"
"""

RETURN = r"""
lock:
  description: The lease as it stands, with C(taken_from) when it was taken over. Empty in check mode and after V(absent).
  returned: success
  type: dict
note:
  description: Whom the lock was taken over from and why; in check mode, who holds it now.
  returned: when there is something to say
  type: str
"""
