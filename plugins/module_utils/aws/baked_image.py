# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Machine images of a fleet, made of an instance that has made itself by the fleet's boot bundle, and the parameter that names the one for new hosts.

An instance is launched from the fleet's own launch template beside its group: in no target group, and without the tags by which hosts are found. What it
does there its user data says: the template's, with another verb. An image is "begun" until an instance of it has shown that it makes a host; the pointer
never names one that is not "ready". Images and instances bear the group's name as BAKE, so that the next bake finds what a killed one has left.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.aws.common import code_of, tag_list
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document, ReleaseError
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import Clock

FORMAT = 1
BAKE, STATE, IMAGE = "flotilla:bake", "flotilla:baked", "flotilla:image"
BEGUN, READY = "begun", "ready"
SETTINGS = "/etc/flotilla/boot.json"
UNIT = "flotilla-boot.service"
# What an instance says of itself at the end (roles/fleet/files/boot.py).
BAKED, PROVED, FAILED = "can be an image", "shows that the image makes a host", "does not become a host"
POLL_SECONDS = 2.0
LIVING = ["pending", "running", "stopping", "stopped"]


# ---- pure


def pointer_name(parameter_root: str, fleet: str) -> str:
    """The parameter that names a fleet's image."""
    return f"{parameter_root}/fleets/{fleet}/image"


def tags_of(model: Mapping[str, Any], fleet: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a fleet's images and their snapshots."""
    return {**model["tags"], "flotilla:fleet": fleet["name"], BAKE: fleet["group"]}


def told(user_data: str, verb: str) -> tuple[str, Document]:
    """A fleet's user data with another verb, started beside cloud-init and not in it; and the settings in it. ReleaseError when it is not of this version."""
    head, _newline, text = user_data.partition("\n")
    try:
        data = json.loads(text)
        entry = next(one for one in data["write_files"] if one["path"] == SETTINGS)
        settings = {**json.loads(entry["content"]), "verb": verb}
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise ReleaseError("the fleet's launch template is of another version of this collection. Nothing was changed. Fix: run provision.yml.") from error
    entry["content"] = json.dumps(settings, sort_keys=True)
    data["runcmd"] = [["systemctl", "daemon-reload"], ["systemctl", "start", "--no-block", UNIT]]
    return f"{head}\n{json.dumps(data, sort_keys=True)}\n", settings


def outcome(lines: Iterable[str], instance: str, success: str) -> str | None:
    """The line with which an instance has ended well; None while it has not ended. ReleaseError with its reason when it could not."""
    for line in lines:
        if line.startswith(f"{instance} {success}"):
            return line
        if line.startswith(f"{instance} {FAILED}"):
            raise ReleaseError(line.partition(": ")[2] or line)
    return None


def identity(lines: Iterable[str]) -> dict[str, str]:
    """What an instance said of its identity: name → sum."""
    for line in lines:
        if line.startswith("identity "):
            return dict(word.split("=", 1) for word in line.split()[1:] if "=" in word)
    return {}


def shared(baked: Mapping[str, str], booted: Mapping[str, str]) -> list[str]:
    """What an instance of the image has in common with the one that the image was made of, or has not said."""
    return sorted(name for name in {"machine-id", "ssh", *baked, *booted} if not baked.get(name) or not booted.get(name) or baked[name] == booted[name])


def surplus(images: Iterable[Mapping[str, Any]], keep: int, spared: Iterable[str]) -> list[Document]:
    """Images beyond the newest `keep` that nobody needs, oldest first."""
    newest = sorted(images, key=lambda one: (one["CreationDate"], one["ImageId"]), reverse=True)
    needed = set(spared)
    return [dict(one) for one in reversed(newest[keep:]) if one["ImageId"] not in needed]


def root_of(image: Mapping[str, Any]) -> Document:
    """{root_device_name, root_volume_gb} of an image: a host's disk cannot be smaller than the image's."""
    device = image["RootDeviceName"]
    sizes = [one.get("Ebs", {}).get("VolumeSize") or 0 for one in image.get("BlockDeviceMappings", []) if one.get("DeviceName") == device]
    return {"root_device_name": device, "root_volume_gb": max(sizes, default=0)}


# ---- the account


def tag_filter(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]


def describe_image(ec2: Any, image: str) -> Document | None:
    """An image, None when there is none."""
    try:
        found = ec2.describe_images(ImageIds=[image])["Images"]
    except ec2.exceptions.ClientError as error:
        if code_of(error) in ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"):
            return None
        raise
    return dict(found[0]) if found and found[0]["State"] != "deregistered" else None


def base_image(ec2: Any, wanted: Mapping[str, Any]) -> Document:
    """The environment's image: by id, or the newest of a name and owner."""
    if wanted.get("id"):
        found = [one for one in [describe_image(ec2, wanted["id"])] if one]
    else:
        filters = [{"Name": "name", "Values": [wanted["name"]]}, {"Name": "state", "Values": ["available"]}]
        found = ec2.describe_images(Filters=filters, **({"Owners": [str(wanted["owner"])]} if wanted.get("owner") else {}))["Images"]
    if not found:
        seen = wanted.get("id") or wanted.get("name")
        raise ReleaseError(f"hosts.image: there is no image {seen} in this region. Nothing was changed. Fix: correct hosts.image in the environment.")
    return dict(max(found, key=lambda one: one["CreationDate"]))


def template_of(ec2: Any, name: str, version: str = "$Latest") -> Document | None:
    """{user_data, image} of a launch template, None when there is none."""
    try:
        found = ec2.describe_launch_template_versions(LaunchTemplateName=name, Versions=[version])["LaunchTemplateVersions"]
    except ec2.exceptions.ClientError as error:
        if code_of(error).startswith("InvalidLaunchTemplate"):
            return None
        raise
    if not found:
        return None
    data = found[0]["LaunchTemplateData"]
    return {"user_data": base64.b64decode(data.get("UserData", "")).decode(errors="replace"), "image": data.get("ImageId", "")}


def baked(ec2: Any, tags: Mapping[str, str]) -> list[Document]:
    """The images with these tags, in whatever state."""
    return [dict(one) for one in ec2.describe_images(Owners=["self"], Filters=tag_filter(tags))["Images"]]


def living(ec2: Any, tags: Mapping[str, str]) -> list[Document]:
    """The instances with these tags that have not ended."""
    states = {"Name": "instance-state-name", "Values": LIVING}
    pages = ec2.get_paginator("describe_instances").paginate(Filters=[*tag_filter(tags), states])
    return [dict(one) for page in pages for row in page["Reservations"] for one in row["Instances"]]


def discard(ec2: Any, image: Mapping[str, Any]) -> None:
    """Deregister an image and delete its snapshots. One that is gone already is fine."""
    try:
        ec2.deregister_image(ImageId=image["ImageId"])
    except ec2.exceptions.ClientError as error:
        if code_of(error) not in ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"):
            raise
    discard_snapshots(ec2, {IMAGE: image["Name"]})


def clear(ec2: Any, instances: Iterable[Mapping[str, Any]], images: Iterable[Mapping[str, Any]]) -> list[str]:
    """Terminate instances and discard images; the ids of all."""
    ended = [str(one["InstanceId"]) for one in instances]
    if ended:
        ec2.terminate_instances(InstanceIds=ended)
    chosen = list(images)
    for image in chosen:
        discard(ec2, image)
    return [*ended, *(str(one["ImageId"]) for one in chosen)]


def discard_snapshots(ec2: Any, tags: Mapping[str, str]) -> int:
    """Delete the snapshots with these tags; how many there were."""
    pages = ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=tag_filter(tags))
    found = [one["SnapshotId"] for page in pages for one in page["Snapshots"]]
    for snapshot in found:
        try:
            ec2.delete_snapshot(SnapshotId=snapshot)
        except ec2.exceptions.ClientError as error:
            if code_of(error) != "InvalidSnapshot.NotFound":
                raise
    return len(found)


def for_fleets(ec2: Any, ssm: Any, model: Mapping[str, Any]) -> dict[str, Document]:
    """Fleet → the image of its new hosts, of the fleets that want a baked one and have one. ReleaseError when that image is gone."""
    chosen = {}
    for fleet in model["fleets"]:
        if fleet.get("image") != "baked":
            continue
        name = pointer_name(model["parameter_root"], fleet["name"])
        read = api.read_parameter(ssm, name)
        if read is None:
            continue
        pointer = read[0]
        found = describe_image(ec2, pointer["image"])
        if found is None or found["State"] != "available":
            raise ReleaseError(
                f"fleets.{fleet['name']}: the image {pointer['image']} that bake.yml made at {pointer['when']} "
                f"{'does not exist any more' if found is None else 'is ' + found['State']}, so that new hosts could not be launched from it. The fleet was not "
                f"changed. Fix: run bake.yml -e fleet={fleet['name']}, which makes another; or set fleets.{fleet['name']}.image: base."
            )
        chosen[fleet["name"]] = {"image_id": pointer["image"], "when": pointer["when"], "base": pointer["base"], **root_of(found)}
    return chosen


def remove_all(ec2: Any, model: Mapping[str, Any], check: bool) -> list[str]:
    """End the instances of killed bakes and remove all images of a stack; what there was."""
    instances = [one for fleet in model["fleets"] for one in living(ec2, {BAKE: fleet["group"]})]
    images = [one for one in baked(ec2, model["tags"]) if any(tag["Key"] == BAKE for tag in one.get("Tags", []))]
    if check:
        return [*(one["InstanceId"] for one in instances), *(one["ImageId"] for one in images)]
    removed = clear(ec2, instances, images)
    if instances:  # they stand in the network, which goes too
        ec2.get_waiter("instance_terminated").wait(InstanceIds=[one["InstanceId"] for one in instances], WaiterConfig={"Delay": 3, "MaxAttempts": 200})
    # Of images that a killed bake or destroy has deregistered.
    for fleet in model["fleets"]:
        discard_snapshots(ec2, {BAKE: fleet["group"]})
    return removed


@dataclass
class Bake:
    """One bake of one fleet."""

    ec2: Any
    logs: Any
    fleet: Document
    tags: dict[str, str]
    user_data: str  # the launch template's
    subnet: str
    seconds: float  # that each step may take
    tell: Callable[[str], None] = lambda text: None
    clock: Clock = field(default_factory=Clock)
    wanted: Callable[[], bool] = lambda: True  # false once whoever wants the image has been killed
    instances: list[str] = field(default_factory=list)
    image: Document = field(default_factory=dict)

    def make(self, base: Mapping[str, Any], at: datetime) -> Document:
        """A ready image: {ImageId, Name, seconds}. Whatever happens, no instance is left, and no image that is not ready."""
        try:
            said = self.prepare(base, at)
            return {**self.image, "seconds": self.prove(said)}
        except BaseException:
            if self.image:
                discard(self.ec2, self.image)
            raise
        finally:
            self.end()

    def prepare(self, base: Mapping[str, Any], at: datetime) -> dict[str, str]:
        """An instance that has made itself, forgotten who it was and been stopped, as an image; the identity that it had."""
        self.tell(f"launching an instance of {base['ImageId']} beside {self.fleet['group']}")
        instance, group = self.launch(base["ImageId"], "bake")
        lines = self.ended_well(instance, group, BAKED)
        self.tell(f"{instance} has what a host has; stopping it")
        self.ec2.stop_instances(InstanceIds=[instance])
        self.until(f"{instance} to stop", lambda: self.state(instance) == "stopped")
        name = f"{self.fleet['group']}-{at:%Y%m%dT%H%M%SZ}"
        tags = {**self.tags, "Name": name, STATE: BEGUN, IMAGE: name}
        specifications = [{"ResourceType": kind, "Tags": tag_list(tags)} for kind in ("image", "snapshot")]
        made = self.ec2.create_image(InstanceId=instance, Name=name, Description=f"Host of {self.fleet['group']}", TagSpecifications=specifications)
        self.image = {"ImageId": made["ImageId"], "Name": name}
        self.tell(f"{made['ImageId']} is being made of it")
        self.until(f"{made['ImageId']} to be available", self.available)
        self.end()
        return identity(lines)

    def available(self) -> bool:
        found = describe_image(self.ec2, self.image["ImageId"])
        if found and found["State"] in ("failed", "error", "invalid"):
            raise ReleaseError(f"AWS could not make the image: {(found.get('StateReason') or {}).get('Message', found['State'])}. Fix: run bake.yml again.")
        return bool(found and found["State"] == "available")

    def prove(self, before: Mapping[str, str]) -> float:
        """Have an instance of the image make itself a host that starts nothing; the seconds from its launch to that."""
        began = self.clock.now()
        self.tell(f"launching an instance of {self.image['ImageId']}, which shows that it makes a host")
        instance, group = self.launch(self.image["ImageId"], "prove")
        lines = self.ended_well(instance, group, PROVED)
        took = self.clock.now() - began
        same = shared(before, identity(lines))
        if same:
            raise ReleaseError(f"the image would give every host the same {' and '.join(same)}, and was removed. Fix: run configure.yml, then bake.yml again.")
        self.ec2.create_tags(Resources=[self.image["ImageId"]], Tags=tag_list({STATE: READY}))
        return took

    def launch(self, image: str, verb: str) -> tuple[str, str]:
        """An instance of the fleet's template and this image beside the group, and the log group in which it will say how it went."""
        data, settings = told(self.user_data, verb)
        tags = {BAKE: self.fleet["group"], "Name": f"{self.fleet['group']}-{verb}"}
        answer = self.ec2.run_instances(
            LaunchTemplate={"LaunchTemplateName": self.fleet["group"], "Version": "$Latest"},
            ImageId=image,
            UserData=data,
            SubnetId=self.subnet,
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": kind, "Tags": tag_list(tags)} for kind in ("instance", "volume")],
        )
        instance = str(answer["Instances"][0]["InstanceId"])
        self.instances.append(instance)
        return instance, settings["log_group"]

    def ended_well(self, instance: str, group: str, success: str) -> list[str]:
        """What an instance has said by its good end. ReleaseError with its own reason, or when it has ended without a word."""
        said: list[str] = []

        def ended() -> bool:
            said[:] = self.said(instance, group)
            try:
                if outcome(said, instance, success):
                    return True
            except ReleaseError as error:
                raise ReleaseError(f"{instance}, beside the fleet, could not become what its hosts are: {error}. The fleet was not changed.") from error
            state = self.state(instance)
            if state not in ("", "pending", "running"):
                raise ReleaseError(
                    f"{instance}, beside the fleet, is {state} and has not said why in the log group {group}. The fleet was not changed. "
                    f"Fix: look at its console (aws ec2 get-console-output --instance-id {instance}), and run bake.yml again."
                )
            return False

        self.until(f"{instance} to say in the log group {group} that it {success}", ended)
        return said

    def said(self, instance: str, group: str) -> list[str]:
        try:
            events = self.logs.get_log_events(logGroupName=group, logStreamName=instance, startFromHead=True)["events"]
        except self.logs.exceptions.ResourceNotFoundException:
            return []
        return [str(row["message"]) for row in events]

    def state(self, instance: str) -> str:
        return api.instance_states(self.ec2, [instance]).get(instance, "")

    def until(self, what: str, done: Callable[[], bool]) -> None:
        deadline = self.clock.now() + self.seconds
        while not done():
            if not self.wanted():
                raise ReleaseError("ansible-playbook was killed. The fleet was not changed.")
            if self.clock.now() > deadline:
                raise ReleaseError(
                    f"waited {self.seconds:.0f} s for {what}. The fleet was not changed. "
                    "Fix: see why, then run bake.yml again; -e bake_wait_seconds=… waits longer."
                )
            self.clock.sleep(POLL_SECONDS)

    def end(self) -> None:
        """Terminate what was launched."""
        if self.instances:
            self.ec2.terminate_instances(InstanceIds=self.instances)
            self.instances.clear()
