# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Give a fleet another number of hosts; documented in plugins/modules/fleet_capacity.py."""

from __future__ import annotations

from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, capacity
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from ansible_collections.flotilla.ec2.plugins.modules.fleet_capacity import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction


class ActionModule(ReleaseAction):
    """Set the desired capacity of a fleet's group, within its bounds."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        model = arguments["model"]
        fleet, count = capacity.fleet_of(model, arguments["fleet"]), capacity.number(arguments["count"])
        autoscaling = api.client("autoscaling", model["environment"]["region"])
        group = api.group_sizes(autoscaling, fleet["group"])
        if group is None:
            raise ReleaseError(f"{fleet['group']} does not exist in {model['environment']['name']}. Nothing was changed. Fix: run provision.yml.")
        refused = capacity.refusal(fleet, group, count)
        if refused:
            raise ReleaseError(refused)
        changed = count != group["desired"]
        if changed and not self.check:
            autoscaling.set_desired_capacity(AutoScalingGroupName=fleet["group"], DesiredCapacity=count, HonorCooldown=False)
        shown = capacity.shown(model, fleet, group, count, self.check)
        return {"changed": changed, "before": group["desired"], "after": count, "fleet": fleet["name"], "text": "\n".join(shown)}
