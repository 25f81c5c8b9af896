# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Refuse a change of strategy that takes traffic away; documented in plugins/modules/strategy_check.py."""

from __future__ import annotations

from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, colours, records
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from ansible_collections.flotilla.ec2.plugins.modules.strategy_check import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction


class ActionModule(ReleaseAction):
    """Compare the pointers with the model."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        model = arguments["model"]
        ssm = api.client("ssm", model["environment"]["region"])
        live = {}
        for service in model["services"]:
            read = api.read_parameter(ssm, records.pointer_name(model["parameter_root"], service["name"]))
            if read:
                live[service["name"]] = colours.live(read[0])
        problems = [text for service in model["services"] if (text := colours.stranded(service, live.get(service["name"])))]
        if problems:
            raise ReleaseError("\n".join([*problems, "Nothing was changed."]))
        return {"changed": False, "live": live}
