#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: service_info
short_description: Tell which release of each service a host runs
version_added: 0.1.0
description:
  - Reads docker, systemd and the releases that lie ready on the host. Changes nothing and does not fail on a host that has none of these.
  - An instance that is just making itself a host is waited for, at most O(boot_seconds); with O(region), one that does not answer ssh yet as well.
options:
  services:
    description: Names of the services; without it, every service that the host has releases of.
    type: list
    elements: str
  boot_seconds:
    description: How long to wait until the instance's first boot is over.
    type: int
    default: 300
  region:
    description:
      - The AWS region of the instance, for a host that does not answer. One that was launched less than O(boot_seconds) ago may not do so yet, and is
        tried until then; when its Auto Scaling group ends it meanwhile, it is said to run nothing.
      - Without it, a host that does not answer is unreachable at once.
    type: str
attributes:
  check_mode:
    support: full
    description: Reads only.
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: See what runs
  flotilla.ec2.service_info:
    services: [web]
  register: seen
"""

RETURN = r"""
services:
  description:
    - By name, C(release) and C(digest) of the running container, C(running), C(unit) (systemd's ActiveState), C(container_id), C(started_at),
      C(prepared) (numbers of the releases that could be started), C(current) (the release that a start of the unit would start) and C(settled) (that
      is what runs, a reboot of the host changes nothing, and nobody is about to stop it).
  returned: always
  type: dict
  sample:
    web: {release: 2, digest: "sha256:1f…", running: true, unit: active, container_id: 3f…, started_at: "2026-01-01T10:00:00Z", prepared: [1, 2],
          current: 2, settled: true}
"""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flotilla.ec2.plugins.module_utils.service import look
from ansible_collections.flotilla.ec2.plugins.module_utils.service.layout import Layout


def known() -> list[str]:
    """The services that have releases on this host."""
    return sorted(path.parent.name for path in Path("/etc/flotilla").glob("*/releases"))


def boots(root: Path = Path("/")) -> bool:
    """Whether this instance's first boot, or its own way to a host, goes on."""
    first = (root / "run/cloud-init/enabled").exists() and not (root / "var/lib/cloud/instance/boot-finished").exists()
    return first or (root / "run/flotilla/booting").exists()


def main() -> None:
    module = AnsibleModule(
        {"services": {"type": "list", "elements": "str"}, "boot_seconds": {"type": "int", "default": 300}, "region": {}}, supports_check_mode=True
    )
    deadline = time.monotonic() + module.params["boot_seconds"]
    while boots() and time.monotonic() < deadline:
        time.sleep(0.5)
    names = module.params["services"] if module.params["services"] is not None else known()
    module.exit_json(changed=False, services=look.services([Layout(name) for name in names]))


if __name__ == "__main__":
    main()
