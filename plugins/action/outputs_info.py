# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What provisioning made; documented in plugins/modules/outputs_info.py."""

from __future__ import annotations

from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api
from ansible_collections.flotilla.ec2.plugins.modules.outputs_info import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction


class ActionModule(ReleaseAction):
    """Read them."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        model = arguments["model"]
        return {"changed": False, "outputs": api.read_outputs(api.client("ssm", model["environment"]["region"]), model)}
