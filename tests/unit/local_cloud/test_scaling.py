"""The local cloud changes the number of hosts as "Target tracking scaling policies" and "Scheduled scaling" (EC2 Auto Scaling User Guide) say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_cloud.planes import scaling
from local_cloud.planes.scaling import HIGH, LOW, PERIOD, Tracker, decide, due, falls_on, grown
from tests.unit.local_cloud.core_support import IMAGE, Bed, bed, client

MONDAY = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)
HOOK = {"LifecycleHookName": "flotilla-leave", "AutoScalingGroupName": "g"}


def tracker(target: float, *values: float | None) -> Tracker:
    made = Tracker(target)
    for one in values:
        made.see(one)
    return made


@pytest.mark.parametrize(("ready", "value", "hosts"), [(2, 90.0, 3), (2, 60.0, 2), (2, 120.0, 4), (10, 50.0, 9), (2, 61.0, 3), (3, 0.0, 0)])
def test_growth_is_proportional_to_the_metric(ready: int, value: float, hosts: int) -> None:
    assert grown(ready, value, 60.0) == hosts


@pytest.mark.parametrize(
    ("values", "warming", "desired", "wanted"),
    [
        ([90.0] * (HIGH - 1), 0, 2, 2),  # not long enough
        ([90.0] * HIGH, 0, 2, 3),
        ([90.0, None, 90.0], 0, 2, 2),  # a figure is missing
        ([500.0] * HIGH, 0, 2, 6),  # max
        ([90.0] * HIGH, 1, 3, 3),  # the one that warms up is enough
        ([180.0] * HIGH, 1, 3, 6),  # it is not
        ([10.0] * (LOW - 1), 0, 4, 4),
        ([10.0] * LOW, 0, 4, 3),  # one at a time
        ([10.0] * LOW, 0, 2, 2),  # min
        ([10.0] * LOW, 1, 4, 4),  # nothing goes while something warms up
        ([55.0] * LOW, 0, 4, 4),  # below the target, yet above 90 % of it
        ([50.0] * LOW, 0, 4, 4),  # three would be above the target
    ],
)
def test_what_a_policy_of_60_percent_decides(values: list[float | None], warming: int, desired: int, wanted: int) -> None:
    ready = desired - warming
    assert decide([(tracker(60.0, *values), True)], ready, warming, desired, 2, 6)[0] == wanted


def test_the_largest_wins_and_all_must_agree_to_shrink() -> None:
    """ "… scales out if any of the target tracking policies are ready for scale out. It scales in only if all of the target tracking policies (that have
    the scale-in portion enabled) are ready to scale in." """
    high, low, calm = tracker(60.0, *[90.0] * HIGH), tracker(100.0, *[10.0] * LOW), tracker(60.0, *[58.0] * LOW)
    assert decide([(low, True), (high, True)], 4, 0, 4, 2, 8)[0] == 6
    assert decide([(low, True), (calm, True)], 4, 0, 4, 2, 8)[0] == 4
    assert decide([(low, True), (calm, False)], 4, 0, 4, 2, 8)[0] == 3
    assert decide([(low, False)], 4, 0, 4, 2, 8)[0] == 4


@pytest.mark.parametrize(
    ("cron", "moment", "means"),
    [
        ("0 7 * * 1-5", MONDAY, True),
        ("0 7 * * MON-FRI", MONDAY, True),
        ("0 7 * * 0,6", MONDAY, False),
        ("*/15 * * * *", MONDAY + timedelta(minutes=45), True),
        ("*/15 * * * *", MONDAY + timedelta(minutes=46), False),
        ("0 7 1 * 1", MONDAY, True),  # one of the days is enough
        ("0 7 1 * *", MONDAY, False),
        ("0 7 * JAN 7", MONDAY - timedelta(days=1), True),  # 7 is Sunday too
    ],
)
def test_cron(cron: str, moment: datetime, means: bool) -> None:
    assert falls_on(cron, moment) is means


def test_a_time_is_met_once_and_in_its_zone() -> None:
    before = MONDAY - timedelta(hours=1, seconds=30)  # 05:59:30, in Berlin 06:59:30
    assert due("0 7 * * *", "Europe/Berlin", before, before + timedelta(minutes=1))
    assert not due("0 7 * * *", "Europe/Berlin", before + timedelta(minutes=1), before + timedelta(minutes=2))
    assert not due("0 7 * * *", None, before, before + timedelta(minutes=1))


class Ticking:
    """A group of a bed whose periods pass one by one, with the CPU that each guest uses in them."""

    def __init__(self, it: Bed) -> None:
        self.it, self.plane = it, it.cloud.planes["scaling"]
        self.plane.cpu.cores = 2
        self.now, self.moment = time.monotonic() + 1000, MONDAY  # what was launched in this test has long been warm

    def group(self) -> dict[str, Any]:
        return dict(self.it.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["g"])["AutoScalingGroups"][0])

    def pass_by(self, percent: float, periods: int = 1) -> int:
        """Let each guest use this share of the machine for so many periods; the desired capacity then."""
        for _ in range(periods):
            self.now += PERIOD
            self.moment += timedelta(seconds=PERIOD)
            for one in self.group()["Instances"]:
                container = self.it.container(one["InstanceId"])
                container["cpu"] = container.get("cpu", 0.0) + PERIOD * 2 * percent / 100
            self.plane.step(self.now, self.moment)
            self.it.reconcile(2)
            # The clock of the plane runs ahead of the one by which launches are dated.
            self.it.cloud.planes["autoscaling"].launched.update({one["InstanceId"]: self.now - 1000 for one in self.group()["Instances"]})
        return int(self.group()["DesiredCapacity"])


@pytest.fixture
def ticking(tmp_path: Path) -> Iterator[Ticking]:
    with bed(tmp_path) as it:
        it.ec2.create_launch_template(LaunchTemplateName="hosts", LaunchTemplateData={"ImageId": IMAGE, "SecurityGroupIds": [it.group]})
        for name, low, high in (("g", 2, 4), ("other", 0, 1)):
            it.autoscaling.create_auto_scaling_group(
                AutoScalingGroupName=name,
                MinSize=low,
                MaxSize=high,
                VPCZoneIdentifier=",".join(it.subnets),
                LaunchTemplate={"LaunchTemplateName": "hosts", "Version": "$Latest"},
            )
        it.reconcile()
        yield Ticking(it)


def track(it: Bed, target: float, **more: Any) -> None:
    metric = {"PredefinedMetricType": "ASGAverageCPUUtilization"}
    configuration = {"PredefinedMetricSpecification": metric, "TargetValue": target, "DisableScaleIn": False}
    it.autoscaling.put_scaling_policy(
        AutoScalingGroupName="g", PolicyName="cpu", PolicyType="TargetTrackingScaling", TargetTrackingConfiguration=configuration, **more
    )


def test_a_group_grows_to_its_maximum_and_shrinks_back(ticking: Ticking) -> None:
    track(ticking.it, 40.0, EstimatedInstanceWarmup=30)
    assert ticking.pass_by(90) == 2  # the first measurement is a beginning only
    assert ticking.pass_by(90, HIGH) == 4
    assert ticking.pass_by(90, HIGH) == 4
    text = ticking.it.autoscaling.describe_scaling_activities(AutoScalingGroupName="g")["Activities"][0]["Cause"]
    assert "a monitor alarm TargetTracking-g-AlarmHigh-" in text and "triggered policy cpu changing the desired capacity from 2 to 4." in text
    assert "an instance was started in response to a difference between desired and actual capacity" in text
    assert ticking.pass_by(1, LOW - 1) == 4
    assert ticking.pass_by(1) == 3
    assert ticking.pass_by(1, 3) == 2
    text = ticking.it.autoscaling.describe_scaling_activities(AutoScalingGroupName="g")["Activities"][0]["Cause"]
    assert "AlarmLow" in text and "changing the desired capacity from 3 to 2." in text


def test_while_alarm_notification_is_suspended_policies_do_nothing(ticking: Ticking) -> None:
    """ "AlarmNotification: … accepts notifications from CloudWatch alarms"; a release suspends it."""
    track(ticking.it, 40.0)
    ticking.it.autoscaling.suspend_processes(AutoScalingGroupName="g", ScalingProcesses=["AlarmNotification"])
    assert ticking.pass_by(90, HIGH + 2) == 2
    ticking.it.autoscaling.resume_processes(AutoScalingGroupName="g", ScalingProcesses=["AlarmNotification"])
    assert ticking.pass_by(90) == 4


def test_requests_are_counted_by_target(ticking: Ticking) -> None:
    metrics = ticking.it.cloud.planes["elbv2"].metrics
    label = "app/shop/50dc6c495c0c9188/targetgroup/shop-web/73e2d6bc24d8a067"
    configuration = {"PredefinedMetricSpecification": {"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": label}, "TargetValue": 600.0}
    ticking.it.autoscaling.put_scaling_policy(
        AutoScalingGroupName="g", PolicyName="requests", PolicyType="TargetTrackingScaling", TargetTrackingConfiguration=configuration
    )
    for _ in range(HIGH + 1):  # 150 in each period are 1800 in a minute, 900 for each of two targets
        metrics.count("app/shop/50dc6c495c0c9188", "shop-web-73e2d6bc24d8a067", 150, 0, {})
        ticking.pass_by(0)
    assert ticking.group()["DesiredCapacity"] == 3


def test_cpu_is_a_metric_of_instances_and_of_their_group(ticking: Ticking) -> None:
    ticking.pass_by(90, 2)
    for name, value in (("AutoScalingGroupName", "g"), ("InstanceId", ticking.group()["Instances"][0]["InstanceId"])):
        metric = {"Namespace": "AWS/EC2", "MetricName": "CPUUtilization", "Dimensions": [{"Name": name, "Value": value}]}
        end = datetime.now(UTC) + timedelta(minutes=1)
        query = [{"Id": "a", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Average"}}]
        (row,) = client("cloudwatch").get_metric_data(MetricDataQueries=query, StartTime=end - timedelta(minutes=10), EndTime=end)["MetricDataResults"]
        assert row["Values"] == [pytest.approx(90.0, abs=2)], name


def test_a_scheduled_action_moves_the_floor_and_the_hosts_follow(ticking: Ticking) -> None:
    """A desired capacity below the new minimum is raised to it."""
    action = {"ScheduledActionName": "noon", "Recurrence": "1 7 * * *", "TimeZone": "Etc/UTC", "MinSize": 3}
    ticking.it.autoscaling.put_scheduled_update_group_action(AutoScalingGroupName="g", **action)
    ticking.it.autoscaling.put_scheduled_update_group_action(AutoScalingGroupName="other", **{**action, "MinSize": 0})
    assert ticking.pass_by(0, 11) == 2
    assert ticking.pass_by(0, 2) == 3
    assert ticking.group()["MinSize"] == 3 and len(ticking.group()["Instances"]) == 3
    text = ticking.it.autoscaling.describe_scaling_activities(AutoScalingGroupName="g")["Activities"][0]["Cause"]
    assert "a scheduled action update of AutoScalingGroup constraints to min: 3, max: 4, desired: 3" in text


def test_a_leaving_host_waits_for_its_hook(ticking: Ticking) -> None:
    """ "The instance remains in a wait state either until you complete the lifecycle action, or until the timeout period ends." """
    it = ticking.it
    it.autoscaling.put_lifecycle_hook(LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING", HeartbeatTimeout=300, DefaultResult="CONTINUE", **HOOK)
    it.autoscaling.set_desired_capacity(AutoScalingGroupName="g", DesiredCapacity=3)
    it.reconcile()
    it.autoscaling.set_desired_capacity(AutoScalingGroupName="g", DesiredCapacity=2)
    it.reconcile()
    (leaving,) = [one["InstanceId"] for one in ticking.group()["Instances"] if one["LifecycleState"] == "Terminating:Wait"]
    assert it.state(leaving) == "running"
    assert it.autoscaling.describe_scaling_activities(AutoScalingGroupName="g")["Activities"][0]["StatusCode"] == "MidLifecycleAction"
    metadata = it.cloud.planes["metadata"]
    path = "/latest/meta-data/autoscaling/target-lifecycle-state"
    states = {one.id: metadata.item(one, path) for one in it.cloud.planes["vpc"].instances() if one.state == "running"}
    assert states.pop(leaving) == "Terminated" and set(states.values()) == {"InService"}
    it.autoscaling.record_lifecycle_action_heartbeat(InstanceId=leaving, **HOOK)
    it.autoscaling.complete_lifecycle_action(InstanceId=leaving, LifecycleActionResult="CONTINUE", **HOOK)
    it.reconcile()
    assert it.state(leaving) == "terminated" and len(ticking.group()["Instances"]) == 2
    with pytest.raises(ClientError, match="No active Lifecycle Action found"):
        it.autoscaling.complete_lifecycle_action(InstanceId=leaving, LifecycleActionResult="CONTINUE", **HOOK)


def test_policies_are_named_within_their_group_and_go_with_it(ticking: Ticking) -> None:
    api = ticking.it.autoscaling
    track(ticking.it, 40.0)
    api.put_scaling_policy(AutoScalingGroupName="other", PolicyName="cpu", AdjustmentType="ChangeInCapacity", ScalingAdjustment=1)
    assert {one["AutoScalingGroupName"] for one in api.describe_policies()["ScalingPolicies"]} == {"g", "other"}
    api.delete_auto_scaling_group(AutoScalingGroupName="g", ForceDelete=True)
    assert [one["AutoScalingGroupName"] for one in api.describe_policies()["ScalingPolicies"]] == ["other"]


def test_hundred_percent_is_the_whole_machine() -> None:
    cpu = scaling.Cpu(2)
    cpu.measure({"i-1": (100.0, 10.0)}, {})
    cpu.measure({"i-1": (105.0, 15.0), "i-2": (105.0, 1.0)}, {})
    assert cpu.percent == {"i-1": pytest.approx(50.0)}
