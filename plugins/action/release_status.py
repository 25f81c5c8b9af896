# Copyright (c) 2026, the flotilla.ec2 authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs where; documented in plugins/modules/release_status.py."""

from __future__ import annotations

from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, lock, plan, records, status
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
        services = {}
        for service in model["services"]:
            name = service["name"]
            target_group = (outputs.get("target_groups") or {}).get(name)
            pointer = api.read_parameter(ssm, records.pointer_name(root, name))
            services[name] = {
                "pointer": pointer[0] if pointer else None,
                "hosts": [host for host in plan.hosts_of(variables["groups"], model["stack"]["name"], service["fleet"]) if host in seen],
                "targets": api.target_health(elbv2, target_group) if target_group else None,
                "group": next((fleet["group"] for fleet in model["fleets"] if fleet["name"] == service["fleet"]), None),
            }
        rows = status.rows(services, seen)
        suspended = {name: row["suspended"] for name, row in groups.items() if row["suspended"]}
        holder = lock.describe(held[0]) if held else None
        problems = status.problems(services, rows, suspended, holder)
        text = status.page(model["stack"]["name"], model["environment"]["name"], services, rows, suspended, holder, problems, lock.now())
        return {"changed": False, "text": text, "problems": problems, "status": {"services": services, "hosts": rows, "suspended": suspended, "lock": holder}}
