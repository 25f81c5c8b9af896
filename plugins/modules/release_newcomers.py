#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: release_newcomers
short_description: Find the instances that have come and gone since a release looked at its hosts
version_added: 0.1.0
description:
  - Asks the groups for their instances and names those that are not among O(known); those that leave already are not named.
  - With O(wait_seconds) it waits until EC2 finds them running, so that an inventory lists them.
  - Changes nothing. Runs on the control node for whichever host the task is for. This is an action plugin.
options:
  groups:
    description: The Auto Scaling groups.
    type: list
    elements: str
    required: true
  known:
    description: The hosts that the release knows.
    type: list
    elements: str
    required: true
  region:
    description: The region of the groups.
    type: str
    required: true
  departed:
    description: Whether to tell RV(gone), too. It takes EC2's word on every known host.
    type: bool
    default: true
  wait_seconds:
    description: How long to wait for instances that are pending. One that is pending still is not named then.
    type: int
    default: 60
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Who has come meanwhile?
  flotilla.ec2.release_newcomers:
    groups: [hello-production-web]
    known: [i-0f1, i-0f2]
    region: eu-central-1
"""

RETURN = r"""
gone:
  description: Those of O(known) that their group is ending, or that are terminated.
  returned: when O(departed)
  type: list
  elements: str
hosts:
  description: The ids of those that have come.
  returned: success
  type: list
  elements: str
"""
