# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the release actions share. They run in ansible's own process on the control node, whichever host the task is for: no connection,
no second Python, no second import of boto3.
"""

from __future__ import annotations

import gc
import os
import time
from typing import Any

import yaml
from ansible.plugins.action import ActionBase
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from ansible_collections.flotilla.ec2.plugins.plugin_utils import warm  # noqa: F401 - before what is loaded is frozen

# Ansible forks a process for each task and host, all of which would look through (and so copy) what this one holds, whenever they collect garbage:
# an eighth of what a release costs the control node. What is loaded by now stays anyway.
gc.collect()
gc.freeze()

# Ten times as fast as the other where libyaml is there.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SPEC_KEYS = ("type", "required", "default", "choices", "elements")


def spec_of(documentation: str) -> dict[str, Any]:
    """The argument specification that a module's documentation states."""

    def options(written: dict[str, Any]) -> dict[str, Any]:
        spec = {}
        for name, option in written.items():
            spec[name] = {key: option[key] for key in SPEC_KEYS if key in option}
            if "suboptions" in option:
                spec[name]["options"] = options(option["suboptions"])
        return spec

    return options(yaml.load(documentation, Loader=LOADER).get("options") or {})  # noqa: S506 - a safe loader either way


class ReleaseAction(ActionBase):
    """An action whose work is C(act(arguments, variables)) and whose options are those of the module's documentation."""

    TRANSFERS_FILES = False
    _requires_connection = False
    DOCUMENTATION = ""
    POLICY = "deployer"  # below docs/iam, for whom what this does is

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        parent = os.getppid()
        outcome = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=spec_of(self.DOCUMENTATION))
        try:
            outcome.update(self.act(arguments, task_vars or {}))
        except ReleaseError as error:
            outcome.update(failed=True, msg=str(error))
        except Exception as error:
            if not isinstance(error, api.botocore.exceptions.BotoCoreError | api.botocore.exceptions.ClientError):
                raise
            outcome.update(failed=True, msg=refusal(error, self.POLICY))
        outcome["at"] = time.time()
        if os.getppid() != parent:
            os._exit(1)  # ansible-playbook was killed: to hand the outcome to nobody would take for ever
        return outcome

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Do it; the keys returned are the task's result. ReleaseError and botocore's errors fail the task with their text."""
        raise NotImplementedError

    @property
    def check(self) -> bool:
        """Whether nothing may be changed."""
        return bool(self._task.check_mode)

    @staticmethod
    def process() -> int:
        """The process id of ansible-playbook itself: actions run in a worker that it has forked."""
        return os.getppid()


def refusal(error: Exception, policy: str = "deployer") -> str:
    """An error of the API as a sentence with what to look at."""
    code = api.code_of(error)
    operation = getattr(error, "operation_name", "")
    if code in ("ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId", "AccessDenied", "AccessDeniedException"):
        return f"AWS refused {operation}: {error}. Fix: renew the credentials, or give them the permissions of docs/iam/{policy}.json."
    if code:
        return f"AWS answered {operation} with {error}"
    return f"AWS could not be reached: {error}. Fix: look at the network, the credentials, AWS_REGION and AWS_ENDPOINT_URL."
