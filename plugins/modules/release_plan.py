#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: release_plan
short_description: Work out what a release will do, and refuse it while nothing has been changed
version_added: 0.1.0
description:
  - Stage V(request) looks up the tag in ECR, the pointer, the records and the stack's outputs. Stage V(plan) adds what was seen on the hosts and
    in the target group, and decides the release's number, its batches and each host's way back.
  - Changes nothing. Whatever speaks against the release fails the task with all reasons and their fixes.
  - Runs on the control node for whichever host the task is for. This is an action plugin.
options:
  stage:
    description: Which of the two.
    type: str
    choices: [request, plan]
    required: true
  verb:
    description: V(deploy) goes to O(tag), V(rollback) to an earlier release, V(restart) to the current one again.
    type: str
    choices: [deploy, rollback, restart]
    default: deploy
  model:
    description: The model of the stack, as M(flotilla.ec2.stack) gives it.
    type: dict
  service:
    description: The service to release; not needed in a stack with only one.
    type: str
  tag:
    description: The tag or the digest (C(sha256:…)) to deploy. Without it, the tag is O(revision).
    type: str
  rollback_to:
    description: The number of the release to go back to; by default the one before the current.
    type: str
  revision:
    description: The source revision of the image, for the record.
    type: str
  irreversible:
    description: Nobody goes back past the migration of this release. A snapshot of the database is taken first.
    type: bool
    default: false
  past_irreversible:
    description: Go back past such a migration, for the data are as they were before it.
    type: bool
    default: false
  message:
    description: Why it is released, for the record.
    type: str
  request:
    description: What stage V(request) has returned.
    type: dict
  environment:
    description: The service's environment with its references resolved. Not used by a rollback, which has that of its record.
    type: dict
  seen:
    description: Host to C({reachable, message, zone, service}), where C(service) is what M(flotilla.ec2.service_info) says of it.
    type: dict
  min_healthy:
    description: How many hosts must stay in service, instead of the service's own C(min_healthy).
    type: int
  hooks:
    description: The points of the release at which the user's own tasks are run.
    type: list
    elements: str
    default: []
  lock_note:
    description: What there is to say of the lock, for the page that is printed - who holds it, or whom it was taken from.
    type: str
  taken_from:
    description: Whom the lock was taken from, for the record.
    type: dict
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Look up what is asked for
  flotilla.ec2.release_plan:
    stage: request
    model: "{{ ansible_facts['flotilla'] }}"
    tag: v2
  register: request
"""

RETURN = r"""
request:
  description: What was asked for, with what the registry and the records say of it.
  returned: stage request
  type: dict
plan:
  description: C(number), C(steps), C(batches), C(sizes), C(acting), C(unchanged), C(text), C(record), C(ways_back).
  returned: stage plan
  type: dict
"""
