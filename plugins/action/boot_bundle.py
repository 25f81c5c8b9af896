# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Publish a fleet's boot bundle; documented in plugins/modules/boot_bundle.py."""

from __future__ import annotations

import hashlib
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, boot, lock
from ansible_collections.flotilla.ec2.plugins.modules.boot_bundle import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction


class ActionModule(ReleaseAction):
    """Pack, compare, publish."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        model, fleet = arguments["model"], arguments["fleet"]
        collected = boot.richest(arguments["collected"])
        if collected is None:
            return {"changed": self.check, "pointer": {}, "bytes": 0}
        data = boot.packed(collected, fleet, boot.services(model, fleet))
        ssm, s3 = (api.client(service, model["environment"]["region"]) for service in ("ssm", "s3"))
        name = boot.pointer_name(model["parameter_root"], fleet)
        if boot.is_published(ssm, s3, name, hashlib.sha256(data).hexdigest()):
            return {"changed": False, "pointer": {}, "bytes": len(data)}
        pointer = {} if self.check else boot.publish(ssm, s3, arguments["bucket"], name, fleet, data, lock.now())
        return {"changed": True, "pointer": pointer, "bytes": len(data)}
