"""Auto Scaling groups of the local cloud behave as the Amazon EC2 Auto Scaling User Guide and API Reference say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_cloud.planes.autoscaling import unhealthy_reason, victims, zone_for_launch
from tests.unit.local_cloud.core_support import IMAGE, Bed, bed


def member(name: str, zone: str = "a", launched: float = 0.0, *, protected: bool = False, healthy: bool = True) -> dict[str, Any]:
    return {"id": name, "zone": zone, "launched": launched, "protected": protected, "healthy": healthy}


@pytest.mark.parametrize(("present", "zone"), [([], "a"), (["a"], "b"), (["a", "b"], "a"), (["a", "a", "b"], "b")])
def test_launches_in_the_zone_with_the_fewest(present: list[str], zone: str) -> None:
    assert zone_for_launch(["a", "b"], present) == zone


def test_scale_in_ends_the_oldest_in_the_fullest_zone() -> None:
    """ "Default termination policy": the zone with the most instances, then the oldest; none that is protected."""
    members = [member("old", "a", 1), member("older", "b", 0), member("new", "a", 2)]
    assert victims(members, 1) == ["old"]
    assert victims(members, 2) == ["old", "older"]
    assert victims([member("kept", "a", 1, protected=True), member("new", "a", 2)], 2) == ["new"]
    assert victims([member("old", "a", 1), member("ill", "b", 2, healthy=False)], 1) == ["ill"]


@pytest.mark.parametrize(
    ("state", "kind", "targets", "age", "unhealthy"),
    [
        ("running", "EC2", ["unhealthy"], 999, False),
        ("stopped", "EC2", [], 0, True),
        ("shutting-down", "ELB", [], 0, True),
        ("running", "ELB", ["healthy", "unhealthy"], 61, True),
        ("running", "ELB", ["unhealthy"], 59, False),
        ("running", "ELB", ["draining", "initial", "unused"], 999, False),
        ("pending", "ELB", [], 0, False),
    ],
)
def test_health_of_an_instance(state: str, kind: str, targets: list[str], age: float, unhealthy: bool) -> None:
    """ "Health checks for instances in an Auto Scaling group", with a grace period of 60 s."""
    assert bool(unhealthy_reason(state, kind, targets, age, 60)) is unhealthy


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Bed]:
    with bed(tmp_path) as made:
        data = {"ImageId": IMAGE, "InstanceType": "t3.small", "SecurityGroupIds": [made.group]}
        made.ec2.create_launch_template(LaunchTemplateName="hosts", LaunchTemplateData=data)
        yield made


def make(it: Bed, desired: int = 2, **options: Any) -> None:
    given = {
        "AutoScalingGroupName": "g",
        "MinSize": 1,
        "MaxSize": 4,
        "DesiredCapacity": desired,
        "VPCZoneIdentifier": ",".join(it.subnets),
        "LaunchTemplate": {"LaunchTemplateName": "hosts", "Version": "$Latest"},
        **options,
    }
    it.autoscaling.create_auto_scaling_group(**given)
    it.reconcile()


def target_group(it: Bed, delay: int) -> str:
    made = it.elbv2.create_target_group(Name="web", Protocol="HTTP", Port=8080, VpcId=it.vpc)["TargetGroups"][0]["TargetGroupArn"]
    it.elbv2.modify_target_group_attributes(TargetGroupArn=made, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": str(delay)}])
    return str(made)


def registered(it: Bed, arn: str) -> set[str]:
    return set(it.cloud.backend("elbv2").target_groups[arn].targets)


def instances(it: Bed) -> dict[str, dict[str, Any]]:
    group = it.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["g"])["AutoScalingGroups"][0]
    return {one["InstanceId"]: one for one in group["Instances"]}


def activities(it: Bed) -> list[dict[str, Any]]:
    return list(it.autoscaling.describe_scaling_activities(AutoScalingGroupName="g")["Activities"])


def test_a_group_is_spread_over_its_zones_and_tagged(it: Bed) -> None:
    make(it, Tags=[{"Key": "Name", "Value": "host", "PropagateAtLaunch": True, "ResourceId": "g", "ResourceType": "auto-scaling-group"}])
    assert sorted(one["AvailabilityZone"] for one in instances(it).values()) == ["eu-central-1a", "eu-central-1b"]
    assert {one["LifecycleState"] for one in instances(it).values()} == {"InService"}
    for identifier in instances(it):
        tags = {tag["Key"]: tag["Value"] for tag in it.instance(identifier)["Tags"]}
        assert (tags["aws:autoscaling:groupName"], tags["Name"]) == ("g", "host")
        assert it.container(identifier)["running"]


def test_two_to_three_to_two(it: Bed) -> None:
    make(it)
    before = set(instances(it))
    it.autoscaling.set_desired_capacity(AutoScalingGroupName="g", DesiredCapacity=3)
    it.reconcile()
    assert len(instances(it)) == 3 and before < set(instances(it))
    it.autoscaling.update_auto_scaling_group(AutoScalingGroupName="g", DesiredCapacity=2)
    it.reconcile()
    assert len(instances(it)) == 2
    assert len({one["AvailabilityZone"] for one in instances(it).values()}) == 2
    assert [one["Description"].split(":")[0] for one in activities(it)] == ["Terminating EC2 instance"] + ["Launching a new EC2 instance"] * 3
    assert {one["StatusCode"] for one in activities(it)} == {"Successful"}
    assert "from 3 to 2" in activities(it)[0]["Cause"] and "from 2 to 3" in activities(it)[1]["Cause"]


def test_a_new_version_of_the_template_is_for_new_instances(it: Bed) -> None:
    """moto 5.2.5 answers UpdateAutoScalingGroup with a 500 when the template's new version has user data."""
    make(it, 1)
    it.ec2.create_launch_template_version(LaunchTemplateName="hosts", SourceVersion="1", LaunchTemplateData={"UserData": "I2Nsb3VkLWNvbmZpZw=="})
    it.autoscaling.update_auto_scaling_group(AutoScalingGroupName="g", LaunchTemplate={"LaunchTemplateName": "hosts", "Version": "$Latest"}, DesiredCapacity=2)
    it.reconcile()
    seeds = [it.container(one)["files"]["/var/lib/cloud/seed/nocloud/user-data"][0] for one in instances(it)]
    assert sorted(seeds) == [b"#cloud-config", b"#cloud-config\n{}\n"]


def test_what_ends_is_replaced_in_its_zone(it: Bed) -> None:
    make(it)
    gone = next(iter(instances(it)))
    zone = instances(it)[gone]["AvailabilityZone"]
    it.ec2.terminate_instances(InstanceIds=[gone])
    it.reconcile()
    new = instances(it)
    assert len(new) == 2 and gone not in new
    assert zone in {one["AvailabilityZone"] for one in new.values()}
    assert any("EC2 health check" in one["Cause"] for one in activities(it))


def test_a_zone_without_capacity_is_passed_over(it: Bed) -> None:
    """ "If the attempt fails … attempts to launch the instances in another Availability Zone until it succeeds"; when all refuse, again at the next look."""
    make(it)
    away = it.cloud.settings.state / "zones-away"
    away.write_text("eu-central-1a\n")
    gone = next(one for one, facts in instances(it).items() if facts["AvailabilityZone"] == "eu-central-1a")
    with pytest.raises(ClientError, match=r"InsufficientInstanceCapacity.*t3.small capacity in the Availability Zone you requested \(eu-central-1a\)"):
        it.run(InstanceType="t3.small")
    it.ec2.terminate_instances(InstanceIds=[gone])
    it.reconcile()
    assert [one["AvailabilityZone"] for one in instances(it).values()] == ["eu-central-1b"] * 2
    (failed,) = [one for one in activities(it) if one["StatusCode"] == "Failed"]
    assert "do not have sufficient" in failed["StatusMessage"] and "from 1 to 2" in failed["Cause"]
    away.write_text("eu-central-1a\neu-central-1b\n")
    it.ec2.terminate_instances(InstanceIds=list(instances(it)))
    it.reconcile()
    assert instances(it) == {}
    away.unlink()
    it.reconcile()
    assert sorted(one["AvailabilityZone"] for one in instances(it).values()) == ["eu-central-1a", "eu-central-1b"]


def test_a_guest_that_dies_is_replaced(it: Bed) -> None:
    make(it)
    dead = next(iter(instances(it)))
    it.container(dead)["running"] = False
    it.cloud.planes["ec2"].observe()
    assert it.state(dead) == "stopped"
    it.reconcile()
    assert len(instances(it)) == 2 and dead not in instances(it)
    assert it.state(dead) == "terminated"


def test_suspended_processes_rest(it: Bed) -> None:
    """ "Suspend and resume Amazon EC2 Auto Scaling processes"."""
    make(it)
    names = ["HealthCheck", "Launch", "ReplaceUnhealthy", "Terminate"]
    it.autoscaling.suspend_processes(AutoScalingGroupName="g", ScalingProcesses=names)
    group = it.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["g"])["AutoScalingGroups"][0]
    assert [one["ProcessName"] for one in group["SuspendedProcesses"]] == names
    gone = next(iter(instances(it)))
    it.ec2.terminate_instances(InstanceIds=[gone])
    it.autoscaling.set_desired_capacity(AutoScalingGroupName="g", DesiredCapacity=3)
    it.reconcile()
    assert len(instances(it)) == 2 and gone in instances(it)
    it.autoscaling.resume_processes(AutoScalingGroupName="g", ScalingProcesses=names)
    it.reconcile()
    assert len(instances(it)) == 3 and gone not in instances(it)


def test_unhealthy_ones_are_marked_but_stay_while_replacing_is_suspended(it: Bed) -> None:
    make(it)
    it.autoscaling.suspend_processes(AutoScalingGroupName="g", ScalingProcesses=["ReplaceUnhealthy"])
    ill = next(iter(instances(it)))
    it.autoscaling.set_instance_health(InstanceId=ill, HealthStatus="Unhealthy")
    it.reconcile()
    assert instances(it)[ill]["HealthStatus"] == "Unhealthy"
    assert it.state(ill) == "running"


def test_members_are_registered_once(it: Bed) -> None:
    """A target that a deployment has taken out stays out: the group registers at launch only."""
    arn = target_group(it, 0)
    make(it, TargetGroupARNs=[arn])
    assert registered(it, arn) == set(instances(it))
    drained = next(iter(instances(it)))
    it.elbv2.deregister_targets(TargetGroupArn=arn, Targets=[{"Id": drained}])
    it.autoscaling.set_desired_capacity(AutoScalingGroupName="g", DesiredCapacity=3)
    it.reconcile()
    assert registered(it, arn) == set(instances(it)) - {drained}


def test_launched_while_add_to_load_balancer_is_suspended(it: Bed) -> None:
    """ "It does not add the instances that were launched while this process was suspended. You must register those instances manually." """
    arn = target_group(it, 0)
    make(it, 1, TargetGroupARNs=[arn])
    first = set(instances(it))
    it.autoscaling.suspend_processes(AutoScalingGroupName="g", ScalingProcesses=["AddToLoadBalancer"])
    it.autoscaling.set_desired_capacity(AutoScalingGroupName="g", DesiredCapacity=2)
    it.reconcile()
    it.autoscaling.resume_processes(AutoScalingGroupName="g", ScalingProcesses=["AddToLoadBalancer"])
    it.reconcile()
    assert len(instances(it)) == 2 and registered(it, arn) == first


def test_scale_in_drains_before_it_terminates(it: Bed) -> None:
    """ "Amazon EC2 Auto Scaling waits for in-flight requests to complete or the timeout to expire before it terminates instances." """
    arn = target_group(it, 3000)
    make(it, TargetGroupARNs=[arn])
    it.autoscaling.set_desired_capacity(AutoScalingGroupName="g", DesiredCapacity=1)
    it.reconcile()
    leaving = [name for name, one in instances(it).items() if one["LifecycleState"] == "Terminating"]
    assert len(leaving) == 1 and it.state(leaving[0]) == "running"
    assert leaving[0] not in registered(it, arn)
    assert activities(it)[0]["StatusCode"] == "WaitingForELBConnectionDraining"
    it.cloud.planes["autoscaling"].leaving[leaving[0]] = 0  # its time is over
    it.reconcile()
    assert leaving[0] not in instances(it) and it.state(leaving[0]) == "terminated"


def test_terminate_instance_in_a_group(it: Bed) -> None:
    make(it)
    gone = next(iter(instances(it)))
    it.autoscaling.terminate_instance_in_auto_scaling_group(InstanceId=gone, ShouldDecrementDesiredCapacity=True)
    it.reconcile()
    assert len(instances(it)) == 1 and gone not in instances(it)
    with pytest.raises(ClientError, match="desiredSize equals minSize"):
        it.autoscaling.terminate_instance_in_auto_scaling_group(InstanceId=next(iter(instances(it))), ShouldDecrementDesiredCapacity=True)


def test_a_group_with_instances_is_deleted_by_force_only(it: Bed) -> None:
    make(it)
    with pytest.raises(ClientError) as refused:
        it.autoscaling.delete_auto_scaling_group(AutoScalingGroupName="g")
    assert refused.value.response["Error"]["Code"] == "ResourceInUse"
    guests = set(instances(it))
    it.autoscaling.delete_auto_scaling_group(AutoScalingGroupName="g", ForceDelete=True)
    it.settle()
    assert {it.state(one) for one in guests} == {"terminated"}
    assert not [name for name in it.engine.containers if "-i-" in name]
