# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find the baked images of fleets; documented in plugins/modules/baked_images_info.py."""

from __future__ import annotations

from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.aws import baked_image
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api
from ansible_collections.flotilla.ec2.plugins.modules.baked_images_info import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction


class ActionModule(ReleaseAction):
    """Read the fleets' pointers and their images."""

    DOCUMENTATION = DOCUMENTATION
    POLICY = "operator"

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        model = arguments["model"]
        clients = (api.client(service, model["environment"]["region"]) for service in ("ec2", "ssm"))
        images = baked_image.for_fleets(*clients, model)
        return {"images": images, "missing": [one["name"] for one in model["fleets"] if one.get("image") == "baked" and one["name"] not in images]}
