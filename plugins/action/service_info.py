# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell which release of each service a host runs; documented in plugins/modules/service_info.py, which does the work on the host."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, processes
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import Clock
from ansible_collections.flotilla.ec2.plugins.modules.service_info import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.program import ProgramAction
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import spec_of

POLL_SECONDS = 1.0
ASK_SECONDS = 5.0  # between two questions whether the host leaves


def patiently(look: Callable[[], dict[str, Any]], young: Callable[[], float], gone: Callable[[], str], clock: Clock) -> dict[str, Any]:
    """What look returns; while the host does not answer (AnsibleConnectionFailure), tried for as long as it is young (seconds left, asked once).

    A host that leaves meanwhile runs nothing. The last AnsibleConnectionFailure when the time is over.
    """
    deadline: float | None = None
    asked = clock.now()
    while True:
        try:
            return look()
        except AnsibleConnectionFailure:
            deadline = clock.now() + young() if deadline is None else deadline
            if clock.now() >= deadline:
                raise
            if clock.now() - asked >= ASK_SECONDS:
                asked = clock.now()
                if gone():
                    return {"changed": False, "services": {}}
        clock.sleep(POLL_SECONDS)


class ActionModule(ProgramAction):
    """Run it as one program."""

    DOCUMENTATION = DOCUMENTATION
    MODULE = "service_info"

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        region = self._task.args.get("region")
        if not region:
            return super().run(tmp, task_vars)
        host = self._task.delegate_to or (task_vars or {}).get("inventory_hostname", "")
        patience = float(self._task.args.get("boot_seconds", spec_of(DOCUMENTATION)["boot_seconds"]["default"]))

        def look() -> dict[str, Any]:
            try:
                return super(ActionModule, self).run(tmp, task_vars)
            except AnsibleConnectionFailure:
                self._connection.reset()
                raise

        def young() -> float:
            try:
                launched = api.launched(api.client("ec2", region), host)
            except (api.botocore.exceptions.BotoCoreError, api.botocore.exceptions.ClientError):
                return 0.0  # that the host does not answer is the better reason
            return launched + patience - time.time() if launched else 0.0

        def gone() -> str:
            return processes.on_its_way_out("", api.scaling_state(api.client("autoscaling", region), host))

        return patiently(look, young, gone, Clock())
