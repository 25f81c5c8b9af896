#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: baked_image
short_description: Make a machine image of a fleet's host
version_added: 0.1.0
description:
  - Launches an instance of the fleet's launch template and the environment's image beside the fleet, has it make itself by the fleet's boot bundle without
    starting a service, forget its identity, keys, accounts and logs, and makes an image of it.
  - An instance of that image then shows that it makes a host with an identity of its own. Only then the fleet's parameter names the image; provision.yml
    puts it into the launch template of a fleet with C(image=baked).
  - Older images go with their snapshots, but for those that the launch template or a host of the fleet uses. What a killed bake has left is removed first.
  - When it fails, the instances are ended and the image is removed; the fleet is never touched.
  - Runs on the control node for whichever host the task is for. This is an action plugin.
options:
  state:
    description: C(present) makes another image; C(absent) removes all images of the stack's fleets, and instances of bakes that were killed.
    type: str
    choices: [present, absent]
    default: present
  model:
    description: The model that M(flotilla.ec2.stack) has made.
    type: dict
    required: true
  fleet:
    description: The fleet. May be left out when the stack has one. Not used with C(state=absent).
    type: str
    default: ""
  keep:
    description: How many images of a fleet are kept, the new one among them.
    type: int
    default: 3
  wait_seconds:
    description: How long each step may take, in seconds; the longest is that AWS makes the image.
    type: int
    default: 1800
attributes:
  check_mode:
    description: Says what would be done; nothing is launched.
    support: full
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Bake
  flotilla.ec2.baked_image:
    model: "{{ ansible_facts['flotilla'] }}"
    fleet: web
"""

RETURN = r"""
pointer:
  description: What the fleet's parameter says now; empty in check mode and with C(state=absent).
  returned: success
  type: dict
  sample: {format: 1, image: ami-0123456789abcdef0, name: hello-production-web-20260101T100000Z, when: "2026-01-01T10:00:00+00:00",
    base: {id: ami-0fedcba9876543210, name: debian-12-amd64-20251201}, releases: {web: 7}}
removed:
  description: Images and instances that were removed, or would be.
  returned: success
  type: list
  elements: str
text:
  description: What was done, for people.
  returned: success
  type: str
"""
