"""Volumes on the local cloud: states and errors as the EBS User Guide and the EC2 API Reference say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_cloud.engine import loop_devices
from local_cloud.planes import ebs as module
from tests.unit.local_cloud.core_support import Bed, bed


class Volumes:
    """Guests of an account with volumes; which loop devices are attached, the test says."""

    def __init__(self, it: Bed) -> None:
        self.it, self.loops = it, dict[str, str]()
        self.plane = it.cloud.planes["ebs"]

    def create(self, zone: str = "a", size: int = 2) -> str:
        return str(self.it.ec2.create_volume(AvailabilityZone=f"eu-central-1{zone}", Size=size, VolumeType="gp3")["VolumeId"])

    def attach(self, volume: str, guest: str, device: str = "/dev/sdf") -> dict[str, Any]:
        return dict(self.it.ec2.attach_volume(VolumeId=volume, InstanceId=guest, Device=device))

    def state(self, volume: str) -> tuple[str, list[str]]:
        self.plane.step()
        known = self.it.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]
        return known["State"], [one["State"] for one in known["Attachments"]]

    def listed(self, guest: str) -> str:
        """What a guest attaches at its start."""
        return str(self.it.container(guest)["files"][module.LIST].decode())

    def told(self) -> list[list[str]]:
        return [list(what[1:]) for _, what, _ in self.it.engine.executed if what[0] == "guest-volumes"]


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Volumes]:
    with bed(tmp_path) as it:
        made = Volumes(it)
        monkeypatch.setattr(module, "loop_devices", lambda part: {name: path for name, path in made.loops.items() if part in path})
        yield made


def refused(call: Any, code: str) -> None:
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] == code


def test_an_attached_volume_is_a_device_of_the_guest_now_and_after_each_start(volumes: Volumes) -> None:
    one, two, guest = volumes.create(), volumes.create(size=3), volumes.it.run()["InstanceId"]
    assert volumes.state(one) == ("available", [])
    assert volumes.attach(one, guest)["State"] == "attaching"
    assert volumes.state(one) == ("in-use", ["attached"])
    volumes.attach(two, guest, "/dev/sdg")
    files = [volumes.plane.file(volume) for volume in (one, two)]
    assert volumes.told() == [["attach", files[0], "2", "nvme1n1"], ["attach", files[1], "3", "nvme2n1"]]
    assert volumes.listed(guest) == f"{files[0]} 2 nvme1n1\n{files[1]} 3 nvme2n1\n"
    mapped = {one["DeviceName"]: one["Ebs"]["VolumeId"] for one in volumes.it.instance(guest)["BlockDeviceMappings"]}
    assert mapped["/dev/sdf"] == one and mapped["/dev/sdg"] == two
    assert volumes.it.container(guest)["devices"] == ("b 7:* rmw", "c 10:237 rmw")
    assert volumes.it.ec2.detach_volume(VolumeId=one)["State"] == "detaching"
    assert volumes.state(one) == ("available", []) and volumes.listed(guest) == f"{files[1]} 3 nvme2n1\n"


def test_what_attachvolume_refuses(volumes: Volumes) -> None:
    guest, volume = volumes.it.run()["InstanceId"], volumes.create()
    refused(lambda: volumes.attach(volumes.create("b"), guest), "InvalidVolume.ZoneMismatch")
    refused(lambda: volumes.attach("vol-0123456789abcdef0", guest), "InvalidVolume.NotFound")
    volumes.attach(volume, guest)
    refused(lambda: volumes.attach(volume, guest), "VolumeInUse")
    refused(lambda: volumes.attach(volumes.create(), guest), "InvalidParameterValue")
    refused(lambda: volumes.it.ec2.delete_volume(VolumeId=volume), "VolumeInUse")
    volumes.it.ec2.terminate_instances(InstanceIds=[guest])
    volumes.it.settle()
    refused(lambda: volumes.attach(volumes.create(), guest), "IncorrectState")


def test_a_machine_without_loop_devices_says_so_and_the_volume_stays_free(volumes: Volumes) -> None:
    guest, volume = volumes.it.run()["InstanceId"], volumes.create()
    volumes.it.engine.exec = lambda *_, **__: (1, "this machine has no loop devices, which volumes need")  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="this machine has no loop devices"):
        volumes.attach(volume, guest)
    assert volumes.state(volume) == ("available", [])


def test_a_mounted_volume_is_busy_until_it_is_unmounted(volumes: Volumes, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "If you try to detach a volume that is mounted, the volume is stuck in the busy state" (Detach an Amazon EBS volume)."""
    guest, volume = volumes.it.run()["InstanceId"], volumes.create()
    volumes.attach(volume, guest)
    volumes.loops["loop3"] = f"/var/lib/x/{volumes.plane.file(volume)}"
    volumes.it.ec2.detach_volume(VolumeId=volume)
    assert volumes.state(volume) == ("in-use", ["detaching"])
    monkeypatch.setattr(module, "BUSY_SECONDS", -1)
    assert volumes.state(volume) == ("in-use", ["busy"])
    volumes.loops.clear()
    assert volumes.state(volume) == ("available", [])
    refused(lambda: volumes.it.ec2.detach_volume(VolumeId=volume), "IncorrectState")


def test_the_volume_of_a_terminated_instance_is_free_when_the_guest_has_ended(volumes: Volumes) -> None:
    """DeleteOnTermination is false for volumes attached to a running instance ("Preserve data when an instance is terminated")."""
    guest, volume = volumes.it.run()["InstanceId"], volumes.create()
    volumes.attach(volume, guest)
    volumes.loops["loop3"] = f"/var/lib/x/{volumes.plane.file(volume)}"
    volumes.it.ec2.terminate_instances(InstanceIds=[guest])
    volumes.it.settle()
    assert volumes.state(volume)[0] == "in-use"
    volumes.loops.clear()
    assert volumes.state(volume) == ("available", [])
    other = volumes.it.run()["InstanceId"]
    volumes.attach(volume, other)
    assert [row["address"] for row in volumes.it.cloud.status() if row["kind"] == "volume"] == [f"{other} nvme1n1"]


def test_a_stopped_instance_finds_its_volume_when_it_starts(volumes: Volumes) -> None:
    guest, volume = volumes.it.run()["InstanceId"], volumes.create()
    volumes.it.ec2.stop_instances(InstanceIds=[guest])
    volumes.it.settle()
    volumes.attach(volume, guest)
    assert volumes.told() == [] and volumes.plane.file(volume) in volumes.listed(guest)


def test_a_volume_grows_and_does_not_shrink(volumes: Volumes) -> None:
    guest, volume = volumes.it.run()["InstanceId"], volumes.create()
    volumes.attach(volume, guest)
    volumes.it.ec2.modify_volume(VolumeId=volume, Size=5)
    assert volumes.told()[-1] == ["grow", volumes.plane.file(volume), "5"] and " 5 nvme1n1" in volumes.listed(guest)
    refused(lambda: volumes.it.ec2.modify_volume(VolumeId=volume, Size=1), "InvalidParameterValue")


def test_only_what_was_written_is_removed(volumes: Volumes) -> None:
    volumes.it.ec2.delete_volume(VolumeId=volumes.create())
    assert not [what for _, what, _ in volumes.it.engine.executed if what[0] == "rm"]


def test_loop_devices_are_known_by_their_file(tmp_path: Path) -> None:
    for name, file in (("loop0", "/srv/flotilla-1-vol-2"), ("loop1", "/other")):
        (tmp_path / name / "loop").mkdir(parents=True)
        (tmp_path / name / "loop" / "backing_file").write_text(f"{file}\n")
    assert loop_devices("flotilla-1-vol-", tmp_path) == {"loop0": "/srv/flotilla-1-vol-2"}


def test_a_group_over_one_zone_launches_there(volumes: Volumes) -> None:
    """CreateAutoScalingGroup, VPCZoneIdentifier: "a comma-separated list of subnet IDs" in which instances are launched."""
    it = volumes.it
    it.ec2.create_launch_template(LaunchTemplateName="host", LaunchTemplateData={"ImageId": "ami-0f10711a00000012", "InstanceType": "t3.micro"})
    given = {"MinSize": 1, "MaxSize": 1, "LaunchTemplate": {"LaunchTemplateName": "host"}, "VPCZoneIdentifier": it.subnets[1]}
    it.autoscaling.create_auto_scaling_group(AutoScalingGroupName="single", **given)
    it.reconcile()
    (group,) = it.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    assert [one["AvailabilityZone"] for one in group["Instances"]] == ["eu-central-1b"]
    address = it.instance(group["Instances"][0]["InstanceId"])["PrivateIpAddress"]
    assert it.cloud.names[f"ip-{address.replace('.', '-')}.eu-central-1.compute.internal"] == address
