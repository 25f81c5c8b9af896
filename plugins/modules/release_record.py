#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: release_record
short_description: Write down a release, move the pointer to it, leave a result file
version_added: 0.1.0
description:
  - The record goes to the stack's bucket as C(releases/<service>/<number>.json), the pointer to an SSM parameter, in this order - pointer, then record -
    so that a release that is killed between the two is found complete by the next run.
  - Runs on the control node for whichever host the task is for. This is an action plugin.
options:
  region:
    description: The region of bucket and parameter.
    type: str
  bucket:
    description: The bucket of the records. Not needed for V(refused) with a O(parameter_root).
    type: str
  parameter_root:
    description: Where the stack's parameters are; its outputs name the bucket.
    type: str
  keep:
    description: How many records are kept when a release has succeeded. Those of the current release and of the one before it are never removed.
    type: int
  service:
    description: The service.
    type: str
  record:
    description: The record; without one only the result file is written.
    type: dict
  outcome:
    description:
      - What became of the release. V(started) is written before its first host is touched.
      - V(refused) writes O(record) as a refusal, below C(releases/<service>/refused/). It has no number, and fails nothing when it cannot be written.
    type: str
    choices: [started, succeeded, failed, refused]
  reason:
    description: Why it failed.
    type: str
  hosts:
    description: Host to C({outcome, seconds}).
    type: dict
    default: {}
  phases:
    description: Phase to seconds.
    type: dict
    default: {}
  verdict:
    description: How a release has ended, C({outcome, reason, hosts, phases, result}), instead of O(outcome), O(reason), O(hosts) and O(phases); its
      C(result) is laid over O(result).
    type: dict
  pointer:
    description: The SSM parameter of the pointer. Given, the pointer is moved to this release, but not by a O(verdict) that it has failed.
    type: str
  lock:
    description: Name and token of the release lock that must still be held before the pointer is moved.
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
  migration:
    description: How far the release's migration is, C({outcome, host, command}); kept in the record, so that one that has succeeded is never run again.
    type: dict
  given_up:
    description: The number of an unfinished release that this one replaces; its record gets the outcome C(failed).
    type: int
  notices:
    description: Who is told of it - C(sns_topic_arn), C(webhook_url), C(event_bus). What cannot be sent is a warning.
    type: dict
  report:
    description: A directory on the control node; a release that ends leaves a page there, its path is in the result as C(report).
    type: str
  story:
    description: What the page tells besides the record - C(stack), C(environment), C(plan), C(timeline), C(decisions), C(target_groups).
    type: dict
  result_file:
    description: A file on the control node, relative to where ansible was started.
    type: str
  result:
    description: What goes into it.
    type: dict
attributes:
  check_mode:
    description: Only the result file is written.
    support: partial
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Begin release 2
  flotilla.ec2.release_record:
    region: eu-central-1
    bucket: hello-production-123456789012-eu-central-1
    service: web
    record: "{{ plan.record }}"
    outcome: started
"""

RETURN = r"""
record:
  description: The record as written.
  returned: when a record is given
  type: dict
result:
  description: What stands in the result file.
  returned: always
  type: dict
"""
