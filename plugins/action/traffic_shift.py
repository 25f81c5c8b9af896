# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Shift a service's requests from one colour to the other; documented in plugins/modules/traffic_shift.py."""

from __future__ import annotations

from typing import Any

from ansible.utils.display import Display
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, lock, processes
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from ansible_collections.flotilla.ec2.plugins.module_utils.release.traffic import Shift
from ansible_collections.flotilla.ec2.plugins.modules.traffic_shift import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction

display = Display()


class ActionModule(ReleaseAction):
    """Make a colour idle, or shift to it."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        region, found = arguments["region"], arguments["traffic"]
        if self.check:
            return {"changed": bool(found["shares"]), "shift": {}}
        ssm = api.client("ssm", region)

        def held() -> None:
            lock.held_by(ssm, arguments["lock"]["name"], arguments["lock"]["token"])

        def say(text: str) -> None:
            display.display(f"    {text}")

        shift = Shift(api.client("elbv2", region), api.client("cloudwatch", region), found, arguments["hosts"], say, held)
        if arguments["stage"] == "idle":
            held()
            return {"changed": shift.clear(arguments["drain_seconds"])}
        autoscaling = api.client("autoscaling", region)
        shift.leaving = lambda hosts: [host for host, state in api.scaling_states(autoscaling, hosts).items() if processes.on_its_way_out("", state)]
        failed = {"outcome": "failed", "reason": "", "evidence": [], "steps": []}
        began = shift.clock.now()
        try:
            shift.part(arguments["failures"])
            if set(arguments["failures"]) & set(shift.hosts):
                return {"changed": False, "shift": {**failed, "departed": shift.departed}}
            shift.serve(arguments["deadline_seconds"], arguments["healthy_seconds"])
        except (ReleaseError, api.botocore.exceptions.BotoCoreError, api.botocore.exceptions.ClientError) as error:
            return {"changed": False, "shift": {**failed, "reason": str(error), "departed": shift.departed}}
        outcome = {**shift.run(), "departed": shift.departed}
        return {"changed": bool(outcome["steps"]), "shift": {**outcome, "seconds": round(shift.clock.now() - began, 1)}}
