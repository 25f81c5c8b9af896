"""A group is rolled to its template's newest version: what is asked of AWS, what is waited for, and when it is taken back."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest
from ansible_collections.flotilla.ec2.plugins.action import instance_refresh as action
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import instance_refresh
from ansible_collections.flotilla.ec2.plugins.module_utils.aws.instance_refresh import RefreshError, Rollout
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import Clock
from botocore.stub import ANY, Stubber

GROUP, TEMPLATE, REFRESH, TARGETS = "hello-local-web", "lt-1", "refresh-1", "arn:aws:elasticloadbalancing:web"
WANTED: dict[str, Any] = {"batch": 1, "warmup_seconds": 60, "checkpoints": [], "checkpoint_seconds": 600, "bake_seconds": 0, "alarms": []}
BEGAN = datetime(2026, 1, 1, 3, 0, tzinfo=UTC)


def group(version: str = "$Latest", hosts: dict[str, str | tuple[str, str, bool]] | None = None, **more: Any) -> dict[str, Any]:
    """DescribeAutoScalingGroups' row. hosts: id → version, or (version, lifecycle state, healthy)."""
    rows = {name: one if isinstance(one, tuple) else (one, "InService", True) for name, one in (hosts or {"i-1": "1", "i-2": "1"}).items()}
    return {
        "AutoScalingGroupName": GROUP, "MinSize": 2, "MaxSize": 4, "DesiredCapacity": 2, "DefaultCooldown": 300, "AvailabilityZones": ["z"],
        "HealthCheckType": "EC2", "CreatedTime": BEGAN, "LaunchTemplate": {"LaunchTemplateId": TEMPLATE, "LaunchTemplateName": GROUP, "Version": version},
        "TargetGroupARNs": [TARGETS],
        "Instances": [
            {
                "InstanceId": name, "LifecycleState": state, "HealthStatus": "Healthy" if healthy else "Unhealthy", "AvailabilityZone": "z",
                "ProtectedFromScaleIn": False, "LaunchTemplate": {"LaunchTemplateId": TEMPLATE, "LaunchTemplateName": GROUP, "Version": number},
            }
            for name, (number, state, healthy) in rows.items()
        ],
    } | more  # fmt: skip


def refresh(status: str, percent: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "InstanceRefreshId": REFRESH, "AutoScalingGroupName": GROUP, "Status": status, "PercentageComplete": percent, "StartTime": BEGAN,
        "DesiredConfiguration": {"LaunchTemplate": {"LaunchTemplateId": TEMPLATE, "Version": "2"}},
        "Preferences": {"AutoRollback": True, "InstanceWarmup": 60},
    } | more  # fmt: skip


@functools.cache
def client(service: str) -> Any:
    """EC2's model alone takes a second to load."""
    return botocore.session.get_session().create_client(service, region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")


class Account:
    """What AWS will answer, in order."""

    def __init__(self) -> None:
        self.clients = {service: client(service) for service in ("autoscaling", "ec2", "elbv2", "logs")}
        self.stubs = {service: Stubber(one) for service, one in self.clients.items()}
        self.now, self.said = 0.0, list[str]()
        clock = Clock(lambda: self.now, self.sleep)
        self.rollout = Rollout(**self.clients, group=GROUP, target_groups=[TARGETS], log_group="/f/boot", say=self.said.append, clock=clock, poll_seconds=2.0)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def answers(self, service: str, method: str, answer: dict[str, Any], asked: dict[str, Any] | None = None) -> None:
        self.stubs[service].add_response(method, answer, asked)

    def sees(self, found: dict[str, Any], now: dict[str, Any], healthy: list[str] | None = None) -> None:
        """One look of the loop; healthy is given when the new hosts' targets are asked for."""
        self.answers("autoscaling", "describe_auto_scaling_groups", {"AutoScalingGroups": [found]}, {"AutoScalingGroupNames": [GROUP]})
        wanted = {"AutoScalingGroupName": GROUP, "InstanceRefreshIds": [REFRESH]}
        self.answers("autoscaling", "describe_instance_refreshes", {"InstanceRefreshes": [now]}, wanted)
        if healthy is not None:
            names = [one["InstanceId"] for one in found["Instances"]]
            rows = [{"Target": {"Id": one}, "TargetHealth": {"State": "healthy" if one in healthy else "unhealthy"}} for one in names]
            self.answers("elbv2", "describe_target_health", {"TargetHealthDescriptions": rows}, {"TargetGroupArn": TARGETS})

    def done(self) -> None:
        for stub in self.stubs.values():
            stub.assert_no_pending_responses()


@pytest.fixture
def account() -> Iterator[Account]:
    made = Account()
    with contextlib.ExitStack() as stack:
        for stub in made.stubs.values():
            stack.enter_context(stub)
        yield made


def look(account: Account, row: dict[str, Any] | None, refreshes: list[dict[str, Any]] | None = None, newest: int = 2) -> dict[str, Any]:
    account.answers("autoscaling", "describe_auto_scaling_groups", {"AutoScalingGroups": [row] if row else []}, {"AutoScalingGroupNames": [GROUP]})
    if row and row.get("LaunchTemplate"):
        account.answers("autoscaling", "describe_instance_refreshes", {"InstanceRefreshes": refreshes or []})
        numbers = [{"VersionNumber": one, "LaunchTemplateData": {"ImageId": f"ami-{one}", "InstanceType": "t3.small"}} for one in range(1, newest + 1)]
        account.answers("ec2", "describe_launch_template_versions", {"LaunchTemplateVersions": numbers}, {"LaunchTemplateId": TEMPLATE, "Versions": ANY})
    return instance_refresh.look(account.clients["autoscaling"], account.clients["ec2"], GROUP)


def test_what_there_is(account: Account) -> None:
    found = look(account, group(hosts={"i-1": "1", "i-2": "2", "i-3": ("1", "Terminating:Wait", True)}), [refresh("Successful")])
    assert (found["newest"], found["version"], found["refresh"]) == ("2", "$Latest", None)
    assert found["images"] == {"1": "ami-1, t3.small", "2": "ami-2, t3.small"}
    assert instance_refresh.outdated(found) == ["i-1"], "one that leaves is not replaced"
    with pytest.raises(RefreshError, match=r"does not exist. Fix: run provision.yml"):
        look(account, None)
    with pytest.raises(RefreshError, match="no launch template of its own"):
        look(account, {**group(), "LaunchTemplate": {}} | {"LaunchTemplate": {}})


def test_the_version_to_go_back_to(account: Account) -> None:
    assert instance_refresh.version_before(look(account, group("1"))) == "1"
    assert instance_refresh.version_before(look(account, group(hosts={"i-1": "1", "i-2": "2"}))) == "1"
    assert instance_refresh.version_before(look(account, group(hosts={"i-1": "1", "i-2": "2", "i-3": "2"}))) == "2"


def test_never_fewer_hosts_and_back_when_something_is_wrong(account: Account) -> None:
    found = look(account, group())
    assert instance_refresh.preferences(found, WANTED) == {
        "MinHealthyPercentage": 100, "MaxHealthyPercentage": 150, "InstanceWarmup": 60, "SkipMatching": True, "AutoRollback": True,
    }  # fmt: skip
    asked = instance_refresh.preferences({**found, "desired": 3}, {**WANTED, "checkpoints": [25, 100], "bake_seconds": 30, "alarms": ["errors"]})
    assert (asked["MaxHealthyPercentage"], asked["CheckpointPercentages"], asked["CheckpointDelay"]) == (134, [25, 100], 600)
    assert (asked["BakeTime"], asked["AlarmSpecification"]) == (30, {"Alarms": ["errors"]})
    assert instance_refresh.preferences(found, {**WANTED, "batch": 5})["MaxHealthyPercentage"] == 200


@pytest.mark.parametrize(
    ("row", "wanted", "text"),
    [
        (group(), {"checkpoints": [50, 25]}, "are not percentages in ascending order"),
        (group(), {"checkpoints": [0]}, "are not percentages"),
        (group(), {"batch": 0}, "batch: 0 is not between 1 and 1000"),
        (group(), {"warmup_seconds": 9999}, "warmup_seconds: 9999"),
        (group(), {"alarms": [str(one) for one in range(11)]}, "watches 10 at most"),
        (group(SuspendedProcesses=[{"ProcessName": "Launch"}]), {}, "aws autoscaling resume-processes .* --scaling-processes Launch"),
        (group(hosts={"i-1": ("1", "Standby", True)}), {}, "i-1: on standby"),
        (group(hosts={"i-1": ("1", "Terminating", True)}), {}, "the group has no host"),
    ],
)
def test_what_a_refresh_could_not_do_is_refused(account: Account, row: dict[str, Any], wanted: dict[str, Any], text: str) -> None:
    (problem,) = instance_refresh.refusals(look(account, row), {**WANTED, **wanted})
    assert re.search(text, problem), problem


def test_a_protected_host_is_refused(account: Account) -> None:
    row = group()
    row["Instances"][0]["ProtectedFromScaleIn"] = True
    (problem,) = instance_refresh.refusals(look(account, row), WANTED)
    assert "i-1: protected from scale-in" in problem and "set-instance-protection" in problem


def test_the_plan_says_from_where_to_where_and_for_how_long(account: Account) -> None:
    text = "\n".join(": ".join(row) for row in instance_refresh.shown(look(account, group()), {**WANTED, "checkpoints": [50], "alarms": ["errors"]}))
    for part in ("from: version 1 (ami-1, t3.small)", "to: version 2 (ami-2, t3.small)", "i-1  version 1 → 2", "never fewer than 2: 1 more at a time, 60 s",
                 "50 %, 600 s each", "alarm errors; to version 1", "about 14 min"):  # fmt: skip
        assert part in text
    same = dict(instance_refresh.shown(look(account, group(hosts={"i-1": "2", "i-2": "2"})), WANTED))
    assert same == {"to": "version 2 (ami-2, t3.small)", "stay": "2 of 2 hosts, which have it already"}
    pinned = dict(instance_refresh.shown(look(account, group("2", hosts={"i-1": "2"})), WANTED))
    assert pinned["group"].startswith("version 2 → $Latest")
    full = dict(instance_refresh.shown(look(account, group(MaxSize=2)), WANTED))
    assert full["meanwhile"].startswith("more hosts than max (2)")
    going = dict(instance_refresh.shown(look(account, group(), [refresh("InProgress")]), WANTED))
    assert going["unfinished"] == "a refresh is InProgress since 03:00:00: it is waited for, not begun twice"


def test_a_group_gets_the_version_of_its_hosts_before_it_is_refreshed(account: Account) -> None:
    found = look(account, group())
    kept = {"AutoScalingGroupName": GROUP, "LaunchTemplate": {"LaunchTemplateId": TEMPLATE, "Version": "1"}}
    account.answers("autoscaling", "update_auto_scaling_group", {}, kept)
    desired = {"LaunchTemplate": {"LaunchTemplateId": TEMPLATE, "Version": "2"}}
    asked = {"AutoScalingGroupName": GROUP, "Strategy": "Rolling", "DesiredConfiguration": desired, "Preferences": ANY}
    account.answers("autoscaling", "start_instance_refresh", {"InstanceRefreshId": REFRESH}, asked)
    assert account.rollout.begin(found, WANTED) == REFRESH
    account.done()


def test_hosts_are_waited_for_and_told(account: Account) -> None:
    account.sees(group("1"), refresh("Pending"))
    account.sees(group("1", hosts={"i-1": "1", "i-2": "1", "i-3": ("2", "Pending", True)}), refresh("InProgress"), healthy=["i-1", "i-2"])
    account.sees(group("1", hosts={"i-1": "1", "i-2": "1", "i-3": "2"}), refresh("InProgress"), healthy=["i-1", "i-2"])
    account.sees(group("1", hosts={"i-2": "1", "i-3": "2"}), refresh("InProgress", 50, InstancesToUpdate=1), healthy=["i-2", "i-3"])
    account.sees(group("2", hosts={"i-4": "2", "i-3": "2"}), refresh("Successful", 100))
    assert account.rollout.follow(REFRESH)["Status"] == "Successful"
    assert account.said == ["Pending 0 %", "InProgress 0 %", "i-3 is launched", "i-3 runs", "InProgress 50 %, 1 to go", "i-3 serves", "Successful 100 %"]
    assert account.rollout.failures == []
    account.done()


def test_a_host_that_its_group_gives_up_brings_the_old_version_back(account: Account) -> None:
    rows: dict[str, Any] = {"i-1": "1", "i-2": "1", "i-3": ("2", "InService", False)}
    account.sees(group("1", hosts={**rows, "i-3": ("2", "Pending", True)}), refresh("InProgress"), healthy=[])
    account.sees(group("1", hosts=rows), refresh("InProgress"), healthy=[])
    events = [{"timestamp": 1, "message": "fetching"}, {"timestamp": 2, "message": "i-3 does not become a host of web: no bundle"}]
    asked = {"logGroupName": "/f/boot", "logStreamName": "i-3", "limit": instance_refresh.EVIDENCE_LINES, "startFromHead": False}
    account.answers("logs", "get_log_events", {"events": events}, asked)
    account.answers("autoscaling", "rollback_instance_refresh", {"InstanceRefreshId": REFRESH}, {"AutoScalingGroupName": GROUP})
    account.sees(group("1", hosts=rows), refresh("RollbackInProgress"))
    account.sees(group("1"), refresh("RollbackSuccessful", StatusReason="by the user"))
    ended = account.rollout.follow(REFRESH)
    account.done()
    text = instance_refresh.verdict(look(account, group("1")), ended, account.rollout.failures, account.rollout.evidence)
    for part in ("i-3 did not become a host", "| i-3 does not become a host of web: no bundle", "was rolled back",
                 "2 on version 1. New ones get version 1", "Fix: mend what is said above, provision.yml, then this again"):  # fmt: skip
        assert part in text


def test_a_host_that_does_not_serve_when_its_warm_up_ends_does_so_too(account: Account) -> None:
    """AWS would count it, and end an old one for it."""
    rows: dict[str, Any] = {"i-1": "1", "i-2": "1", "i-3": "2"}
    account.sees(group("1", hosts={**rows, "i-3": ("2", "Pending", True)}), refresh("InProgress"), healthy=[])
    for _ in range(29):  # 56 s after it was in service, at a look each two seconds
        account.sees(group("1", hosts=rows), refresh("InProgress"), healthy=["i-1", "i-2"])
    account.stubs["logs"].add_client_error("get_log_events", "ResourceNotFoundException")
    account.answers("ec2", "get_console_output", {"Output": "booting\nstill booting"}, {"InstanceId": "i-3", "Latest": True})
    account.stubs["autoscaling"].add_client_error("rollback_instance_refresh", "ActiveInstanceRefreshNotFound")
    account.sees(group("1"), refresh("RollbackSuccessful"))
    account.rollout.follow(REFRESH)
    account.done()
    assert account.rollout.failures == ["i-3 did not serve within the 60 s of its warm-up (in its target groups it is unhealthy)"]
    assert account.rollout.evidence[-1] == "  | still booting" and account.now == 60


def test_one_that_an_earlier_run_has_launched_is_as_old_as_it_is(account: Account) -> None:
    rows: dict[str, Any] = {"i-1": "1", "i-2": "1", "i-3": "2"}
    account.sees(group("1", hosts=rows), refresh("InProgress"), healthy=["i-1", "i-2"])
    launched = datetime.now(UTC) - timedelta(seconds=100)
    answer = {"Reservations": [{"Instances": [{"InstanceId": "i-3", "LaunchTime": launched}]}]}
    account.answers("ec2", "describe_instances", answer, {"Filters": [{"Name": "instance-id", "Values": ["i-3"]}]})
    account.stubs["logs"].add_client_error("get_log_events", "ResourceNotFoundException")
    account.answers("ec2", "get_console_output", {})
    account.answers("autoscaling", "rollback_instance_refresh", {"InstanceRefreshId": REFRESH})
    account.sees(group("1"), refresh("RollbackSuccessful"))
    account.rollout.follow(REFRESH)
    account.done()
    assert "did not serve within the 60 s" in account.rollout.failures[0] and account.rollout.evidence == ["i-3 has left no log."]


def test_one_that_vanishes_has_failed(account: Account) -> None:
    account.sees(group("1", hosts={"i-1": "1", "i-2": "1", "i-3": ("2", "Pending", True)}), refresh("InProgress"), healthy=[])
    account.sees(group("1"), refresh("InProgress"))
    account.answers("logs", "get_log_events", {"events": [{"timestamp": 1, "message": "no registry"}]})
    account.answers("autoscaling", "rollback_instance_refresh", {"InstanceRefreshId": REFRESH})
    account.sees(group("1"), refresh("RollbackSuccessful"))
    account.rollout.follow(REFRESH)
    account.done()
    assert account.rollout.failures == ["i-3 did not become a host: its group has ended it"]


@pytest.mark.parametrize(
    ("status", "texts"),
    [
        ("Cancelled", ("was cancelled, and what it had done stays", "1 on version 1, 1 on version 2", "run the same command again")),
        ("RollbackFailed", ("could not be rolled back", "run the same command again")),
        ("Failed", ("has failed, and what it had done stays",)),
    ],
)
def test_other_ends_are_told_with_what_is_left(account: Account, status: str, texts: tuple[str, ...]) -> None:
    found = look(account, group("1", hosts={"i-1": "1", "i-2": "2"}))
    text = instance_refresh.verdict(found, refresh(status, StatusReason="alarm errors"), [], [])
    for part in ("alarm errors.", *texts):
        assert part in text
    assert instance_refresh.verdict(found, refresh("Successful"), [], []) == ""


# ---- the module


ARGUMENTS = {**WANTED, "group": GROUP, "region": "eu-central-1", "target_groups": [TARGETS], "log_group": "/f/boot", "title": "", "poll_seconds": 0.0}
OLD, NEW = group("1"), group("2", hosts={"i-3": "2", "i-4": "2"})


@pytest.fixture
def run(account: Account, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The action on the account: run(check) → its outcome. Every answer must have been asked for."""
    monkeypatch.setattr(api, "client", lambda service, _region: account.clients[service])

    def act(check: bool = False, **more: Any) -> dict[str, Any]:
        made = object.__new__(action.ActionModule)
        made._task = SimpleNamespace(check_mode=check)
        outcome = made.act({**ARGUMENTS, **more}, {})
        account.done()
        return outcome

    return act


def shows(account: Account, row: dict[str, Any], refreshes: list[dict[str, Any]] | None = None) -> None:
    """What one look at the group is answered."""
    account.answers("autoscaling", "describe_auto_scaling_groups", {"AutoScalingGroups": [row]}, {"AutoScalingGroupNames": [GROUP]})
    account.answers("autoscaling", "describe_instance_refreshes", {"InstanceRefreshes": refreshes or []}, {"AutoScalingGroupName": GROUP, "MaxRecords": 5})
    numbers = [{"VersionNumber": one, "LaunchTemplateData": {"ImageId": f"ami-{one}"}} for one in (1, 2)]
    account.answers("ec2", "describe_launch_template_versions", {"LaunchTemplateVersions": numbers}, {"LaunchTemplateId": TEMPLATE, "Versions": ANY})


def follows_latest(account: Account) -> None:
    template = {"LaunchTemplateId": TEMPLATE, "Version": "$Latest"}
    account.answers("autoscaling", "update_auto_scaling_group", {}, {"AutoScalingGroupName": GROUP, "LaunchTemplate": template})


def starts(account: Account) -> None:
    asked = {"AutoScalingGroupName": GROUP, "Strategy": "Rolling", "DesiredConfiguration": ANY, "Preferences": ANY}
    account.answers("autoscaling", "start_instance_refresh", {"InstanceRefreshId": REFRESH}, asked)


def test_in_check_mode_the_hosts_are_named_and_nothing_is_asked_for(account: Account, run: Any) -> None:
    shows(account, OLD)
    planned = run(check=True)
    assert planned["changed"] and planned["replaced"] == ["i-1", "i-2"] and planned["version"] == "2" and "check mode" in planned["text"]


def test_hosts_that_have_the_newest_version_are_left_alone(account: Account, run: Any) -> None:
    shows(account, group("$Latest", hosts={"i-3": "2", "i-4": "2"}))
    assert run()["changed"] is False


def test_after_a_refresh_the_group_follows_its_template_again(account: Account, run: Any) -> None:
    shows(account, OLD)
    starts(account)
    account.sees(NEW, refresh("Successful", 100))
    shows(account, NEW)
    follows_latest(account)
    done = run()
    assert done["changed"] and done["replaced"] == ["i-1", "i-2"] and done["hosts"] == ["i-3", "i-4"]


def test_one_that_goes_on_is_taken_up_and_what_it_left_out_is_done_then(account: Account, run: Any) -> None:
    """It was begun for an older version of the template: all of its hosts are outdated by now."""
    shows(account, OLD, [refresh("InProgress")])
    account.sees(OLD, refresh("Successful", 100))
    shows(account, OLD)
    starts(account)
    account.sees(NEW, refresh("Successful", 100))
    shows(account, NEW)
    follows_latest(account)
    assert run()["changed"]


def test_a_refresh_that_was_rolled_back_leaves_the_group_at_the_version_before(account: Account, run: Any) -> None:
    shows(account, OLD)
    starts(account)
    account.sees(OLD, refresh("RollbackSuccessful", StatusReason="CloudWatch alarm(s) in ALARM state: errors."))
    shows(account, OLD)
    with pytest.raises(ReleaseError, match="(?s)alarm.*errors.*was rolled back.*New ones get version 1"):
        run()
    account.done()


def test_a_refresh_that_could_not_be_is_refused_before_anything_is_asked_for(account: Account, run: Any) -> None:
    shows(account, OLD)
    with pytest.raises(ReleaseError, match="(?s)batch: 0 is not between.*Nothing was changed"):
        run(batch=0)
    account.done()
