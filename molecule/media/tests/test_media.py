"""An encrypted file system that can be mounted in both zones, by the stack's hosts alone, each service in a directory of its own."""

import json

import pytest


@pytest.fixture(scope="module")
def efs(aws):
    return aws("efs")


@pytest.fixture(scope="module")
def system(efs):
    (found,) = efs.describe_file_systems(CreationToken="media-test")["FileSystems"]
    return found


@pytest.fixture(scope="module")
def account(state):
    return json.loads((state / "account.json").read_text(encoding="utf-8"))


def test_it_is_encrypted_and_what_nobody_reads_moves_to_cheaper_storage(efs, system, tags):
    assert system["Encrypted"] is True
    assert {tag["Key"]: tag["Value"] for tag in system["Tags"]} == {**tags, "Name": "media-test"}
    policies = efs.describe_lifecycle_configuration(FileSystemId=system["FileSystemId"])["LifecyclePolicies"]
    assert policies == [{"TransitionToIA": "AFTER_30_DAYS"}]


def test_it_can_be_mounted_in_both_zones(efs, system, account):
    targets = efs.describe_mount_targets(FileSystemId=system["FileSystemId"])["MountTargets"]
    assert sorted(one["SubnetId"] for one in targets) == sorted(account["subnets"])
    groups = [efs.describe_mount_target_security_groups(MountTargetId=one["MountTargetId"])["SecurityGroups"] for one in targets]
    assert groups == [[account["security_group"]]] * 2


def test_a_service_has_a_directory_of_its_own_as_its_own_user(efs, system):
    (point,) = efs.describe_access_points(FileSystemId=system["FileSystemId"])["AccessPoints"]
    owner = {"Uid": 10007, "Gid": 10008}
    assert point["PosixUser"].items() >= owner.items()
    assert (point["RootDirectory"]["Path"], point["RootDirectory"]["CreationInfo"]["OwnerUid"]) == ("/web", 10007)


def test_only_the_stacks_hosts_mount_it_and_only_over_tls(efs, system):
    policy = json.loads(efs.describe_file_system_policy(FileSystemId=system["FileSystemId"])["Policy"])
    allowed, denied = sorted(policy["Statement"], key=lambda one: one["Effect"])
    assert (allowed["Effect"], allowed["Principal"]) == ("Allow", {"AWS": "arn:aws:iam::123456789012:role/molecule"})
    assert sorted(allowed["Action"]) == ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
    assert (denied["Effect"], denied["Action"], denied["Condition"]) == ("Deny", "*", {"Bool": {"aws:SecureTransport": "false"}})
