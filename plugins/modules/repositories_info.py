#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: repositories_info
short_description: Find image repositories that must exist
version_added: 0.1.0
author:
  - Flotilla maintainers (@flotilla)
description:
  - Finds repositories in Amazon ECR and fails when one of them does not exist, with the names of those that do.
  - It only reads.
options:
  names:
    description: Names of the repositories.
    type: list
    elements: str
    required: true
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
attributes:
  check_mode:
    description: Only reads.
    support: full
"""

EXAMPLES = r"""
- name: Find the repositories of the platform team
  flotilla.ec2.repositories_info:
    names: [todo/app]
"""

RETURN = r"""
repositories:
  description: Names and URIs.
  returned: success
  type: dict
  sample: {"todo/app": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/todo/app"}
"""

try:
    import botocore.exceptions
except ImportError:
    pass  # AnsibleAWSModule says so

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


def main() -> None:
    module = AnsibleAWSModule(argument_spec={"names": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True)
    try:
        pages = module.client("ecr").get_paginator("describe_repositories").paginate()
        there = {one["repositoryName"]: one["repositoryUri"] for page in pages for one in page["repositories"]}
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg="Cannot look at the repositories to adopt")
    missing = [name for name in module.params["names"] if name not in there]
    if missing:
        module.fail_json(
            msg=f"The stack adopts its image repositories, and {', '.join(missing)} cannot be found; there are {', '.join(sorted(there)) or 'none'}. "
            "Name one of them as the service's image, have it made, or leave registry.adopt out."
        )
    module.exit_json(changed=False, repositories={name: there[name] for name in module.params["names"]})


if __name__ == "__main__":
    main()
