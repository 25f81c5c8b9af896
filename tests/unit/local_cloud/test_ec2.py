"""Instances, their metadata service and their VPC on the local cloud: states, seeds, tokens, errors as the EC2 User Guide and API Reference say."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local_cloud.planes import ec2
from local_cloud.planes.metadata import Tokens
from tests.unit.local_cloud.core_support import IMAGE, REGION, Bed, bed

SEED = "/var/lib/cloud/seed/nocloud"
TOKEN = "/latest/api/token"  # noqa: S105
DATA = "/latest/meta-data"


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Bed]:
    with bed(tmp_path) as made:
        yield made


# ---- instances


def test_an_instance_is_a_guest_with_the_address_key_and_user_data_of_the_api(it: Bed) -> None:
    pair = it.ec2.create_key_pair(KeyName="me", KeyType="ed25519")
    made = it.run(KeyName="me", UserData="#!/bin/sh\necho hello\n")
    guest = it.container(made["InstanceId"])
    assert made["State"]["Name"] == "pending" and it.state(made["InstanceId"]) == "running"
    assert guest["address"] == made["PrivateIpAddress"]
    assert guest["hostname"] == "ip-" + made["PrivateIpAddress"].replace(".", "-")
    assert guest["files"][f"{SEED}/user-data"] == (b"#!/bin/sh\necho hello\n", 0o600)
    seed = json.loads(guest["files"][f"{SEED}/meta-data"])
    assert seed["instance-id"] == made["InstanceId"] and seed["public-keys"][0].startswith("ssh-")
    assert pair["KeyPairId"]


def test_stop_start_and_terminate(it: Bed) -> None:
    """ "Instance lifecycle"."""
    guest = it.run()["InstanceId"]
    assert it.ec2.stop_instances(InstanceIds=[guest])["StoppingInstances"][0]["CurrentState"]["Name"] == "stopping"
    it.settle()
    assert it.state(guest) == "stopped" and not it.container(guest)["running"]
    it.ec2.start_instances(InstanceIds=[guest])
    it.settle()
    assert it.state(guest) == "running" and it.container(guest)["running"]
    assert it.ec2.terminate_instances(InstanceIds=[guest])["TerminatingInstances"][0]["CurrentState"]["Name"] == "shutting-down"
    it.settle()
    assert it.state(guest) == "terminated"
    assert it.cloud.container_name(guest) not in it.engine.containers


def test_an_instance_that_is_terminated_while_it_boots_never_runs(it: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest is made before it can be removed; its states are those of the last call."""
    plane, booting, go = it.cloud.planes["ec2"], threading.Event(), threading.Event()
    boot = plane.boot

    def slowly(instance: Any) -> None:
        booting.set()
        assert go.wait(10)
        boot(instance)

    monkeypatch.setattr(plane, "boot", slowly)
    given = {"ImageId": IMAGE, "MinCount": 1, "MaxCount": 1, "SubnetId": it.subnets[0]}
    guest = it.ec2.run_instances(**given)["Instances"][0]["InstanceId"]
    assert booting.wait(10)
    it.ec2.terminate_instances(InstanceIds=[guest])
    assert it.state(guest) == "shutting-down"
    go.set()
    it.settle()
    assert it.state(guest) == "terminated" and it.cloud.container_name(guest) not in it.engine.containers


def test_an_instance_that_has_not_been_booted_has_not_ended(it: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto says running of a new instance before the cloud has begun to boot it; looked at just then, it is no lost one."""
    plane = it.cloud.planes["ec2"]
    boot, seen = plane.launch, []

    def launch(instance: Any) -> None:
        plane.observe()
        seen.append(instance.state)
        boot(instance)

    monkeypatch.setattr(plane, "launch", launch)
    made = it.run()
    assert seen == ["running"] and it.state(made["InstanceId"]) == "running"


def test_a_guest_that_ends_by_itself_is_stopped(it: Bed) -> None:
    guest = it.run()["InstanceId"]
    it.container(guest)["running"] = False
    it.cloud.planes["ec2"].observe()
    assert it.state(guest) == "stopped"


def test_a_guest_that_is_frozen_still_runs(it: Bed) -> None:
    guest = it.run()["InstanceId"]
    it.container(guest)["state"] = "paused"
    it.cloud.planes["ec2"].observe()
    assert it.state(guest) == "running"


@pytest.mark.parametrize(("limit", "hint"), [(128, True), (1024, False)])
def test_a_guest_that_restarts_instead_of_running_is_said_once_with_the_limit_that_it_may_have_met(
    it: Bed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: int, hint: bool
) -> None:
    guest = it.run()["InstanceId"]
    monkeypatch.setattr(ec2, "inotify_instances", lambda: limit)
    it.container(guest)["state"] = "restarting"
    with caplog.at_level("WARNING", ec2.__name__):
        it.cloud.planes["ec2"].observe()
        assert not caplog.messages  # a reboot from within looks so for a moment
        it.cloud.planes["ec2"].observe()
        it.cloud.planes["ec2"].observe()
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith(f"instance {guest}: its guest restarts instead of running")
    assert ("128 is enough for about 16 guests" in caplog.text) is hint
    assert ("sudo sysctl -w fs.inotify.max_user_instances=1024" in caplog.text) is hint


def test_a_volume_of_no_snapshot_says_so(it: Bed) -> None:
    it.ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1)
    assert [one["SnapshotId"] for one in it.ec2.describe_volumes()["Volumes"]] == [""]


def test_the_images_are_found_by_name(it: Bed) -> None:
    found = it.ec2.describe_images(Owners=["136693071363"], Filters=[{"Name": "name", "Values": ["debian-12-amd64-*"]}])["Images"]
    assert [one["ImageId"] for one in found] == [IMAGE]


def test_the_template_gives_profile_groups_and_metadata_options(it: Bed) -> None:
    profile(it, "host")
    options = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    data = {"ImageId": IMAGE, "SecurityGroupIds": [it.group], "IamInstanceProfile": {"Name": "host"}, "MetadataOptions": options}
    it.ec2.create_launch_template(LaunchTemplateName="hosts", LaunchTemplateData=data)
    made = it.ec2.run_instances(LaunchTemplate={"LaunchTemplateName": "hosts"}, MinCount=1, MaxCount=1, SubnetId=it.subnets[1])["Instances"][0]
    it.settle()
    known = it.instance(made["InstanceId"])
    assert known["IamInstanceProfile"]["Arn"].endswith("/host")
    assert [one["GroupId"] for one in known["SecurityGroups"]] == [it.group]
    assert known["MetadataOptions"]["HttpTokens"] == "required"


# ---- metadata


def profile(it: Bed, role: str) -> None:
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
    it.iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))
    it.iam.create_instance_profile(InstanceProfileName=role)
    it.iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)


def token(it: Bed, address: str) -> str:
    status, text = it.cloud.planes["metadata"].put(address, TOKEN, "60", False)
    assert status == 200
    return str(text)


def test_a_token_is_for_its_instance_and_its_seconds() -> None:
    tokens = Tokens()
    made = tokens.make("i-1", 60, now=100)
    assert tokens.good(made, "i-1", now=159)
    assert not tokens.good(made, "i-1", now=160)
    assert not tokens.good(made, "i-2", now=101)
    assert not tokens.good(None, "i-1", now=101)


def test_the_metadata_service_of_a_vpc_that_is_made_again_answers(it: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same addresses, after the VPC that had them was deleted: the service is there already."""
    monkeypatch.setattr(type(it.cloud.settings), "metadata_port", property(lambda _self: 0))
    plane = it.cloud.planes["metadata"]
    try:
        plane.listen("127.0.0.1")
        first = plane.servers["127.0.0.1"]
        plane.listen("127.0.0.1")
        assert plane.servers["127.0.0.1"] is first, "a second one could not have the first one's port"
    finally:
        plane.stop()


def test_errors_of_the_metadata_service(it: Bed) -> None:
    """ "Use the Instance Metadata Service": 400 bad lifetime, 401 no valid token, 403 forwarded, 404 no such item."""
    address = it.run()["PrivateIpAddress"]
    plane = it.cloud.planes["metadata"]
    for seconds in (None, "0", "21601", "soon"):
        assert plane.put(address, TOKEN, seconds, False)[0] == 400
    assert plane.put(address, TOKEN, "60", True)[0] == 403
    assert plane.get(address, f"{DATA}/instance-id", None)[0] == 401
    assert plane.get(address, f"{DATA}/instance-id", "made up")[0] == 401
    assert plane.get(address, f"{DATA}/public-ipv4", token(it, address))[0] == 404
    assert plane.get(address, f"{DATA}/iam/security-credentials/", token(it, address))[0] == 404
    assert plane.put("10.1.9.9", TOKEN, "60", False)[0] == 404


def test_items(it: Bed) -> None:
    made = it.run(SubnetId=it.subnets[1])
    address = made["PrivateIpAddress"]
    items = {"instance-id": made["InstanceId"], "local-ipv4": address, "placement/availability-zone": "eu-central-1b", "placement/region": REGION}
    for path, value in items.items():
        assert it.cloud.planes["metadata"].get(address, f"{DATA}/{path}", token(it, address)) == (200, value)
    document = json.loads(it.cloud.planes["metadata"].get(address, "/latest/dynamic/instance-identity/document", token(it, address))[1])
    assert (document["instanceId"], document["region"], document["accountId"]) == (made["InstanceId"], REGION, "123456789012")


def test_credentials_are_the_role_s(it: Bed) -> None:
    profile(it, "host")
    made = it.run(IamInstanceProfile={"Name": "host"})
    address = made["PrivateIpAddress"]
    get = it.cloud.planes["metadata"].get
    assert get(address, f"{DATA}/iam/security-credentials/", token(it, address)) == (200, "host")
    given = json.loads(get(address, f"{DATA}/iam/security-credentials/host", token(it, address))[1])
    keys = {"aws_access_key_id": given["AccessKeyId"], "aws_secret_access_key": given["SecretAccessKey"], "aws_session_token": given["Token"]}
    sts = boto3.client("sts", region_name=REGION, config=Config(ignore_configured_endpoint_urls=True), **keys)
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:sts::123456789012:assumed-role/host/{made['InstanceId']}"


# ---- VPC


def refused(call: object, **options: str) -> str:
    with pytest.raises(ClientError) as error:
        call(**options)  # type: ignore[operator]
    return str(error.value.response["Error"]["Code"])


def test_what_is_in_use_cannot_be_deleted(it: Bed) -> None:
    """DependencyViolation: "The specified resource has dependencies" (API Reference, error codes)."""
    other = it.security_group("other")
    it.allow(other, 80, UserIdGroupPairs=[{"GroupId": it.group}])
    guest = it.run()["InstanceId"]
    assert refused(it.ec2.delete_subnet, SubnetId=it.subnets[0]) == "DependencyViolation"
    assert refused(it.ec2.delete_security_group, GroupId=it.group) == "DependencyViolation"
    assert refused(it.ec2.delete_vpc, VpcId=it.vpc) == "DependencyViolation"
    it.ec2.terminate_instances(InstanceIds=[guest])
    it.settle()
    assert refused(it.ec2.delete_security_group, GroupId=it.group) == "DependencyViolation"  # the other group's rule names it
    it.ec2.delete_security_group(GroupId=other)
    it.ec2.delete_security_group(GroupId=it.group)
    for subnet in it.subnets:
        it.ec2.delete_subnet(SubnetId=subnet)
    it.ec2.delete_vpc(VpcId=it.vpc)
    assert not it.engine.networks and not it.engine.containers


def test_a_vpc_is_a_network_with_a_resolver(it: Bed) -> None:
    """ "The Amazon DNS server … the base of the VPC network range, plus two"."""
    it.run()
    assert list(it.engine.networks.values()) == ["10.1.0.0/16"]
    resolver = it.engine.containers[it.cloud.planes["vpc"].resolver(it.vpc)]
    assert resolver["address"] == "10.1.0.2"
    it.cloud.publish("database.example", "10.1.0.77")
    assert "10.1.0.77 database.example\n" in it.engine.executed[-1][2]


def test_versions_of_a_template_go_but_for_the_default_one_and_keep_their_numbers(it: Bed) -> None:
    """ "You can't delete the default version of a launch template" (DeleteLaunchTemplateVersions)."""
    it.ec2.create_launch_template(LaunchTemplateName="hosts", LaunchTemplateData={"ImageId": IMAGE})
    for kind in ("t3.small", "t3.medium"):
        it.ec2.create_launch_template_version(LaunchTemplateName="hosts", LaunchTemplateData={"ImageId": IMAGE, "InstanceType": kind})
    it.ec2.modify_launch_template(LaunchTemplateName="hosts", DefaultVersion="2")
    answer = it.ec2.delete_launch_template_versions(LaunchTemplateName="hosts", Versions=["1", "2", "9"])
    assert [one["VersionNumber"] for one in answer["SuccessfullyDeletedLaunchTemplateVersions"]] == [1]
    codes = {one["VersionNumber"]: one["ResponseError"]["Code"] for one in answer["UnsuccessfullyDeletedLaunchTemplateVersions"]}
    assert codes == {2: "unexpectedError", 9: "launchTemplateVersionDoesNotExist"}
    made = it.ec2.create_launch_template_version(LaunchTemplateName="hosts", LaunchTemplateData={"ImageId": IMAGE})["LaunchTemplateVersion"]
    assert made["VersionNumber"] == 4

    def type_of(version: str) -> str:
        (found,) = it.ec2.describe_launch_template_versions(LaunchTemplateName="hosts", Versions=[version])["LaunchTemplateVersions"]
        return str(found["LaunchTemplateData"].get("InstanceType"))

    assert (type_of("$Default"), type_of("3"), type_of("$Latest")) == ("t3.small", "t3.medium", "None")
    it.ec2.delete_launch_template_versions(LaunchTemplateName="hosts", Versions=["3", "4"])
    it.ec2.delete_launch_template(LaunchTemplateName="hosts")
