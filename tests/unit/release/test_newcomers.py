"""Hosts that come and go while a release begins or runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.flotilla.ec2.plugins.action import release_newcomers, release_plan, service_info
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, processes
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
    assert release_newcomers.running(autoscaling, lambda: ec2, [GROUP], ["i-1"], 60, clock) == ["i-2"]
    assert moments == [1.0]


def test_ec2_is_not_asked_where_nobody_has_come() -> None:
    autoscaling, scaling_stub = stubbed("autoscaling")
    scaling_stub.add_response("describe_auto_scaling_groups", group(i_1="InService"), {"AutoScalingGroupNames": [GROUP]})
    clock = Clock(lambda: 0.0, lambda seconds: pytest.fail("it waited"))
    assert release_newcomers.running(autoscaling, lambda: pytest.fail("it asked"), [GROUP], ["i-1"], 60, clock) == []


class Silent:
    """A host that does not answer until a moment (seconds from the beginning), of an instance that may be young for so long; and when it begins to leave."""

    def __init__(self, answers_at: float | None, young: float, leaves_at: float | None = None) -> None:
        self.seconds, self.answers_at, self.young, self.leaves_at, self.asked = 0.0, answers_at, young, leaves_at, 0

    def look(self) -> dict[str, Any]:
        self.seconds += 0.5
        if self.answers_at is None or self.seconds < self.answers_at:
            raise AnsibleConnectionFailure("no route to host")
        return {"services": {"web": {"release": 1}}}

    def age(self) -> float:
        self.asked += 1
        return self.young

    def gone(self) -> str:
        return "it leaves" if self.leaves_at is not None and self.seconds >= self.leaves_at else ""

    def run(self) -> dict[str, Any]:
        clock = Clock(lambda: self.seconds, lambda seconds: setattr(self, "seconds", self.seconds + seconds))
        return service_info.patiently(self.look, self.age, self.gone, clock)


def test_an_instance_that_was_just_launched_is_waited_for() -> None:
    host = Silent(answers_at=20, young=300)
    assert host.run()["services"] == {"web": {"release": 1}}
    assert 20 <= host.seconds <= 23 and host.asked == 1


def test_a_host_that_answers_is_asked_nothing_else() -> None:
    host = Silent(answers_at=0, young=300)
    assert host.run()["services"] and host.asked == 0


@pytest.mark.parametrize(("young", "seconds"), [(0.0, 1), (-900.0, 1), (30.0, 33)])
def test_a_silent_host_is_unreachable_when_it_is_no_longer_young(young: float, seconds: float) -> None:
    host = Silent(answers_at=None, young=young)
    with pytest.raises(AnsibleConnectionFailure):
        host.run()
    assert host.seconds <= seconds


def test_an_instance_that_gives_up_meanwhile_runs_nothing() -> None:
    host = Silent(answers_at=None, young=300, leaves_at=10)
    assert host.run()["services"] == {}
    assert 10 <= host.seconds <= 17


GOOD = {"reachable": True, "running": True, "target": {"state": "healthy"}}


@pytest.mark.parametrize(
    ("row", "balanced", "doubtful"),
    [
        (GOOD, True, False),
        (GOOD, False, True),
        ({**GOOD, "reachable": False}, True, True),
        ({**GOOD, "running": None}, True, True),
        ({**GOOD, "target": {"state": "draining"}}, True, True),
        ({**GOOD, "target": None}, True, True),
    ],
)
def test_what_serves_is_not_on_its_way_out(row: dict[str, Any], balanced: bool, doubtful: bool) -> None:
    assert processes.doubtful({"i-1": row}, balanced) == (["i-1"] if doubtful else [])


def test_who_is_on_the_way_out_when_a_release_begins_is_left_out_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    autoscaling, scaling_stub = stubbed("autoscaling")
    ec2, ec2_stub = stubbed("ec2")
    monkeypatch.setattr(api, "client", lambda service, _region: {"autoscaling": autoscaling, "ec2": ec2}[service])
    common = {"AutoScalingGroupName": GROUP, "AvailabilityZone": "z", "ProtectedFromScaleIn": False}
    states = [
        {"InstanceId": "i-2", "LifecycleState": "Terminating:Wait", "HealthStatus": "HEALTHY", **common},
        {"InstanceId": "i-3", "LifecycleState": "InService", "HealthStatus": "UNHEALTHY", **common},
        {"InstanceId": "i-4", "LifecycleState": "InService", "HealthStatus": "HEALTHY", **common},
    ]
    asked = ["i-2", "i-3", "i-4", "i-5", "i-6"]
    scaling_stub.add_response("describe_auto_scaling_instances", {"AutoScalingInstances": states}, {"InstanceIds": asked})
    ec2_stub.add_response("describe_instances", instances(i_5="running"), {"Filters": [{"Name": "instance-id", "Values": ["i-5", "i-6"]}]})
    idle, silent = {**GOOD, "running": None}, {**GOOD, "reachable": False}
    seen = {"i-1": GOOD, "i-2": {**GOOD, "target": {"state": "draining"}}, "i-3": idle, "i-4": idle, "i-5": silent, "i-6": silent}
    found = release_plan.ActionModule._leaving({"target_group": "arn", "region": "eu-central-1"}, seen)
    assert found == {
        "i-2": "its Auto Scaling group is ending it (Terminating:Wait)",
        "i-3": "its Auto Scaling group found it unhealthy and replaces it",
        "i-6": "the instance is terminated",
    }


def test_who_serves_is_not_asked_about() -> None:
    assert release_plan.ActionModule._leaving({"target_group": "arn", "region": "nowhere"}, {"i-1": GOOD}) == {}


def test_when_an_instance_was_launched() -> None:
    ec2, stub = stubbed("ec2")
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    filters = [{"Name": "instance-id", "Values": ["i-1"]}, {"Name": "instance-state-name", "Values": ["pending", "running"]}]
    stub.add_response("describe_instances", {"Reservations": [{"Instances": [{"InstanceId": "i-1", "LaunchTime": moment}]}]}, {"Filters": filters})
    stub.add_response("describe_instances", {"Reservations": []}, {"Filters": filters})
    assert api.launched(ec2, "i-1") == moment.timestamp()
    assert api.launched(ec2, "i-1") is None
