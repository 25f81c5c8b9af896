# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The release lock; documented in plugins/modules/deploy_lock.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.utils.display import Display
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, keeper, lock, processes
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from ansible_collections.flotilla.ec2.plugins.modules.deploy_lock import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction

display = Display()


def keep(held: dict[str, Any], name: str, region: str) -> None:
    """Start the process that renews the lease. In a session of its own: what kills the playbook must not kill it before it has seen that."""
    subprocess.Popen(
        [sys.executable, str(Path(keeper.__file__)), name, held["token"], str(held["pid"]), held["started"] or "", str(held["lease_seconds"] / 4), region],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )


def give_back(ssm: Any, name: str, token: str, autoscaling: Callable[[], Any]) -> None:
    """Give the lock back, and resume what its note still names first: with the lock the note goes, and a verb that suspends nothing itself may have taken it
    over from one that was killed."""
    read = api.read_parameter(ssm, name)
    noted = (read[0].get("suspended") or {}) if read and read[0].get("token") == token else {}
    if noted:
        client = autoscaling()
        for group, row in api.auto_scaling_groups(client, sorted(noted)).items():
            if rows := processes.to_resume(row["suspended"], noted[group]):
                client.resume_processes(AutoScalingGroupName=group, ScalingProcesses=rows)
    lock.release(ssm, name, token)


class ActionModule(ReleaseAction):
    """Take, note into, or give back the lease."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        ssm = api.client("ssm", arguments["region"])
        name, token = arguments["name"], arguments["token"]
        if arguments["state"] == "present":
            return self._take(ssm, name, arguments)
        if not token:
            raise ReleaseError(f"deploy_lock: token is required for state {arguments['state']}.")
        if self.check:
            return {"changed": True, "lock": {}}
        if arguments["state"] == "noted":
            return {"changed": False, "lock": lock.note(ssm, name, token, suspended=arguments["suspended"])}
        # Not reported as a change: taking the lock and giving it back leave the account as it was.
        give_back(ssm, name, token, lambda: api.client("autoscaling", arguments["region"]))
        return {"changed": False, "lock": {}}

    def _take(self, ssm: Any, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if self.check:
            read = api.read_parameter(ssm, name)
            return {"changed": False, "lock": {}, "note": f"held by {lock.describe(read[0])}" if read else ""}
        mine = lock.lease(arguments["message"], self.process(), arguments["lease_seconds"])
        held = lock.acquire_within(ssm, name, mine, arguments["wait_seconds"], force=arguments["force"], tell=display.display)
        keep(held, name, arguments["region"])
        outcome: dict[str, Any] = {"changed": False, "lock": held}
        if "taken_from" in held:
            other = held["taken_from"]
            outcome["note"] = f"taken over from {other['owner']} ({other['message']}, since {other['since']}): {other['reason']}"
        return outcome
