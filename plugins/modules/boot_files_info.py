#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: boot_files_info
short_description: Read what makes a host of a fleet one
version_added: 0.1.0
description:
  - Collects the packages, accounts, files and releases of a host, as its roles name them in C(/etc/flotilla/manifest.d), for
    M(flotilla.ec2.boot_bundle). What is the host's own is left out, and there are no secrets in these files. Changes nothing.
attributes:
  check_mode:
    support: full
    description: Reads only.
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Collect what the host has
  flotilla.ec2.boot_files_info:
  register: collected
"""

RETURN = r"""
boot:
  description: C(packages), C(programs), C(groups), C(users), C(commands), C(directories) and C(files), these with their content in base64; nothing of a host
    that no role has made.
  returned: success
  type: dict
  sample: {packages: [docker.io], programs: {docker: docker-cli}, groups: [], users: [], commands: [], directories: [], files: []}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flotilla.ec2.plugins.module_utils.service import bundle


def main() -> None:
    module = AnsibleModule({}, supports_check_mode=True)
    try:
        module.exit_json(changed=False, boot=bundle.collect())
    except bundle.Incomplete as error:
        if module.check_mode:
            module.exit_json(changed=False, boot={})
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
