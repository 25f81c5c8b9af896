"""Instance refreshes of the local cloud behave as the Amazon EC2 Auto Scaling User Guide and API Reference say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_cloud.planes.instance_refresh import bounds, next_step, reached
from tests.unit.local_cloud.core_support import IMAGE, Bed, bed, client


@pytest.mark.parametrize(
    ("desired", "minimum", "maximum", "expected"),
    [(2, 100, 150, (2, 3)), (2, 100, 110, (2, 3)), (10, 100, 120, (10, 12)), (10, 90, 100, (9, 10)), (2, 90, None, (1, 2)), (1, 100, 200, (1, 2))],
)
def test_between_minimum_and_maximum_healthy(desired: int, minimum: int, maximum: int | None, expected: tuple[int, int]) -> None:
    """With both at 100 % one more is launched first; without a maximum one goes while its replacement comes."""
    assert bounds(desired, minimum, maximum) == expected


def member(name: str, zone: str = "a", *, new: bool = False, ready: bool = True) -> dict[str, Any]:
    return {"id": name, "zone": zone, "new": new, "ready": ready, "launched": float(name[-1])}


@pytest.mark.parametrize(
    ("members", "span", "goal", "expected"),
    [
        # launch before terminate: 2 hosts, at least 2, at most 3
        ([member("o1"), member("o2")], (2, 3), 2, (1, [])),
        ([member("o1"), member("o2"), member("n3", new=True, ready=False)], (2, 3), 2, (0, [])),
        ([member("o1"), member("o2"), member("n3", new=True)], (2, 3), 2, (0, ["o1"])),
        ([member("o2"), member("n3", new=True)], (2, 3), 2, (1, [])),
        ([member("o2"), member("n3", new=True), member("n4", new=True)], (2, 3), 2, (0, ["o2"])),
        # a checkpoint at one of two: the other stays
        ([member("o2"), member("n3", new=True)], (2, 3), 1, (0, [])),
        # terminate and launch
        ([member("o1"), member("o2")], (1, 2), 2, (0, ["o1"])),
        ([member("o2")], (1, 2), 2, (1, [])),
        # the fullest zone gives one up
        ([member("o1", "a"), member("o2", "b"), member("n3", "b", new=True)], (2, 3), 2, (0, ["o2"])),
        # one that is not ready serves nobody
        ([member("o1"), member("o2", ready=False)], (2, 3), 2, (1, ["o2"])),
        # fewer are wanted than before
        ([member("o1"), member("o2"), member("n3", new=True), member("n4", new=True, ready=False)], (2, 3), 2, (0, ["o1"])),
    ],
)
def test_what_is_launched_and_ended(members: list[dict[str, Any]], span: tuple[int, int], goal: int, expected: tuple[int, list[str]]) -> None:
    assert next_step(members, 2, *span, goal) == expected


def test_when_a_checkpoint_is_reached() -> None:
    new, warming = member("n3", new=True), member("n4", new=True, ready=False)
    assert reached([member("o2"), new], 2, 1) and not reached([member("o2"), new], 2, 2)
    assert not reached([member("o1"), member("o2"), new], 2, 1) and not reached([new, warming], 2, 2)


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Bed]:
    with bed(tmp_path) as made:
        data = {"ImageId": IMAGE, "InstanceType": "t3.small", "SecurityGroupIds": [made.group]}
        made.ec2.create_launch_template(LaunchTemplateName="hosts", LaunchTemplateData=data)
        made.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName="g",
            MinSize=1,
            MaxSize=2,
            DesiredCapacity=2,
            VPCZoneIdentifier=",".join(made.subnets),
            LaunchTemplate={"LaunchTemplateName": "hosts", "Version": "1"},
        )
        made.reconcile()
        made.ec2.create_launch_template_version(LaunchTemplateName="hosts", SourceVersion="1", LaunchTemplateData={"UserData": "I2Nsb3VkLWNvbmZpZw=="})
        yield made


LAUNCH_FIRST = {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150, "InstanceWarmup": 0, "SkipMatching": True, "AutoRollback": True}


def start(it: Bed, version: str = "2", **preferences: Any) -> str:
    wanted = {"LaunchTemplate": {"LaunchTemplateName": "hosts", "Version": version}}
    made = it.autoscaling.start_instance_refresh(AutoScalingGroupName="g", DesiredConfiguration=wanted, Preferences=LAUNCH_FIRST | preferences)
    return str(made["InstanceRefreshId"])


def shown(it: Bed) -> dict[str, Any]:
    return dict(it.autoscaling.describe_instance_refreshes(AutoScalingGroupName="g")["InstanceRefreshes"][0])


def group(it: Bed) -> dict[str, Any]:
    return dict(it.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["g"])["AutoScalingGroups"][0])


def versions(it: Bed) -> dict[str, str]:
    return {one["InstanceId"]: one["LaunchTemplate"]["Version"] for one in group(it)["Instances"]}


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_every_instance_is_replaced_and_never_fewer_are_in_service(it: Bed) -> None:
    before = versions(it)
    assert set(before.values()) == {"1"}
    identifier = start(it)
    assert shown(it)["Status"] == "Pending"
    fewest, most, percents = 9, 0, []
    for _ in range(12):
        it.reconcile(1)
        good = [one for one in group(it)["Instances"] if one["LifecycleState"] == "InService"]
        fewest, most = min(fewest, len(good)), max(most, len(group(it)["Instances"]))
        percents.append(shown(it)["PercentageComplete"])
    assert shown(it) | {"InstanceRefreshId": identifier, "Status": "Successful", "PercentageComplete": 100, "InstancesToUpdate": 0} == shown(it)
    assert shown(it)["EndTime"] and percents == sorted(percents) and 50 in percents
    assert set(versions(it).values()) == {"2"} and not set(versions(it)) & set(before)
    assert fewest == 2 and most == 3
    assert len({one["AvailabilityZone"] for one in group(it)["Instances"]}) == 2, "each zone has one again"
    assert group(it)["LaunchTemplate"]["Version"] == "2", "the desired configuration is the group's now"
    assert {it.container(one)["files"]["/var/lib/cloud/seed/nocloud/user-data"][0] for one in versions(it)} == {b"#cloud-config"}


def test_what_matches_is_skipped(it: Bed) -> None:
    start(it)
    it.reconcile(12)
    before = versions(it)
    start(it)
    it.reconcile()
    assert shown(it)["Status"] == "Successful" and versions(it) == before
    start(it, SkipMatching=False)
    it.reconcile(12)
    assert shown(it)["Status"] == "Successful" and not set(versions(it)) & set(before)


def test_one_at_a_time(it: Bed) -> None:
    start(it, InstanceWarmup=600)
    with pytest.raises(ClientError) as refused:
        start(it)
    assert code(refused) == "InstanceRefreshInProgress"
    it.reconcile()
    assert (shown(it)["Status"], shown(it)["PercentageComplete"], len(versions(it))) == ("InProgress", 0, 3), "the new one warms up"


def test_a_cancelled_one_leaves_what_it_has_done(it: Bed) -> None:
    start(it, InstanceWarmup=600)
    it.reconcile(2)
    it.autoscaling.cancel_instance_refresh(AutoScalingGroupName="g")
    assert shown(it)["Status"] == "Cancelling"
    it.reconcile()
    assert shown(it)["Status"] == "Cancelled" and group(it)["LaunchTemplate"]["Version"] == "1"
    with pytest.raises(ClientError) as refused:
        it.autoscaling.cancel_instance_refresh(AutoScalingGroupName="g")
    assert code(refused) == "ActiveInstanceRefreshNotFound"


def test_rolled_back_all_are_of_the_older_version(it: Bed) -> None:
    before = set(versions(it))
    start(it, CheckpointPercentages=[50, 100], CheckpointDelay=600)
    it.reconcile(6)
    assert sorted(versions(it).values()) == ["1", "2"] and "checkpoint of 50 percent" in shown(it)["StatusReason"]
    it.autoscaling.rollback_instance_refresh(AutoScalingGroupName="g")
    assert shown(it)["Status"] == "RollbackInProgress" and shown(it)["RollbackDetails"]["PercentageCompleteOnRollback"] == 50
    it.reconcile(8)
    assert shown(it)["Status"] == "RollbackSuccessful"
    assert set(versions(it).values()) == {"1"} and len(set(versions(it)) & before) == 1, "the one that had not been replaced stays"
    assert group(it)["LaunchTemplate"]["Version"] == "1"


def test_a_ringing_alarm_rolls_back_or_fails(it: Bed) -> None:
    cloudwatch = client("cloudwatch")
    facts = {"Namespace": "n", "MetricName": "m", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1.0}
    cloudwatch.put_metric_alarm(AlarmName="errors", ComparisonOperator="GreaterThanThreshold", **facts)
    with pytest.raises(ClientError, match="none"):
        start(it, AlarmSpecification={"Alarms": ["none"]})
    start(it, AlarmSpecification={"Alarms": ["errors"]}, InstanceWarmup=600)
    it.reconcile(2)
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="test")
    it.reconcile(8)
    assert shown(it)["Status"] == "RollbackSuccessful" and "errors" in shown(it)["StatusReason"]
    assert set(versions(it).values()) == {"1"} and len(versions(it)) == 2
    start(it, AlarmSpecification={"Alarms": ["errors"]}, AutoRollback=False)
    it.reconcile(2)
    assert shown(it)["Status"] == "Failed"


def test_a_group_on_the_latest_version_cannot_be_rolled_back(it: Bed) -> None:
    """ "A rollback is not supported [when] the Auto Scaling group uses the launch template's $Latest or $Default version." """
    it.autoscaling.update_auto_scaling_group(AutoScalingGroupName="g", LaunchTemplate={"LaunchTemplateName": "hosts", "Version": "$Latest"})
    with pytest.raises(ClientError, match=r"\$Latest"):
        start(it)
    start(it, AutoRollback=False)
    with pytest.raises(ClientError) as refused:
        it.autoscaling.rollback_instance_refresh(AutoScalingGroupName="g")
    assert code(refused) == "IrreversibleInstanceRefresh"


def test_bake_time_is_waited_for(it: Bed) -> None:
    start(it, BakeTime=600)
    it.reconcile(12)
    assert shown(it)["Status"] == "Baking" and set(versions(it).values()) == {"2"}
    it.cloud.planes["autoscaling"].refresher.known["g"][0].until = 1.0
    it.reconcile()
    assert shown(it)["Status"] == "Successful"


def test_an_unhealthy_new_instance_is_replaced_by_another_of_the_new_version(it: Bed) -> None:
    start(it, InstanceWarmup=600)
    it.reconcile(2)
    (ill,) = [name for name, version in versions(it).items() if version == "2"]
    it.autoscaling.set_instance_health(InstanceId=ill, HealthStatus="Unhealthy")
    it.reconcile(4)
    (other,) = [name for name, version in versions(it).items() if version == "2"]
    assert other != ill and list(versions(it).values()).count("1") == 2


def test_a_fleet_that_grows_meanwhile_grows_by_new_ones(it: Bed) -> None:
    it.autoscaling.update_auto_scaling_group(AutoScalingGroupName="g", MaxSize=4)
    start(it, InstanceWarmup=600)
    it.reconcile(2)
    it.autoscaling.set_desired_capacity(AutoScalingGroupName="g", DesiredCapacity=3)
    it.reconcile(2)
    assert sorted(versions(it).values()) == ["1", "1", "2", "2"]
