# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""One target in or out of its target group; documented in plugins/modules/target.py."""

from __future__ import annotations

from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, lock
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import Target
from ansible_collections.flotilla.ec2.plugins.modules.target import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction


class ActionModule(ReleaseAction):
    """Register or deregister, and wait."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        region = arguments["region"]
        identifier = arguments["target"] or variables["inventory_hostname"]
        target = Target(api.client("elbv2", region), arguments["target_group_arn"], identifier, arguments["port"])
        if arguments["lock"] and not self.check:
            try:
                lock.held_by(api.client("ssm", region), arguments["lock"]["name"], arguments["lock"]["token"])
            except lock.LockLost as lost:
                return {"failed": True, "changed": False, "msg": str(lost), "left_alone": True, "lock_lost": True}
        if arguments["refused"]:
            return {"failed": True, "changed": False, "msg": arguments["refused"]}
        if arguments["unless_leaving"] and arguments["state"] == "present" and api.leaving(api.client("autoscaling", region), identifier):
            return {"failed": True, "changed": False, "msg": "its Auto Scaling group is ending it", "left_alone": True}
        began = target.clock.now()
        if arguments["state"] == "absent":
            minimum, together = (0 if self.check else arguments["min_healthy"]), arguments["together"]
            if minimum and arguments["postpone"] and len({identifier, *together}) > 1:
                if not target.spared(minimum, together):
                    return {"changed": False, "postponed": True}
            elif minimum and (refused := target.guard(minimum, together)):
                return {"failed": True, "changed": False, "msg": refused, "left_alone": True}
            changed, health = target.drain(arguments["deadline_seconds"], check=self.check, wait=arguments["wait"])
        else:
            changed, health = target.serve(arguments["deadline_seconds"], arguments["healthy_seconds"], check=self.check, settle=arguments["settle"])
        return {"changed": changed, "health": health, "seconds": round(target.clock.now() - began, 1)}
