#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: patch_plan
short_description: Work out what patching a fleet will do, and tell what it has done
version_added: 0.1.0
description:
  - Stage V(request) checks what is asked for and looks up the fleet, its services as they serve now, and its hosts. Stage V(plan) adds what the hosts have
    said and their target groups, and decides what is done to which, in place. Stage V(end) puts together what became of each, and fails when one has failed.
  - Changes nothing. Whatever speaks against it fails the task with all reasons and their fixes.
  - Runs on the control node for whichever host the task is for. This is an action plugin.
options:
  stage:
    description: Which of the three.
    type: str
    choices: [request, plan, end]
    required: true
  model:
    description: The model of the stack, as M(flotilla.ec2.stack) gives it.
    type: dict
  fleet:
    description: The fleet. May be left out when the stack has one.
    type: str
    default: ""
  how:
    description: V(refresh) replaces the hosts by new ones, V(in_place) patches those that there are.
    type: str
    default: refresh
  packages:
    description: In place, which packages are upgraded, V(security), V(all) or V(none).
    type: str
    default: security
  reboot:
    description: In place, V(when_required), V(always) or V(never).
    type: str
    default: when_required
  min_healthy:
    description: How many hosts must stay in service, instead of each service's own C(min_healthy).
    type: str
    default: ""
  warmup_seconds:
    description: How long a new host may take until it serves. With 0, what the fleet's C(scaling) says, else 300.
    type: int
    default: 0
  alarms:
    description: CloudWatch alarms, besides those of the services' C(release.alarms).
    type: list
    elements: str
    default: []
  request:
    description: What V(request) has returned.
    type: dict
  hosts:
    description: For V(end), the hosts that were to be patched.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: The plan says that nothing is changed, and names no host to be patched.
    support: full
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: See what is asked for
  flotilla.ec2.patch_plan:
    stage: request
    model: "{{ ansible_facts['flotilla'] }}"
    fleet: web
    how: in_place
  register: asked
"""

RETURN = r"""
request:
  description: What is asked for, C(fleet), C(group), C(how), C(hosts), C(services), C(alarms) and more.
  returned: stage V(request)
  type: dict
plan:
  description: C(steps) by host, C(hosts) that are patched, in order, and C(text), for people.
  returned: stage V(plan)
  type: dict
text:
  description: What became of each host, for people.
  returned: stage V(end)
  type: str
"""
