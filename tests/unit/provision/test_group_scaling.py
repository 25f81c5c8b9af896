"""What scales a group: planned, made, the same again, changed, taken away; and never the number of hosts."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import group_scaling

MODULE = "flotilla.ec2.group_scaling"
BALANCER = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/shop/50dc6c495c0c9188"
GROUP = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/shop-web/943f017f100becff"
REQUESTS = {"per_minute": 1200, "load_balancer_arn": BALANCER, "target_group_arn": GROUP}
MORNING = {"name": "morning", "cron": "0 7 * * 1-5", "time_zone": "Europe/Berlin", "min": 3}
WHOLE: dict[str, Any] = {"cpu_percent": 60, "requests": REQUESTS, "warmup_seconds": 120, "schedule": [MORNING], "leave_seconds": 90}
NOTHING: dict[str, list[dict[str, Any]]] = {"policies": [], "actions": [], "hooks": []}


@pytest.fixture
def group(client: Any) -> Any:
    """An Auto Scaling group in which a policy has set five hosts; its facts when called."""
    ec2, autoscaling = client("ec2"), client("autoscaling")
    subnet = ec2.create_subnet(VpcId=ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"], CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    ec2.create_launch_template(LaunchTemplateName="host", LaunchTemplateData={"ImageId": "ami-12c6146b", "InstanceType": "t3.small"})
    template = {"LaunchTemplateName": "host", "Version": "$Latest"}
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="web", LaunchTemplate=template, MinSize=2, MaxSize=6, DesiredCapacity=5, VPCZoneIdentifier=subnet
    )
    return lambda: autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["web"])["AutoScalingGroups"][0]


def test_scaling_is_planned_made_changed_and_taken_away(run: Any, client: Any, group: Any) -> None:
    autoscaling = client("autoscaling")
    autoscaling.put_scaling_policy(AutoScalingGroupName="web", PolicyName="by-hand", AdjustmentType="ChangeInCapacity", ScalingAdjustment=1)
    made = ["flotilla-cpu", "flotilla-leave", "flotilla-requests", "flotilla-schedule-morning"]
    for change in ({}, {"cpu_percent": 40}, {"scale_in": False}, {"schedule": [{**MORNING, "min": 4}]}, {"leave_seconds": 100}):
        wanted = {**WHOLE, **change}
        assert run(MODULE, check=True, name="web", scaling=wanted)["changed"] is True, change
        done = run(MODULE, name="web", scaling=wanted)
        assert done["changed"] is True and done["removed"] == [], done
        assert done["made"] == made or change
        assert run(MODULE, check=True, name="web", scaling=wanted)["changed"] is False, change
        assert run(MODULE, name="web", scaling=wanted)["changed"] is False, change
    assert run(MODULE, check=True, name="web")["changed"] is True
    assert run(MODULE, name="web")["removed"] == made
    assert run(MODULE, name="web")["changed"] is False
    assert [one["PolicyName"] for one in autoscaling.describe_policies(AutoScalingGroupName="web")["ScalingPolicies"]] == ["by-hand"]
    assert group()["DesiredCapacity"] == 5


def test_a_group_that_does_not_exist_yet_is_planned(run: Any) -> None:
    assert run(MODULE, check=True, name="web", scaling=WHOLE)["changed"] is True
    assert run(MODULE, check=True, name="web")["changed"] is False


def test_requests_are_counted_as_aws_names_them() -> None:
    """ "app/my-alb/778d41231b141a0f/targetgroup/my-alb-target-group/943f017f100becff" (API reference, PredefinedMetricSpecification)."""
    assert group_scaling.resource_label(BALANCER, GROUP) == "app/shop/50dc6c495c0c9188/targetgroup/shop-web/943f017f100becff"


def test_what_is_left_out_of_an_answer_is_no_difference() -> None:
    """AWS may leave out DisableScaleIn, and tells more than was asked."""
    wanted = {"cpu_percent": 60, "warmup_seconds": 120, "scale_in": True, "schedule": [], "leave_seconds": 0}
    (step,) = group_scaling.steps("web", NOTHING, wanted)
    assert step[0] == "put_scaling_policy"
    now = {**step[1], "PolicyARN": "arn:policy", "Alarms": [], "Enabled": True}
    now["TargetTrackingConfiguration"] = {key: value for key, value in now["TargetTrackingConfiguration"].items() if key != "DisableScaleIn"}
    assert group_scaling.steps("web", {**NOTHING, "policies": [now]}, wanted) == []


def test_a_time_that_no_longer_sets_the_number_of_hosts_is_made_anew() -> None:
    """ "If you leave a parameter unspecified when updating a scheduled scaling action, the corresponding value remains unchanged." """
    wanted = {"warmup_seconds": 0, "scale_in": True, "schedule": [{**MORNING, "desired": None}], "leave_seconds": 0}
    now = {"ScheduledActionName": "flotilla-schedule-morning", "Recurrence": "0 7 * * 1-5", "TimeZone": "Europe/Berlin", "MinSize": 3, "DesiredCapacity": 3}
    assert [method for method, _parameters in group_scaling.steps("web", {**NOTHING, "actions": [now]}, wanted)] == [
        "delete_scheduled_action",
        "put_scheduled_update_group_action",
    ]
