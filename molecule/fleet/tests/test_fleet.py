"""A launch template that gives nothing away, and an Auto Scaling group that has launched hosts from it in both zones."""

import base64
import json
import time

import pytest


@pytest.fixture(scope="module")
def template(aws):
    (version,) = aws("ec2").describe_launch_template_versions(LaunchTemplateName="fleet-test-web", Versions=["$Latest"])["LaunchTemplateVersions"]
    return version["LaunchTemplateData"]


@pytest.fixture(scope="module")
def group(aws):
    """The group, when all that it wants is in service."""
    deadline = time.monotonic() + 90
    while True:
        (found,) = aws("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=["fleet-test-web"])["AutoScalingGroups"]
        states = [one["LifecycleState"] for one in found["Instances"]]
        if states == ["InService"] * found["DesiredCapacity"]:
            return found
        assert time.monotonic() < deadline, states
        time.sleep(1)


@pytest.fixture(scope="module")
def instances(aws, group):
    answer = aws("ec2").describe_instances(InstanceIds=[one["InstanceId"] for one in group["Instances"]])
    return [one for reservation in answer["Reservations"] for one in reservation["Instances"]]


def test_the_template_wants_imdsv2_and_an_encrypted_disk(template):
    options = template["MetadataOptions"]
    assert (options["HttpEndpoint"], options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("enabled", "required", 1)
    (disk,) = template["BlockDeviceMappings"]
    assert (disk["Ebs"]["Encrypted"], disk["Ebs"]["VolumeType"], disk["Ebs"]["DeleteOnTermination"]) == (True, "gp3", True)
    assert template["IamInstanceProfile"]["Arn"].endswith(":instance-profile/molecule")


def test_user_data_names_where_the_fleets_bundle_is_and_holds_no_credentials(template):
    text = base64.b64decode(template["UserData"]).decode()
    assert text.startswith("#cloud-config\n")
    laid = {one["path"]: one["content"] for one in json.loads(text.partition("\n")[2])["write_files"]}
    assert json.loads(laid["/etc/flotilla/boot.json"])["fleet"] == "web"
    assert not {"password", "secret_key", "access_key_id"} & {*json.loads(laid["/etc/flotilla/boot.json"])}


def test_the_group_keeps_to_the_stacks_bounds(group):
    assert (group["MinSize"], group["MaxSize"], group["DesiredCapacity"]) == (2, 3, 2)
    assert group["HealthCheckType"] == "EC2"
    assert group["LaunchTemplate"]["Version"] == "$Latest"
    assert group["SuspendedProcesses"] == []


def test_its_hosts_run_in_both_zones_and_say_whose_they_are(instances, tags):
    assert {one["Placement"]["AvailabilityZone"] for one in instances} == {"eu-central-1a", "eu-central-1b"}
    for one in instances:
        worn = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
        assert {**tags, "flotilla:fleet": "web", "Name": "fleet-test-web"}.items() <= worn.items()
        assert one["MetadataOptions"]["HttpTokens"] == "required"


def test_their_root_disks_are_encrypted(aws, template, instances):
    ec2 = aws("ec2")
    (image,) = ec2.describe_images(ImageIds=[template["ImageId"]])["Images"]
    root = image["RootDeviceName"]
    assert [disk["DeviceName"] for disk in template["BlockDeviceMappings"]] == [root]
    volumes = [mapping["Ebs"]["VolumeId"] for one in instances for mapping in one["BlockDeviceMappings"] if mapping["DeviceName"] == root]
    assert [volume["Encrypted"] for volume in ec2.describe_volumes(VolumeIds=volumes)["Volumes"]] == [True, True]
