#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: boot_bundle
short_description: Publish what new instances of a fleet need to become hosts
version_added: 0.1.0
description:
  - Packs what a host has, as M(flotilla.ec2.boot_files_info) has collected it, puts it into the stack's bucket, and has the fleet's parameter name it
    with its SHA-256. User data fetches it. The same content is not published twice; a bundle that was changed in the bucket is published anew.
  - Runs on the control node for whichever host the task is for. This is an action plugin.
options:
  model:
    description: The model of the stack, as M(flotilla.ec2.stack) gives it.
    type: dict
    required: true
  bucket:
    description: The bucket, one of the stack's outputs.
    type: str
    required: true
  fleet:
    description: The fleet.
    type: str
    required: true
  collected:
    description: What hosts of the fleet have, by host. That of the host with the most releases is taken.
    type: dict
    required: true
attributes:
  check_mode:
    support: full
    description: Says whether it would publish.
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Publish it for new instances
  flotilla.ec2.boot_bundle:
    model: "{{ ansible_facts['flotilla'] }}"
    bucket: "{{ provisioned.outputs.bucket }}"
    fleet: web
    collected: {i-0123: "{{ collected.boot }}"}
"""

RETURN = r"""
pointer:
  description: What the fleet's parameter says now; nothing when nothing was published.
  returned: success
  type: dict
  sample: {format: 1, bucket: hello-production-123456789012-eu-central-1, key: boot/web/20260101T100000Z-1f….tar.gz, sha256: 1f…}
bytes:
  description: Size of the bundle.
  returned: success
  type: int
"""
