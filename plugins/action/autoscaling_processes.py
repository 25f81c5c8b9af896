# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Suspend and resume Auto Scaling processes; documented in plugins/modules/autoscaling_processes.py."""

from __future__ import annotations

from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, lock, processes
from ansible_collections.flotilla.ec2.plugins.modules.autoscaling_processes import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction


class ActionModule(ReleaseAction):
    """Suspend with a note in the lock, resume what the note says."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        region = arguments["region"]
        autoscaling, ssm = api.client("autoscaling", region), api.client("ssm", region)
        name, token = arguments["lock"]["name"], arguments["lock"]["token"]
        try:
            noted = lock.held_by(ssm, name, token).get("suspended") or {}
        except lock.LockLost:
            if arguments["state"] == "suspended":
                raise
            noted = {}  # whoever has the lock now has the note too, and resumes
        if arguments["state"] == "resumed":
            return self._resume(autoscaling, noted)
        groups = api.auto_scaling_groups(autoscaling, arguments["groups"])
        wanted = {group: processes.to_suspend(row["suspended"], arguments["processes"]) for group, row in groups.items()}
        wanted = {group: rows for group, rows in wanted.items() if rows}
        if not self.check and wanted:
            lock.note(ssm, name, token, suspended=processes.merged(noted, wanted))
            for group, rows in wanted.items():
                autoscaling.suspend_processes(AutoScalingGroupName=group, ScalingProcesses=rows)
        # Not a change of the system: what is suspended here is resumed before the release ends.
        return {"changed": False, "suspended": processes.merged(noted, wanted)}

    def _resume(self, autoscaling: Any, noted: dict[str, list[str]]) -> dict[str, Any]:
        groups = api.auto_scaling_groups(autoscaling, sorted(noted))
        wanted = {group: processes.to_resume(row["suspended"], noted[group]) for group, row in groups.items()}
        wanted = {group: rows for group, rows in wanted.items() if rows}
        for group, rows in wanted.items():
            if not self.check:
                autoscaling.resume_processes(AutoScalingGroupName=group, ScalingProcesses=rows)
        return {"changed": False, "suspended": wanted}
