#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: baked_images_info
short_description: Find the baked images of fleets
version_added: 0.1.0
description:
  - Finds the image that M(flotilla.ec2.baked_image) has made last, of each fleet that wants one (C(image=baked)). A fleet without any is left out; one whose
    image is gone is refused. Changes nothing.
  - Runs on the control node for whichever host the task is for. This is an action plugin.
options:
  model:
    description: The model that M(flotilla.ec2.stack) has made.
    type: dict
    required: true
attributes:
  check_mode:
    support: full
    description: Reads only.
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Find them
  flotilla.ec2.baked_images_info:
    model: "{{ ansible_facts['flotilla'] }}"
  register: baked
"""

RETURN = r"""
images:
  description: Fleet to image, with what a launch template must know of it.
  returned: success
  type: dict
  sample: {web: {image_id: ami-0123456789abcdef0, root_device_name: /dev/xvda, root_volume_gb: 20, when: "2026-01-01T10:00:00+00:00",
    base: {id: ami-0fedcba9876543210, name: debian-12-amd64-20251201}}}
missing:
  description: Fleets that want a baked image and have none yet.
  returned: success
  type: list
  elements: str
"""
