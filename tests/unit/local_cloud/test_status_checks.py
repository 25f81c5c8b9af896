"""Status checks of instances on the local cloud, as the EC2 User Guide and the Auto Scaling User Guide have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_cloud.planes import status_checks
from local_cloud.planes.status_checks import FAILURES, INTERVAL, Check, outcomes, unanswered
from tests.unit.local_cloud.core_support import IMAGE, Bed, bed

TABLE = """IP address       HW type     Flags       HW address            Mask     Device
10.1.0.4         0x1         0x2         02:42:0a:01:00:04     *        br-1
10.1.0.5         0x1         0x0         00:00:00:00:00:00     *        br-1
10.1.0.6         0x1         0x0         00:00:00:00:00:00     *        br-old
10.1.0.6         0x1         0x2         02:42:0a:01:00:06     *        br-1
"""


@pytest.fixture
def it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    with bed(tmp_path) as made:
        monkeypatch.setattr(status_checks, "silent", lambda _addresses: set())
        yield made


def check(it: Bed, times: int = 1) -> None:
    for _ in range(times):
        it.cloud.planes["status_checks"].check()


def statuses(it: Bed, identifier: str) -> tuple[str, str]:
    (one,) = it.ec2.describe_instance_status(InstanceIds=[identifier])["InstanceStatuses"]
    return one["SystemStatus"]["Status"], one["InstanceStatus"]["Status"]


def test_a_few_failed_checks_impair_nothing() -> None:
    """A machine that is busy misses some; what counts is a row of them over a quarter of a minute."""
    assert (FAILURES - 1) * INTERVAL >= 15
    one = Check()
    assert one.observe(True) and one.status == "ok"
    for _ in range(5):
        assert not any(one.observe(passed) for passed in [False] * (FAILURES - 1) + [True])
        assert one.status == "ok"


def test_a_row_of_failed_checks_impairs_until_one_passes() -> None:
    one = Check()
    assert [one.observe(False) for _ in range(FAILURES + 2)] == [False] * (FAILURES - 1) + [True, False, False]
    detail = one.described()["Details"][0]
    assert (one.described()["Status"], detail["Name"], detail["Status"]) == ("impaired", "reachability", "failed") and detail["ImpairedSince"]
    assert one.observe(True)
    assert one.described() == {"Status": "ok", "Details": [{"Name": "reachability", "Status": "passed"}]}


@pytest.mark.parametrize(
    ("state", "attached", "answers", "passed"),
    [
        ("running", True, True, (True, True)),
        ("paused", True, True, (True, False)),
        ("running", True, False, (True, False)),
        ("running", False, False, (False, False)),
        ("running", False, True, (False, False)),
    ],
)
def test_what_the_checks_see(state: str, attached: bool, answers: bool, passed: tuple[bool, bool]) -> None:
    assert outcomes(state, attached, answers) == passed


def test_an_address_that_was_never_asked_for_is_not_judged() -> None:
    assert unanswered(TABLE, ["10.1.0.4", "10.1.0.5", "10.1.0.6", "10.1.0.7"]) == {"10.1.0.5"}


def test_an_instance_is_initializing_then_ok(it: Bed) -> None:
    guest = it.run()["InstanceId"]
    assert statuses(it, guest) == ("initializing", "initializing")
    check(it)
    assert statuses(it, guest) == ("ok", "ok")
    found = it.ec2.describe_instance_status(Filters=[{"Name": "instance-status.status", "Values": ["impaired"]}])
    assert found["InstanceStatuses"] == []


def test_one_that_is_stopped_has_no_status_and_begins_anew(it: Bed) -> None:
    """ "not-applicable" (API reference, DescribeInstanceStatus)."""
    guest = it.run()["InstanceId"]
    check(it)
    it.ec2.stop_instances(InstanceIds=[guest])
    it.settle()
    (one,) = it.ec2.describe_instance_status(InstanceIds=[guest], IncludeAllInstances=True)["InstanceStatuses"]
    assert one["InstanceStatus"]["Status"] == "not-applicable"
    it.ec2.start_instances(InstanceIds=[guest])
    it.settle()
    assert statuses(it, guest) == ("initializing", "initializing")


def test_a_frozen_guest_is_impaired_and_ok_when_it_thaws(it: Bed) -> None:
    guest = it.run()["InstanceId"]
    check(it)
    it.container(guest)["state"] = "paused"
    check(it, FAILURES - 1)
    assert statuses(it, guest) == ("ok", "ok")
    check(it)
    assert statuses(it, guest) == ("ok", "impaired")
    found = it.ec2.describe_instance_status(Filters=[{"Name": "instance-status.status", "Values": ["impaired"]}])["InstanceStatuses"]
    assert [one["InstanceId"] for one in found] == [guest]
    del it.container(guest)["state"]
    check(it)
    assert statuses(it, guest) == ("ok", "ok")


def test_a_guest_without_its_network_fails_the_systems_check_too(it: Bed) -> None:
    guest = it.run()["InstanceId"]
    it.container(guest)["network"] = None
    check(it, FAILURES)
    assert statuses(it, guest) == ("impaired", "impaired")


def test_a_group_replaces_what_is_impaired_and_nothing_else(it: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "Amazon EC2 instance status checks" are part of every group's health checks, and no grace period is for them."""
    it.ec2.create_launch_template(LaunchTemplateName="hosts", LaunchTemplateData={"ImageId": IMAGE, "SecurityGroupIds": [it.group]})
    given: dict[str, Any] = {"MinSize": 1, "MaxSize": 4, "DesiredCapacity": 2, "VPCZoneIdentifier": ",".join(it.subnets), "HealthCheckGracePeriod": 300}
    it.autoscaling.create_auto_scaling_group(AutoScalingGroupName="g", LaunchTemplate={"LaunchTemplateName": "hosts", "Version": "$Latest"}, **given)
    it.reconcile()

    def members() -> dict[str, dict[str, Any]]:
        (group,) = it.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["g"])["AutoScalingGroups"]
        return {one["InstanceId"]: one for one in group["Instances"]}

    frozen, well = sorted(members())
    address = it.instance(frozen)["PrivateIpAddress"]
    monkeypatch.setattr(status_checks, "silent", lambda addresses: {address} & {*addresses})
    check(it, FAILURES - 1)
    it.reconcile()
    assert set(members()) == {frozen, well}
    check(it)
    it.reconcile()
    assert well in members() and frozen not in members() and len(members()) == 2
    causes = [one["Cause"] for one in it.autoscaling.describe_scaling_activities(AutoScalingGroupName="g")["Activities"]]
    assert any(cause.endswith("taken out of service in response to an EC2 instance status checks failure.") for cause in causes), causes
    assert it.state(frozen) == "terminated"
