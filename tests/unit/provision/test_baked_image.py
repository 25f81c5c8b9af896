"""A bake, call by call: what is launched is ended, an image that has not shown that it is good is removed, and the newest stay."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import baked_image
from ansible_collections.flotilla.ec2.plugins.module_utils.aws.baked_image import BAKE, IMAGE, STATE, Bake
from ansible_collections.flotilla.ec2.plugins.module_utils.aws.common import tag_list
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import Clock
from botocore.stub import ANY, Stubber

AT = datetime(2026, 1, 1, 10, tzinfo=UTC)
FLEET = {"name": "web", "group": "shop-production-web", "services": ["web"], "image": "baked", "instance_type": "t3.small"}
MODEL = {"tags": {"flotilla:stack": "shop"}, "parameter_root": "/flotilla/production/shop", "fleets": [FLEET]}
SETTINGS = {"fleet": "web", "log_group": "/boot", "seconds": 600}
DATA: dict[str, Any] = {
    "write_files": [{"path": "/etc/flotilla/boot.json", "content": json.dumps(SETTINGS)}, {"path": "/usr/local/lib/flotilla/boot.py", "content": "pass"}],
    "runcmd": ["systemctl start flotilla-boot.service || true"],
}
USER_DATA = f"#cloud-config\n{json.dumps(DATA)}\n"
NAME = "shop-production-web-20260101T100000Z"
SEARCH = {"OwnerIds": ["self"], "Filters": [{"Name": f"tag:{IMAGE}", "Values": [NAME]}]}


class Account:
    """EC2 and CloudWatch Logs with the answers that are expected, in order; time that passes only when it is waited for."""

    def __init__(self) -> None:
        options = {"region_name": "eu-central-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
        self.ec2, self.logs = boto3.client("ec2", **options), boto3.client("logs", **options)
        self.stubs = [Stubber(self.ec2), Stubber(self.logs)]
        self.time = 0.0

    def expect(self, method: str, answer: dict[str, Any], **parameters: Any) -> None:
        self.stubs[0].add_response(method, answer, parameters)

    def says(self, instance: str, *lines: str, state: str = "running", ends: bool = True) -> None:
        events = {"events": [{"message": line, "timestamp": 1, "ingestionTime": 1} for line in lines]}
        self.stubs[1].add_response("get_log_events", events, {"logGroupName": "/boot", "logStreamName": instance, "startFromHead": True})
        if not ends:
            self.is_in(instance, state)

    def is_in(self, instance: str, state: str) -> None:
        found = {"Reservations": [{"Instances": [{"InstanceId": instance, "State": {"Name": state}}]}]}
        self.expect("describe_instances", found, Filters=[{"Name": "instance-id", "Values": [instance]}])

    def launches(self, instance: str, image: str, verb: str) -> None:
        tags = tag_list({BAKE: "shop-production-web", "Name": f"shop-production-web-{verb}"})
        self.expect(
            "run_instances",
            {"Instances": [{"InstanceId": instance}]},
            LaunchTemplate={"LaunchTemplateName": "shop-production-web", "Version": "$Latest"},
            ImageId=image,
            UserData=ANY,
            SubnetId="subnet-1",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
        )

    def bakes(self, state: str = "available") -> None:
        """As far as the image."""
        self.launches("i-1", "ami-base", "bake")
        self.says("i-1", "installing docker.io", ends=False)
        self.says("i-1", "identity machine-id=1 ssh=2", "i-1 can be an image of web after 30.0 s")
        self.expect("stop_instances", {}, InstanceIds=["i-1"])
        self.is_in("i-1", "stopping")
        self.is_in("i-1", "stopped")
        tags = tag_list({**baked_image.tags_of(MODEL, FLEET), "Name": NAME, STATE: "begun", IMAGE: NAME})
        specifications = [{"ResourceType": kind, "Tags": tags} for kind in ("image", "snapshot")]
        what = {"InstanceId": "i-1", "Name": NAME, "Description": "Host of shop-production-web", "TagSpecifications": specifications}
        self.expect("create_image", {"ImageId": "ami-new"}, **what)
        self.expect("describe_images", {"Images": [{"ImageId": "ami-new", "State": "pending"}]}, ImageIds=["ami-new"])
        reason = {"StateReason": {"Message": "snapshot failed"}} if state == "failed" else {}
        self.expect("describe_images", {"Images": [{"ImageId": "ami-new", "State": state, **reason}]}, ImageIds=["ami-new"])

    def discards(self, instance: str) -> None:
        self.expect("deregister_image", {}, ImageId="ami-new")
        self.expect("describe_snapshots", {"Snapshots": [{"SnapshotId": "snap-1"}]}, **SEARCH)
        self.expect("delete_snapshot", {}, SnapshotId="snap-1")
        self.expect("terminate_instances", {}, InstanceIds=[instance])

    def bake(self, seconds: float = 60) -> Bake:
        for one in self.stubs:
            one.activate()

        def sleep(pause: float) -> None:
            self.time += pause

        clock = Clock(lambda: self.time, sleep)
        return Bake(self.ec2, self.logs, FLEET, baked_image.tags_of(MODEL, FLEET), USER_DATA, "subnet-1", seconds, clock=clock)

    def done(self) -> None:
        for one in self.stubs:
            one.assert_no_pending_responses()


@pytest.fixture
def account() -> Iterator[Account]:
    yield Account()


BASE = {"ImageId": "ami-base"}


def test_an_image_is_made_proved_and_ready(account: Account) -> None:
    account.bakes()
    account.expect("terminate_instances", {}, InstanceIds=["i-1"])
    account.launches("i-2", "ami-new", "prove")
    account.says("i-2", ends=False)
    account.says("i-2", "identity machine-id=3 ssh=4", "i-2 shows that the image makes a host of web after 9.0 s")
    account.expect("create_tags", {}, Resources=["ami-new"], Tags=[{"Key": STATE, "Value": "ready"}])
    account.expect("terminate_instances", {}, InstanceIds=["i-2"])
    assert account.bake().make(BASE, AT) == {"ImageId": "ami-new", "Name": NAME, "seconds": 2.0}
    account.done()


def test_an_instance_that_cannot_become_a_host_is_ended_with_its_own_reason(account: Account) -> None:
    account.launches("i-1", "ami-base", "bake")
    account.says("i-1", "i-1 does not become a host of web: cannot pull x: refused. Fix: see the registry")
    account.expect("terminate_instances", {}, InstanceIds=["i-1"])
    with pytest.raises(
        ReleaseError, match="i-1, beside the fleet, could not become .*: cannot pull x: refused. Fix: see the registry. The fleet was not changed"
    ):
        account.bake().make(BASE, AT)
    account.done()


def test_an_instance_that_ends_without_a_word_is_told(account: Account) -> None:
    account.launches("i-1", "ami-base", "bake")
    account.says("i-1", ends=False, state="terminated")
    account.expect("terminate_instances", {}, InstanceIds=["i-1"])
    with pytest.raises(ReleaseError, match="is terminated and has not said why .* Fix: look at its console"):
        account.bake().make(BASE, AT)
    account.done()


def test_one_that_says_nothing_is_waited_for_so_long(account: Account) -> None:
    account.launches("i-1", "ami-base", "bake")
    for _ in range(3):
        account.says("i-1", ends=False)
    account.expect("terminate_instances", {}, InstanceIds=["i-1"])
    with pytest.raises(ReleaseError, match="waited 3 s for i-1 to say .* bake_wait_seconds"):
        account.bake(3).make(BASE, AT)
    account.done()


def test_one_that_nobody_wants_any_more_is_ended(account: Account) -> None:
    account.launches("i-1", "ami-base", "bake")
    account.says("i-1", ends=False)
    account.expect("terminate_instances", {}, InstanceIds=["i-1"])
    work = account.bake()
    work.wanted = lambda: False
    with pytest.raises(ReleaseError, match="ansible-playbook was killed"):
        work.make(BASE, AT)
    account.done()


def test_an_image_that_aws_cannot_make_is_removed(account: Account) -> None:
    account.bakes("failed")
    account.discards("i-1")
    with pytest.raises(ReleaseError, match="AWS could not make the image: snapshot failed"):
        account.bake().make(BASE, AT)
    account.done()


@pytest.mark.parametrize(
    ("line", "reason"),
    [("identity machine-id=1 ssh=4", "the same machine-id"), ("identity machine-id=3 ssh=2", "the same ssh"), ("nothing", "the same machine-id and ssh")],
)
def test_an_image_that_would_give_hosts_one_identity_is_removed(account: Account, line: str, reason: str) -> None:
    account.bakes()
    account.expect("terminate_instances", {}, InstanceIds=["i-1"])
    account.launches("i-2", "ami-new", "prove")
    account.says("i-2", line, "i-2 shows that the image makes a host of web after 9.0 s")
    account.discards("i-2")
    with pytest.raises(ReleaseError, match=reason):
        account.bake().make(BASE, AT)
    account.done()


def test_user_data_is_the_templates_with_another_verb_beside_cloud_init() -> None:
    text, settings = baked_image.told(USER_DATA, "bake")
    assert text.startswith("#cloud-config\n")
    data = json.loads(text.partition("\n")[2])
    assert settings == {**SETTINGS, "verb": "bake"} == json.loads(data["write_files"][0]["content"])
    assert data["write_files"][1] == DATA["write_files"][1]
    assert data["runcmd"] == [["systemctl", "daemon-reload"], ["systemctl", "start", "--no-block", "flotilla-boot.service"]]
    for other in ("", "#!/bin/sh\n", "#cloud-config\n{}", '#cloud-config\n{"write_files": []}'):
        with pytest.raises(ReleaseError, match="of another version .* Fix: run provision.yml"):
            baked_image.told(other, "bake")


def test_the_newest_stay_and_those_that_are_needed() -> None:
    images = [{"ImageId": f"ami-{number}", "CreationDate": f"2026-01-0{number}T00:00:00.000Z"} for number in (3, 1, 5, 2, 4)]
    assert [one["ImageId"] for one in baked_image.surplus(images, 3, [])] == ["ami-1", "ami-2"]
    assert [one["ImageId"] for one in baked_image.surplus(images, 3, ["ami-1", "ami-5"])] == ["ami-2"]
    assert baked_image.surplus(images[:2], 3, []) == []


def test_an_image_is_gone_with_its_snapshots_however_much_is_gone_already(account: Account) -> None:
    account.stubs[0].add_client_error("deregister_image", "InvalidAMIID.Unavailable", expected_params={"ImageId": "ami-new"})
    account.expect("describe_snapshots", {"Snapshots": [{"SnapshotId": "snap-1"}]}, **SEARCH)
    account.stubs[0].add_client_error("delete_snapshot", "InvalidSnapshot.NotFound", expected_params={"SnapshotId": "snap-1"})
    account.stubs[0].activate()
    baked_image.discard(account.ec2, {"ImageId": "ami-new", "Name": NAME})
    account.done()


def parameters(value: dict[str, Any] | None) -> tuple[Any, Stubber]:
    ssm = boto3.client("ssm", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
    stub = Stubber(ssm)
    wanted = {"Name": "/flotilla/production/shop/fleets/web/image"}
    if value is None:
        stub.add_client_error("get_parameter", "ParameterNotFound", expected_params=wanted)
    else:
        stub.add_response("get_parameter", {"Parameter": {"Value": json.dumps(value), "Version": 1}}, wanted)
    stub.activate()
    return ssm, stub


POINTER = {"image": "ami-new", "when": AT.isoformat(), "base": {"id": "ami-base", "name": "debian"}}


def test_a_fleet_that_wants_it_gets_the_image_with_its_disk(account: Account) -> None:
    disk = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30}}, {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 90}}]
    found = {"ImageId": "ami-new", "State": "available", "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": disk}
    account.expect("describe_images", {"Images": [found]}, ImageIds=["ami-new"])
    account.stubs[0].activate()
    chosen = baked_image.for_fleets(account.ec2, parameters(POINTER)[0], MODEL)["web"]
    assert (chosen["image_id"], chosen["root_device_name"], chosen["root_volume_gb"]) == ("ami-new", "/dev/xvda", 30)


def test_a_fleet_without_an_image_or_without_the_wish_gets_none(account: Account) -> None:
    account.stubs[0].activate()
    assert baked_image.for_fleets(account.ec2, parameters(None)[0], MODEL) == {}
    assert baked_image.for_fleets(account.ec2, parameters(POINTER)[0], {**MODEL, "fleets": [{**FLEET, "image": "base"}]}) == {}


def test_an_image_that_is_gone_is_an_error_with_both_ways_out(account: Account) -> None:
    account.stubs[0].add_client_error("describe_images", "InvalidAMIID.NotFound", expected_params={"ImageIds": ["ami-new"]})
    account.stubs[0].activate()
    with pytest.raises(ReleaseError, match="the image ami-new .*does not exist any more, .*bake.yml -e fleet=web.*image: base"):
        baked_image.for_fleets(account.ec2, parameters(POINTER)[0], MODEL)


def test_the_base_is_the_newest_of_its_name_or_the_one_with_the_id(account: Account) -> None:
    images = [{"ImageId": f"ami-{one}", "CreationDate": f"2026-01-0{one}T00:00:00.000Z", "State": "available"} for one in (1, 3, 2)]
    filters = [{"Name": "name", "Values": ["debian-*"]}, {"Name": "state", "Values": ["available"]}]
    account.expect("describe_images", {"Images": images}, Filters=filters, Owners=["136693071363"])
    account.expect("describe_images", {"Images": images[:1]}, ImageIds=["ami-1"])
    account.expect("describe_images", {"Images": []}, ImageIds=["ami-9"])
    account.stubs[0].activate()
    assert baked_image.base_image(account.ec2, {"name": "debian-*", "owner": "136693071363"})["ImageId"] == "ami-3"
    assert baked_image.base_image(account.ec2, {"id": "ami-1"})["ImageId"] == "ami-1"
    with pytest.raises(ReleaseError, match="there is no image ami-9 .* hosts.image"):
        baked_image.base_image(account.ec2, {"id": "ami-9"})


def test_a_template_is_read_and_one_that_is_not_there_is_none(account: Account) -> None:
    data = {"ImageId": "ami-base", "UserData": base64.b64encode(USER_DATA.encode()).decode()}
    wanted = {"LaunchTemplateName": "shop", "Versions": ["$Latest"]}
    account.expect("describe_launch_template_versions", {"LaunchTemplateVersions": [{"LaunchTemplateData": data}]}, **wanted)
    account.stubs[0].add_client_error("describe_launch_template_versions", "InvalidLaunchTemplateName.NotFoundException", expected_params=wanted)
    account.stubs[0].activate()
    assert baked_image.template_of(account.ec2, "shop") == {"user_data": USER_DATA, "image": "ami-base"}
    assert baked_image.template_of(account.ec2, "shop") is None
