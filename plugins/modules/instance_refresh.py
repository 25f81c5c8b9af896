#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_refresh
short_description: Replace the hosts of an Auto Scaling group by such of its launch template's newest version, by instance refresh
version_added: 0.1.0
description:
  - Starts an instance refresh that launches before it terminates, so that the group never has fewer hosts than before, and waits until it has ended. A
    refresh that goes on already, because an earlier run was cut off, is taken up and not begun twice.
  - AWS counts a new instance when it runs and has warmed up, whether it serves or not. Each new one is watched here as well. When its group gives it up, or
    it is not healthy in O(target_groups) at the end of its warm-up, the refresh is rolled back and the task fails with what the instance has said in
    O(log_group) or on its console.
  - A refresh can be rolled back only when the group does not use V($Latest). So the group gets the version that its hosts have before, and V($Latest) back
    after a success. After a rollback it keeps the older version, which is then that of new instances too, until a refresh succeeds.
  - Hosts that have the newest version already stay. When all have it, nothing is done.
  - Runs on the control node for whichever host the task is for. This is an action plugin.
options:
  group:
    description: The name of the Auto Scaling group.
    type: str
    required: true
  region:
    description: Its region.
    type: str
    required: true
  target_groups:
    description: ARNs of the target groups in which a new host must be healthy. Without any, hosts count when they are in service.
    type: list
    elements: str
    default: []
  log_group:
    description: The CloudWatch log group in which each instance says, in a stream of its own name, how it became a host.
    type: str
    default: ""
  batch:
    description: How many hosts are launched at a time, besides those that there are.
    type: int
    default: 1
  warmup_seconds:
    description: How long a new host may take from its launch until it serves. The next host is replaced after that, not earlier.
    type: int
    default: 300
  checkpoints:
    description: Percentages of new hosts at which the refresh pauses.
    type: list
    elements: int
    default: []
  checkpoint_seconds:
    description: How long it pauses there.
    type: int
    default: 600
  bake_seconds:
    description: How long O(alarms) are watched after the last host, with the way back open.
    type: int
    default: 0
  alarms:
    description: Names of CloudWatch alarms, ten at most. When one rings, the refresh is rolled back; one that rings before refuses it.
    type: list
    elements: str
    default: []
  title:
    description: The first line of the plan.
    type: str
    default: ""
  poll_seconds:
    description: How long to wait between two looks.
    type: float
    default: 2
attributes:
  check_mode:
    description: Says which hosts would be replaced.
    support: full
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Bring all hosts to what provision has made
  flotilla.ec2.instance_refresh:
    group: hello-production-web
    region: eu-central-1
    target_groups: ["{{ outputs.target_groups.web }}"]
    log_group: /flotilla/production/hello/boot
    warmup_seconds: 180
    checkpoints: [25]
    checkpoint_seconds: 900
    alarms: [shop-checkout-failures]
"""

RETURN = r"""
text:
  description: The plan, for people.
  returned: success
  type: str
replaced:
  description: The hosts that were replaced; in check mode, that would be.
  returned: success
  type: list
  elements: str
version:
  description: The launch template's newest version.
  returned: success
  type: str
hosts:
  description: The hosts at the end.
  returned: when something was changed
  type: list
  elements: str
seconds:
  description: How long it took.
  returned: when something was changed
  type: float
"""
