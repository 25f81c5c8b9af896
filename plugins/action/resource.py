# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run one stock AWS module in the worker's own process, and plan truly in check mode; see plugins/modules/resource.py."""

from __future__ import annotations

import importlib
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import resource

OPTIONS = ("known_after",)
# What most stacks are made of; others are read when they are needed.
SERVICES = ("ec2", "elbv2", "autoscaling", "iam", "rds", "secretsmanager", "ecr", "s3")

# Loaded here so that the controller loads them once and each task's process inherits them: the second of start-up that a task pays otherwise.
for _name in ("boto3", "botocore.client", "ansible_collections.amazon.aws.plugins.module_utils.modules"):
    try:
        importlib.import_module(_name)
    except ImportError:
        pass  # The module says what is missing.
try:
    resource.warm(SERVICES)
except Exception as error:  # It would only have saved time.
    Display().vvv(f"flotilla.ec2.resource: the services' descriptions could not be loaded before: {error}")


class ActionModule(ActionBase):
    """flotilla.ec2.resource"""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        given = resource.plain(self._task.args, arguments=True)
        options = {key: given.pop(key) for key in OPTIONS if key in given}
        if len(given) != 1 or next(iter(given)).count(".") != 2:
            raise AnsibleActionFail(f"flotilla.ec2.resource takes one module by its full name with its arguments; seen: {', '.join(given) or 'none'}.")
        name, arguments = next(iter(given.items()))
        model = (task_vars or {}).get("ansible_facts", {}).get("flotilla") or {}
        region = model.get("environment", {}).get("region")
        arguments = {**({"region": str(region)} if region else {}), **(arguments or {})}
        result = resource.run(
            name,
            arguments,
            check=self._task.check_mode,
            diff=self._task.diff,
            no_log=bool(self._task.no_log),
            **options,
        )
        if not self._task.diff:
            result.pop("diff", None)
        return result
