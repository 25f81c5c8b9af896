"""Hosts that Auto Scaling launches while a release runs."""

from __future__ import annotations

from typing import Any

import botocore.session
from ansible_collections.flotilla.ec2.plugins.action import release_newcomers
from ansible_collections.flotilla.ec2.plugins.module_utils.release import processes
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import Clock
from botocore.stub import Stubber

GROUP = "hello-local-web"


def stubbed(service: str) -> tuple[Any, Stubber]:
    client = botocore.session.get_session().create_client(service, region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
    stub = Stubber(client)
    stub.activate()
    return client, stub


def group(**states: str) -> dict[str, Any]:
    instances = [
        {"InstanceId": name.replace("_", "-"), "LifecycleState": state, "AvailabilityZone": "z", "HealthStatus": "Healthy", "ProtectedFromScaleIn": False}
        for name, state in states.items()
    ]
    common = {"MinSize": 1, "MaxSize": 4, "DesiredCapacity": 2, "DefaultCooldown": 300, "AvailabilityZones": ["z"], "HealthCheckType": "EC2", "CreatedTime": 0}
    return {"AutoScalingGroups": [{"AutoScalingGroupName": GROUP, "Instances": instances, **common}]}


def instances(**states: str) -> dict[str, Any]:
    return {"Reservations": [{"Instances": [{"InstanceId": name.replace("_", "-"), "State": {"Name": state}} for name, state in states.items()]}]}


def test_who_leaves_or_is_known_is_no_newcomer() -> None:
    seen = {"g": {"instances": {"i-1": "InService", "i-2": "Pending", "i-3": "Terminating:Wait", "i-4": "InService"}}}
    assert processes.newcomers(seen, ["i-1"]) == ["i-2", "i-4"]


def test_who_is_being_ended_or_has_ended_is_gone() -> None:
    seen = {"g": {"instances": {"i-1": "InService", "i-2": "Terminating:Wait"}}}
    states = {"i-1": "running", "i-2": "running", "i-3": "shutting-down", "i-5": "stopped"}
    assert processes.departed(seen, states, ["i-1", "i-2", "i-3", "i-4", "i-5"]) == ["i-2", "i-3", "i-4"]


def test_a_pending_newcomer_is_waited_for() -> None:
    autoscaling, scaling_stub = stubbed("autoscaling")
    ec2, ec2_stub = stubbed("ec2")
    for state in ("pending", "running"):
        scaling_stub.add_response("describe_auto_scaling_groups", group(i_1="InService", i_2="Pending"), {"AutoScalingGroupNames": [GROUP]})
        ec2_stub.add_response("describe_instances", instances(i_2=state), {"Filters": [{"Name": "instance-id", "Values": ["i-2"]}]})
    moments = [0.0]
    clock = Clock(lambda: moments[0], lambda seconds: moments.__setitem__(0, moments[0] + seconds))
    assert release_newcomers.running(autoscaling, ec2, [GROUP], ["i-1"], 60, clock) == ["i-2"]
    assert moments == [1.0]
