# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was released, taken back and refused; documented in plugins/modules/release_history.py."""

from __future__ import annotations

from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, history, lock, plan, records
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document, ReleaseError
from ansible_collections.flotilla.ec2.plugins.modules.release_history import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction


def collected(s3: Any, bucket: str, service: str, limit: int) -> list[Document]:
    """The events of a service, newest first. Of the refusals, whose names begin with their time, no more are read than are printed."""
    keys = api.list_keys(s3, bucket, records.prefix(service))
    kept = [records.load(s3, bucket, service, number) or {} for number in records.numbers(keys)]
    refused = [api.read_object(s3, bucket, key) or {} for key in [key for key in keys if key.startswith(records.refusals(service))][-limit:]]
    return history.events(kept, refused)


class ActionModule(ReleaseAction):
    """Collect and print."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        model, limit = arguments["model"], arguments["limit"]
        region, root = model["environment"]["region"], model["parameter_root"]
        ssm, s3 = api.client("ssm", region), api.client("s3", region)
        read = api.read_parameter(ssm, f"{root}/outputs")
        if read is None:
            raise ReleaseError(f"{model['stack']['name']} is not provisioned in {model['environment']['name']}. Fix: run provision.yml and configure.yml.")
        chosen = [plan.choose_service(model["services"], arguments["service"])] if arguments["service"] else model["services"]
        services = {}
        for service in chosen:
            pointer = api.read_parameter(ssm, records.pointer_name(root, service["name"]))
            events = collected(s3, read[0]["bucket"], service["name"], limit)
            services[service["name"]] = {"pointer": pointer[0] if pointer else None, "events": events}
        text = history.page(model["stack"]["name"], model["environment"]["name"], services, limit, lock.now())
        return {"changed": False, "text": text, "services": services}
