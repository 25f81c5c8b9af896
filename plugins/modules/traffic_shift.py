#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

# This file documents the action plugin of the same name, which does the work on the control node.

from __future__ import annotations

DOCUMENTATION = r"""
module: traffic_shift
short_description: Shift a service's requests from one colour to the other, under watch
version_added: 0.1.0
description:
  - V(shift) registers the colour's targets, waits until all are healthy, and gives the colour its shares of the requests one after the other. While a
    share bakes, the colour's targets, the alarms named and CloudWatch's figures of both target groups are watched; when a limit is passed, all requests
    go back to the live colour at once. What became of it is returned, the task does not fail for it.
  - Hosts that their Auto Scaling group is ending, or finds unhealthy and replaces, are neither waited for nor registered.
  - V(idle) makes the colour ready to be started anew. Requests that a release which was given up has left with it go back to the live colour, and its
    targets leave their target group on the hosts on which it is to be started, so that no health of a former release counts.
options:
  stage:
    description: What is to be done.
    type: str
    choices: [idle, shift]
    default: shift
  traffic:
    description: The traffic's part of the plan, as M(flotilla.ec2.release_plan) returns it.
    type: dict
    required: true
  region:
    description: The AWS region.
    type: str
    required: true
  hosts:
    description: Instance ids of all hosts of the service.
    type: list
    elements: str
    required: true
  failures:
    description: Host and reason, of the hosts on which the colour did not start. With any, nothing is shifted.
    type: dict
    default: {}
  deadline_seconds:
    description: Time within which all targets must be healthy.
    type: float
    default: 120
  healthy_seconds:
    description: Time for which they must be healthy on end.
    type: float
    default: 0
  drain_seconds:
    description: Time that requests to a colour that is made idle get to end.
    type: float
    default: 0
  lock:
    description: The release lock, C(name) and C(token). Without it no share is given.
    type: dict
    required: true
attributes:
  check_mode:
    support: full
    description: Says whether weights would change.
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Shift the traffic
  flotilla.ec2.traffic_shift:
    traffic: "{{ plan['traffic'] }}"
    region: eu-central-1
    hosts: [i-0123456789abcdef0, i-0123456789abcdef1]
    lock: {name: /flotilla/production/shop/lock, token: "{{ lock.token }}"}
  register: shifted
"""

RETURN = r"""
shift:
  description:
    - C(outcome) V(shifted), V(failed) (before any request was shifted), V(breached) (a limit was passed, all requests are back) or V(stuck) (the weights
      could not be set); C(reason), C(evidence) (lines), C(steps) (each share with its seconds and figures), C(back_seconds), C(departed) (the hosts that
      their group has begun to end meanwhile).
  returned: with stage shift
  type: dict
  sample: {outcome: shifted, reason: "", evidence: [], steps: [{share: 100, seconds: 60.2}], departed: []}
"""
