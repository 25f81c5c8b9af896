"""Machine images made of instances: states, errors and disks as EC2's documentation says; a guest of one has its files and its engine's store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.unit.local_cloud.core_support import IMAGE, Bed, bed, eventually

TAGS = [{"ResourceType": kind, "Tags": [{"Key": "of", "Value": kind}]} for kind in ("image", "snapshot")]


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Bed]:
    with bed(tmp_path) as made:
        yield made


def image_of(it: Bed, identifier: str) -> dict[str, Any]:
    return dict(it.ec2.describe_images(ImageIds=[identifier])["Images"][0])


def made(it: Bed, instance: str, name: str = "baked", **options: Any) -> str:
    """An available image of an instance."""
    identifier = str(it.ec2.create_image(InstanceId=instance, Name=name, **options)["ImageId"])
    eventually(lambda: image_of(it, identifier)["State"] == "available", "the image")
    return identifier


def refused(code: str, call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code
    return str(error.value)


def test_an_image_has_the_disk_of_its_instance_and_tags_of_its_own(it: Bed) -> None:
    disk = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30, "VolumeType": "gp3", "Encrypted": True}}
    instance = it.run(BlockDeviceMappings=[disk])["InstanceId"]
    found = image_of(it, made(it, instance, TagSpecifications=TAGS, Description="a host"))
    (mapping,) = found["BlockDeviceMappings"]
    assert (found["RootDeviceName"], found["RootDeviceType"], found["Architecture"]) == ("/dev/xvda", "ebs", "x86_64")
    assert (mapping["DeviceName"], mapping["Ebs"]["VolumeSize"], mapping["Ebs"]["Encrypted"]) == ("/dev/xvda", 30, True)
    assert (found["SourceInstanceId"], found["Public"], found["Tags"]) == (instance, False, [{"Key": "of", "Value": "image"}])
    (snapshot,) = it.ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": "tag:of", "Values": ["snapshot"]}])["Snapshots"]
    assert (snapshot["SnapshotId"], snapshot["VolumeSize"]) == (mapping["Ebs"]["SnapshotId"], 30)
    assert [one["ImageId"] for one in it.ec2.describe_images(Owners=["self"])["Images"]] == [found["ImageId"]]


def test_a_running_instance_is_rebooted_for_it_unless_one_says_otherwise(it: Bed) -> None:
    """ "By default, when Amazon EC2 creates the new AMI, it reboots the instance"."""
    instance = it.run()["InstanceId"]
    for options, restarts in (({"NoReboot": True}, 0), ({}, 1)):
        before = int(it.container(instance)["started"])
        made(it, instance, f"baked-{restarts}", **options)
        it.settle()
        assert int(it.container(instance)["started"]) == before + restarts and it.state(instance) == "running"


def test_a_guest_of_it_has_its_files_and_the_store_of_its_engine_and_none_of_its_volumes(it: Bed) -> None:
    instance = it.run()["InstanceId"]
    image = made(it, instance)
    guest = it.container(it.run(ImageId=image)["InstanceId"])
    name = it.cloud.container_name(image)
    assert guest["image"] == name and name in it.engine.images
    assert guest["volumes"][name] == "/var/lib/local-cloud/image:ro" and guest["files"]["/etc/local-cloud/volumes"] == b""
    assert (it.cloud.container_name(instance), ["copy", "/var/lib/docker", name], "") in it.engine.executed
    assert name not in it.container(instance)["volumes"]


def test_what_cannot_be_is_refused_as_on_aws(it: Bed) -> None:
    instance = it.run()["InstanceId"]
    image = made(it, instance)
    assert image in refused("InvalidAMIName.Duplicate", it.ec2.create_image, InstanceId=instance, Name="baked")
    refused("InvalidAMIID.NotFound", it.run, ImageId="ami-00000000000000000")
    it.cloud.backend("ec2").amis[image].state = "pending"
    refused("InvalidAMIID.Unavailable", it.run, ImageId=image)
    it.ec2.terminate_instances(InstanceIds=[instance])
    it.settle()
    refused("IncorrectInstanceState", it.ec2.create_image, InstanceId=instance, Name="other")


def test_a_deregistered_image_launches_nothing_and_goes_with_its_last_guest(it: Bed) -> None:
    instance = it.run()["InstanceId"]
    image = made(it, instance)
    name, snapshot = it.cloud.container_name(image), image_of(it, image)["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    guest = it.run(ImageId=image)["InstanceId"]
    refused("InvalidSnapshot.InUse", it.ec2.delete_snapshot, SnapshotId=snapshot)
    it.ec2.deregister_image(ImageId=image)
    it.ec2.delete_snapshot(SnapshotId=snapshot)
    refused("InvalidAMIID.NotFound", it.run, ImageId=image)
    assert it.state(guest) == "running" and name in it.engine.images
    it.ec2.terminate_instances(InstanceIds=[guest])
    it.settle()
    eventually(lambda: name not in it.engine.images, "the engine's image goes")


def test_an_image_that_cannot_be_made_has_failed(it: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_name: str, _image: str) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(it.engine, "commit", full)
    image = it.ec2.create_image(InstanceId=it.run()["InstanceId"], Name="baked")["ImageId"]
    eventually(lambda: image_of(it, image)["State"] == "failed", "its failure")


def test_images_of_others_are_as_they_were(it: Bed) -> None:
    assert it.container(it.run()["InstanceId"])["image"] == it.cloud.image("guest")
    assert image_of(it, IMAGE)["Name"] == "debian-12-amd64-flotilla"
