# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a machine image of a fleet's host; documented in plugins/modules/baked_image.py."""

from __future__ import annotations

import json
import time
from typing import Any

from ansible.utils.display import Display
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import baked_image
from ansible_collections.flotilla.ec2.plugins.module_utils.aws.baked_image import BAKE, BEGUN, STATE
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, boot, capacity, lock, records
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document, ReleaseError
from ansible_collections.flotilla.ec2.plugins.modules.baked_image import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction

display = Display()
SERVICES = ("ec2", "ssm", "autoscaling", "logs")


class ActionModule(ReleaseAction):
    """Look at all that is needed, bake, point, remove what is old."""

    DOCUMENTATION = DOCUMENTATION
    POLICY = "operator"

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        model = arguments["model"]
        clients = {service: api.client(service, model["environment"]["region"]) for service in SERVICES}
        if arguments["state"] == "absent":
            removed = baked_image.remove_all(clients["ec2"], model, self.check)
            return {"changed": bool(removed), "pointer": {}, "removed": removed, "text": ""}
        fleet = capacity.fleet_of(model, arguments["fleet"])
        known = looked_up(clients, model, fleet)
        if self.check:
            removed = [one["InstanceId"] for one in known["left"]] + [one["ImageId"] for one in known["begun"]]
            # With the one that would be made.
            removed += [one["ImageId"] for one in baked_image.surplus(known["ready"], arguments["keep"] - 1, known["spared"])]
            return {"changed": True, "pointer": {}, "removed": removed, "text": "\n".join(planned(model, fleet, known, removed))}
        return self.bake(clients, model, fleet, known, arguments)

    def bake(self, clients: dict[str, Any], model: Document, fleet: Document, known: Document, arguments: dict[str, Any]) -> dict[str, Any]:
        ec2, began, at = clients["ec2"], time.monotonic(), lock.now()
        removed = baked_image.clear(ec2, known["left"], known["begun"])
        tags = baked_image.tags_of(model, fleet)
        tell = lambda text: display.display(f"[{time.monotonic() - began:4.0f} s] {text}")  # noqa: E731
        work = baked_image.Bake(ec2, clients["logs"], fleet, tags, known["user_data"], known["subnet"], arguments["wait_seconds"], tell)
        # This worker outlives an ansible-playbook that is killed: it removes what it has made, and another bake may go on at once.
        playbook = self.process()
        work.wanted = lambda: self.process() == playbook
        made = work.make(known["base"], at)
        base = {"id": known["base"]["ImageId"], "name": known["base"].get("Name", "")}
        pointer = {"format": baked_image.FORMAT, "image": made["ImageId"], "name": made["Name"], "when": at.isoformat(), "base": base}
        pointer["releases"] = known["releases"]
        name = baked_image.pointer_name(model["parameter_root"], fleet["name"])
        clients["ssm"].put_parameter(Name=name, Value=json.dumps(pointer), Type="String", Overwrite=True)
        ready = [one for one in baked_image.baked(ec2, {BAKE: fleet["group"]}) if state_of(one) != BEGUN]
        removed += baked_image.clear(ec2, [], baked_image.surplus(ready, arguments["keep"], {*known["spared"], made["ImageId"]}))
        text = done(model, fleet, pointer, made["seconds"], time.monotonic() - began, removed)
        return {"changed": True, "pointer": pointer, "removed": removed, "text": "\n".join(text)}


def state_of(image: Document) -> str:
    return str(next((tag["Value"] for tag in image.get("Tags", []) if tag["Key"] == STATE), ""))


def looked_up(clients: dict[str, Any], model: Document, fleet: Document) -> Document:
    """All that a bake needs to know. ReleaseError with the way out when something is not there; nothing has been changed then."""
    ec2, ssm, group = clients["ec2"], clients["ssm"], fleet["group"]
    found = clients["autoscaling"].describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
    template = baked_image.template_of(ec2, group)
    if not found or template is None:
        raise ReleaseError(f"{group} does not exist in {model['environment']['name']}. Nothing was changed. Fix: run provision.yml.")
    if api.read_parameter(ssm, boot.pointer_name(model["parameter_root"], fleet["name"])) is None:
        raise ReleaseError(
            f"nothing is published for the fleet {fleet['name']} yet, so that no instance can become a host of it by itself. Nothing was changed. "
            "Fix: run configure.yml (and deploy.yml, so that the image holds what it releases), then this again."
        )
    baked_image.told(template["user_data"], "bake")
    pointers = {name: api.read_parameter(ssm, records.pointer_name(model["parameter_root"], name)) for name in fleet["services"]}
    images = baked_image.baked(ec2, {BAKE: group})
    # What hosts were launched from stays, for a way back.
    hosts = baked_image.living(ec2, {"aws:autoscaling:groupName": group})
    return {
        "base": baked_image.base_image(ec2, model["hosts"]["image"]),
        "user_data": template["user_data"],
        "subnet": found[0]["VPCZoneIdentifier"].split(",")[0],
        "releases": {name: read[0]["number"] for name, read in pointers.items() if read},
        "left": baked_image.living(ec2, {BAKE: group}),
        "begun": [one for one in images if state_of(one) == BEGUN],
        "ready": [one for one in images if state_of(one) != BEGUN],
        "spared": sorted({template["image"], *(one["ImageId"] for one in hosts)}),
    }


def contents(releases: Document) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(releases.items())) or "none yet: what is released later is pulled at boot"


def planned(model: Document, fleet: Document, known: Document, removed: list[str]) -> list[str]:
    """What would be done, as lines for people."""
    return [
        f"Fleet {fleet['name']} of {model['stack']['name']} in {model['environment']['name']} (check mode: nothing is launched)",
        "",
        f"  base        {known['base']['ImageId']} ({known['base'].get('Name', '')})",
        f"  releases    {contents(known['releases'])}",
        f"  instances   two {fleet['instance_type']}, one after the other, beside {fleet['group']} in {known['subnet']}: no traffic, ended afterwards",
        f"  removed     {', '.join(removed) or 'nothing'}",
    ]


def done(model: Document, fleet: Document, pointer: Document, booted: float, took: float, removed: list[str]) -> list[str]:
    """What was done, as lines for people."""
    then = "provision.yml gives it to new hosts, patch.yml to those that there are"
    if fleet["image"] != "baked":
        then = f"set fleets.{fleet['name']}.image: baked, and provision.yml gives it to new hosts"
    return [
        f"Image {pointer['image']} of fleet {fleet['name']} of {model['stack']['name']} in {model['environment']['name']}",
        "",
        f"  name        {pointer['name']}",
        f"  base        {pointer['base']['id']} ({pointer['base']['name']})",
        f"  releases    {contents(pointer['releases'])}",
        f"  proved      an instance of it was a host, with an identity of its own, {booted:.0f} s after its launch",
        f"  took        {took:.0f} s",
        f"  removed     {', '.join(removed) or 'nothing'}",
        f"  then        {then}",
    ]
