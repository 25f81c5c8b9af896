# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs where; documented in plugins/modules/release_status.py."""

from __future__ import annotations

from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.aws import listener
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, colours, lock, plan, records, status
from ansible_collections.flotilla.ec2.plugins.modules.release_status import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction


class ActionModule(ReleaseAction):
    """Collect and print."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        model, seen = arguments["model"], arguments["seen"]
        region, root = model["environment"]["region"], model["parameter_root"]
        ssm, elbv2 = api.client("ssm", region), api.client("elbv2", region)
        outputs: dict[str, Any] = (api.read_parameter(ssm, f"{root}/outputs") or ({}, 0))[0]
        groups = api.auto_scaling_groups(api.client("autoscaling", region), [fleet["group"] for fleet in model["fleets"]])
        held = api.read_parameter(ssm, f"{root}/lock")
        lifecycle = {host: state for group in groups.values() for host, state in group["instances"].items()}
        services = {}
        for service in model["services"]:
            name = service["name"]
            pointer = api.read_parameter(ssm, records.pointer_name(root, name))
            live = colours.live(pointer[0] if pointer else None)
            instance = service["colours"][live]["instance"] if service.get("colours") else name
            groups_made, rule = outputs.get("target_groups") or {}, (outputs.get("rules") or {}).get(name)
            target_group = groups_made.get(instance)
            weights = listener.weights_of(listener.find_rule(elbv2, rule)["Actions"]) if service.get("colours") and rule else {}
            services[name] = {
                "pointer": pointer[0] if pointer else None,
                "hosts": [host for host in plan.hosts_of(variables["groups"], model["stack"]["name"], service["fleet"]) if host in seen],
                "targets": api.target_health(elbv2, target_group) if target_group else None,
                "leaving": {host: state for host, state in lifecycle.items() if state.startswith("Terminat")},
                "instance": instance,
                "colours": {
                    colour: {"instance": one["instance"], "live": colour == live, "percent": colours.percent(weights, groups_made.get(one["instance"], ""))}
                    for colour, one in (service.get("colours") or {}).items()
                },
                "group": next((fleet["group"] for fleet in model["fleets"] if fleet["name"] == service["fleet"]), None),
            }
        rows = status.rows(services, seen)
        suspended = {name: row["suspended"] for name, row in groups.items() if row["suspended"]}
        holder = lock.describe(held[0]) if held else None
        problems = status.problems(services, rows, suspended, holder)
        text = status.page(model["stack"]["name"], model["environment"]["name"], services, rows, suspended, holder, problems, lock.now(), seen)
        return {"changed": False, "text": text, "problems": problems, "status": {"services": services, "hosts": rows, "suspended": suspended, "lock": holder}}
