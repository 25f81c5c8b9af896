# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What patching a fleet will do, and has done; documented in plugins/modules/patch_plan.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, colours, patch, plan, records
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from ansible_collections.flotilla.ec2.plugins.module_utils.service import packages
from ansible_collections.flotilla.ec2.plugins.modules.patch_plan import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction

GIVEN = ("fleet", "how", "packages", "reboot", "min_healthy", "warmup_seconds", "alarms")


class ActionModule(ReleaseAction):
    """One of the three stages."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        if arguments["stage"] == "request":
            return {"changed": False, "request": self._request(arguments, variables)}
        asked, hostvars = arguments["request"], variables["hostvars"]
        if arguments["stage"] == "plan":
            return self._plan(asked, hostvars)
        ends = {host: self._end(hostvars[host]) for host in arguments["hosts"]}
        done, text = patch.ending(asked, arguments["hosts"], ends)
        if not done:
            raise ReleaseError(text)
        return {"changed": False, "text": text}

    @staticmethod
    def _request(arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        model = arguments["model"]
        region, root = model["environment"]["region"], model["parameter_root"]
        ssm = api.client("ssm", region)
        live = {}
        for service in model["services"]:
            pointer = api.read_parameter(ssm, records.pointer_name(root, service["name"])) if service.get("colours") else None
            live[service["name"]] = service["colours"][colours.live(pointer[0] if pointer else None)]["instance"] if service.get("colours") else service["name"]
        asked = patch.request(model, {name: arguments[name] for name in GIVEN}, live, api.read_outputs(ssm, model))
        hosts = plan.hosts_of(variables["groups"], model["stack"]["name"], asked["fleet"])
        group = api.auto_scaling_groups(api.client("autoscaling", region), [asked["group"]]).get(asked["group"])
        if group is None:
            raise ReleaseError(f"{asked['group']} does not exist in {model['environment']['name']}. Nothing was changed. Fix: run provision.yml.")
        # A host that its group is ending is not patched any more.
        leaving = {host for host, state in group["instances"].items() if state.startswith("Terminat")}
        return {**asked, "hosts": [host for host in hosts if host not in leaving], "log_group": f"{root}/boot"}

    def _plan(self, asked: dict[str, Any], hostvars: Mapping[str, Any]) -> dict[str, Any]:
        elbv2 = api.client("elbv2", asked["region"])
        healths = {
            one["target_group"]: {host: row["state"] for host, row in api.target_health(elbv2, one["target_group"]).items()} for one in asked["balanced"]
        }
        made = patch.make(asked, {host: self._seen(hostvars[host]) for host in asked["hosts"]}, healths, self.check)
        if made["problems"]:
            raise ReleaseError("\n".join([made["text"], "", *made["problems"], "Nothing was changed."]))
        return {"changed": self.check and bool(made["hosts"]), "plan": {**made, "hosts": [] if self.check else made["hosts"]}}

    @staticmethod
    def _seen(variables: Mapping[str, Any]) -> dict[str, Any]:
        """What the play before has found out about a host."""
        looked, upgradable = variables.get("__patch_looked") or {}, variables.get("__patch_upgradable") or {}
        answers = "services" in looked and "packages" in upgradable and not upgradable.get("failed")
        return {
            "reachable": answers,
            "message": "" if answers else str(upgradable.get("msg") or looked.get("msg") or "it was not asked"),
            "zone": (variables.get("ec2_placement") or {}).get("availability_zone") or "",
            "packages": upgradable.get("packages") or {},
            "reboot_required": upgradable.get("reboot_required") or [],
        }

    @staticmethod
    def _end(variables: Mapping[str, Any]) -> dict[str, Any]:
        upgraded, rebooted = variables.get("__patch_upgraded") or {}, variables.get("__patch_rebooted") or {}
        return {
            "outcome": variables.get("__patch_outcome"),
            "failure": variables.get("__patch_failure"),
            "stranded": variables.get("__patch_stranded"),
            "packages": packages.words(upgraded["packages"]) if upgraded.get("packages") else "",
            "rebooted": bool(rebooted.get("rebooted")),
        }
