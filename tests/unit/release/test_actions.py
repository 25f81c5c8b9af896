"""What the release's actions ask of AWS and change there, by recorded shapes: nothing in check mode, nothing where nothing differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest
from ansible_collections.flotilla.ec2.plugins.action import autoscaling_processes, fleet_capacity, release_status, strategy_check, target, traffic_shift
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, lock
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from botocore.stub import ANY, Stubber

GROUP, LOCK = "shop-local-web", "/flotilla/local/shop/lock"
ARN = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:"
BLUE, GREEN = f"{ARN}targetgroup/shop-web/73e2d6bc24d8a067", f"{ARN}targetgroup/shop-web-green/1a2b3c4d5e6f7a8b"
RULE = f"{ARN}listener-rule/app/shop/50dc6c495c0c9188/f2f7dc8efc522ab2/9683b2d02a6cabee"
Account = Callable[[str], Stubber]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """`account(service)` is the Stubber of the client that the actions get; what was not asked for in the end fails the test."""
    stubs: dict[str, Stubber] = {}

    def stub(service: str) -> Stubber:
        if service not in stubs:
            client = botocore.session.get_session().create_client(service, region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
            stubs[service] = Stubber(client)
            stubs[service].activate()
        return stubs[service]

    monkeypatch.setattr(api, "client", lambda service, _region, **_more: stub(service).client)
    yield stub
    for one in stubs.values():
        one.assert_no_pending_responses()


def act(module: Any, check: bool = False, variables: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
    action = object.__new__(module.ActionModule)
    action._task = SimpleNamespace(check_mode=check, delegate_to=None)
    found: dict[str, Any] = action.act({"region": "eu-central-1", **arguments}, variables or {})
    return found


def parameter(name: str, value: Any, version: int = 1) -> dict[str, Any]:
    return {"Parameter": {"Name": name, "Type": "String", "Value": json.dumps(value), "Version": version}}


def lease(token: str = "mine", **more: Any) -> dict[str, Any]:
    return lock.lease("a release", 1, 60) | {"token": token, "owner": "ann@ci"} | more


def group(suspended: list[str], **states: str) -> dict[str, Any]:
    rows = [{"InstanceId": name.replace("_", "-"), "LifecycleState": state, "AvailabilityZone": "z", "HealthStatus": "Healthy", "ProtectedFromScaleIn": False}
            for name, state in states.items()]  # fmt: skip
    sizes = {"MinSize": 1, "MaxSize": 4, "DesiredCapacity": 2, "DefaultCooldown": 300, "AvailabilityZones": ["z"], "HealthCheckType": "EC2", "CreatedTime": 0}
    processes = [{"ProcessName": name, "SuspensionReason": "User suspended"} for name in suspended]
    return {"AutoScalingGroups": [{"AutoScalingGroupName": GROUP, "Instances": rows, "SuspendedProcesses": processes, **sizes}]}


# ---- Auto Scaling's processes

FIGHTING = ["AZRebalance", "AlarmNotification", "HealthCheck", "ReplaceUnhealthy", "ScheduledActions"]
SUSPEND: dict[str, Any] = {"state": "suspended", "groups": [GROUP], "processes": None, "lock": {"name": LOCK, "token": "mine"}}
RESUME: dict[str, Any] = SUSPEND | {"state": "resumed", "groups": []}


def test_what_fights_a_release_is_noted_with_who_and_why_before_it_is_suspended(account: Account) -> None:
    """What somebody else has suspended before stays theirs: it is not in the note."""
    ssm, scaling = account("ssm"), account("autoscaling")
    calls: list[str] = []
    for stub in (ssm, scaling):
        stub.client.meta.events.register("provide-client-params", lambda model, **_more: calls.append(model.name))
    held = lease()
    for _read in range(3):
        ssm.add_response("get_parameter", parameter(LOCK, held, 4), {"Name": LOCK})
    ssm.add_response("put_parameter", {"Version": 5}, {"Name": LOCK, "Value": ANY, "Type": "String", "Overwrite": True})
    scaling.add_response("describe_auto_scaling_groups", group(["AZRebalance"]), {"AutoScalingGroupNames": [GROUP]})
    scaling.add_response("suspend_processes", {}, {"AutoScalingGroupName": GROUP, "ScalingProcesses": FIGHTING[1:]})
    written: list[dict[str, Any]] = []
    ssm.client.meta.events.register("provide-client-params.ssm.PutParameter", lambda params, **_more: written.append(json.loads(params["Value"])))
    outcome = act(autoscaling_processes, **SUSPEND)
    assert outcome == {"changed": False, "suspended": {GROUP: FIGHTING[1:]}}
    (note,) = written
    assert (note["suspended"], note["owner"], note["message"]) == ({GROUP: FIGHTING[1:]}, "ann@ci", "a release")
    assert calls.index("PutParameter") < calls.index("SuspendProcesses"), "one that is killed between the two would leave them suspended for ever"


@pytest.mark.parametrize(("suspended", "check"), [([], True), (FIGHTING, False)], ids=["check mode", "suspended already"])
def test_nothing_is_suspended_in_check_mode_or_twice(account: Account, suspended: list[str], check: bool) -> None:
    account("ssm").add_response("get_parameter", parameter(LOCK, lease()), {"Name": LOCK})
    account("autoscaling").add_response("describe_auto_scaling_groups", group(suspended), {"AutoScalingGroupNames": [GROUP]})
    assert act(autoscaling_processes, check, **SUSPEND)["suspended"] == ({GROUP: FIGHTING} if check else {})


def test_without_the_lock_nothing_is_suspended(account: Account) -> None:
    account("ssm").add_response("get_parameter", parameter(LOCK, lease("another")), {"Name": LOCK})
    with pytest.raises(lock.LockLost, match="taken by another release"):
        act(autoscaling_processes, **SUSPEND)


@pytest.mark.parametrize("check", [False, True])
def test_what_the_note_says_is_resumed_and_no_more(account: Account, check: bool) -> None:
    """Also that of a run that was killed, whose note came over with the lock; what somebody has resumed meanwhile is left alone."""
    account("ssm").add_response("get_parameter", parameter(LOCK, lease(suspended={GROUP: ["HealthCheck", "ReplaceUnhealthy"]})), {"Name": LOCK})
    scaling = account("autoscaling")
    scaling.add_response("describe_auto_scaling_groups", group(["AZRebalance", "HealthCheck"]), {"AutoScalingGroupNames": [GROUP]})
    if not check:
        scaling.add_response("resume_processes", {}, {"AutoScalingGroupName": GROUP, "ScalingProcesses": ["HealthCheck"]})
    assert act(autoscaling_processes, check, **RESUME) == {"changed": False, "suspended": {GROUP: ["HealthCheck"]}}


def test_whoever_has_the_lock_now_resumes(account: Account) -> None:
    account("ssm").add_response("get_parameter", parameter(LOCK, lease("another", suspended={GROUP: ["HealthCheck"]})), {"Name": LOCK})
    assert act(autoscaling_processes, **RESUME)["suspended"] == {}


# ---- a fleet's size

MODEL: dict[str, Any] = {
    "stack": {"name": "shop"}, "environment": {"name": "local", "region": "eu-central-1"}, "parameter_root": "/flotilla/local/shop",
    "fleets": [{"name": "web", "group": GROUP, "min": 1, "max": 4, "scaling": None}],
    "services": [{"name": "web", "fleet": "web", "strategy": "rolling", "colours": None, "instances": ["web"]}],
}  # fmt: skip


@pytest.mark.parametrize(("count", "check", "changed"), [(3, False, True), (3, True, True), (2, False, False)], ids=["more", "check mode", "as it is"])
def test_a_fleet_gets_another_number_of_hosts(account: Account, count: int, check: bool, changed: bool) -> None:
    scaling = account("autoscaling")
    scaling.add_response("describe_auto_scaling_groups", group([], i_1="InService", i_2="InService"), {"AutoScalingGroupNames": [GROUP]})
    if changed and not check:
        scaling.add_response("set_desired_capacity", {}, {"AutoScalingGroupName": GROUP, "DesiredCapacity": count, "HonorCooldown": False})
    outcome = act(fleet_capacity, check, model=MODEL, fleet="web", count=str(count))
    assert (outcome["changed"], outcome["before"], outcome["after"]) == (changed, 2, count)


# ---- a change of strategy


@pytest.mark.parametrize(("colour", "refused"), [("green", True), ("blue", False), (None, False)])
def test_a_strategy_without_colours_is_refused_while_green_serves(account: Account, colour: str | None, refused: bool) -> None:
    pointer = "/flotilla/local/shop/services/web/release"
    account("ssm").add_response("get_parameter", parameter(pointer, {"number": 4, "colour": colour}), {"Name": pointer})
    if refused:
        with pytest.raises(ReleaseError, match="(?s)serves on its green colour.*Nothing was changed"):
            act(strategy_check, model=MODEL)
    else:
        assert act(strategy_check, model=MODEL) == {"changed": False, "live": {"web": colour or "blue"}}


def test_what_was_never_released_may_have_any_strategy(account: Account) -> None:
    account("ssm").add_client_error("get_parameter", "ParameterNotFound")
    assert act(strategy_check, model=MODEL) == {"changed": False, "live": {}}


# ---- what runs where


def health(*states: str, reason: str = "") -> dict[str, Any]:
    def told(state: str) -> dict[str, Any]:
        return {"State": state} | ({"Reason": reason, "Description": "why"} if reason and state != "healthy" else {})

    return {"TargetHealthDescriptions": [{"Target": {"Id": f"i-{n}", "Port": 8080}, "TargetHealth": told(state)} for n, state in enumerate(states, 1)]}


def test_status_joins_pointer_hosts_targets_weights_lock_and_suspended_processes(account: Account) -> None:
    colours = {"blue": {"instance": "web", "port": 8080}, "green": {"instance": "web-green", "port": 8081}}
    model = MODEL | {"services": [{**MODEL["services"][0], "strategy": "blue_green", "colours": colours, "instances": ["web", "web-green"]}]}
    root, pointer = model["parameter_root"], {"number": 4, "colour": "green", "digest": "sha256:4", "tag": "v4", "when": None, "who": "ann@ci"}
    ssm, balancer = account("ssm"), account("elbv2")
    outputs = {"target_groups": {"web": BLUE, "web-green": GREEN}, "rules": {"web": RULE}}
    ssm.add_response("get_parameter", parameter(f"{root}/outputs", outputs), {"Name": f"{root}/outputs"})
    account("autoscaling").add_response("describe_auto_scaling_groups", group(["HealthCheck"]), {"AutoScalingGroupNames": [GROUP]})
    ssm.add_response("get_parameter", parameter(LOCK, lease()), {"Name": LOCK})
    ssm.add_response("get_parameter", parameter("p", pointer), {"Name": f"{root}/services/web/release"})
    forward = {"TargetGroups": [{"TargetGroupArn": BLUE, "Weight": 10}, {"TargetGroupArn": GREEN, "Weight": 90}]}
    balancer.add_response("describe_rules", {"Rules": [{"RuleArn": RULE, "Actions": [{"Type": "forward", "ForwardConfig": forward}]}]}, {"RuleArns": [RULE]})
    balancer.add_response("describe_target_health", health("healthy", "unhealthy", reason="Target.Timeout"), {"TargetGroupArn": GREEN})
    runs = {"release": 4, "digest": "sha256:4", "running": True, "unit": "active"}
    seen = {host: {"reachable": True, "zone": "a", "services": {"web-green": runs}} for host in ("i-1", "i-2")}
    outcome = act(release_status, variables={"groups": {"stack_shop": ["i-1", "i-2"], "fleet_web": ["i-1", "i-2"]}}, model=model, seen=seen)
    assert not outcome["changed"]
    assert [row["ok"] for row in outcome["status"]["hosts"]["web"]] == [True, False]
    for text in ("Target.Timeout", "ann@ci", f"suspended: {GROUP}: HealthCheck", "green  90 % of the traffic  release 4", "blue has 10 % of the traffic"):
        assert text in outcome["text"], outcome["text"]


# ---- targets and traffic

TARGET: dict[str, Any] = {
    "target_group_arn": BLUE,
    "target": "i-1",
    "port": 8080,
    "refused": "",
    "unless_leaving": False,
    "wait": True,
    "min_healthy": 0,
    "together": [],
    "postpone": False,
    "deadline_seconds": 30,
    "healthy_seconds": 0,
    "settle": False,
    "lock": {"name": LOCK, "token": "mine"},
}
ONE: dict[str, Any] = {"TargetGroupArn": BLUE, "Targets": [{"Id": "i-1"}]}


@pytest.mark.parametrize("check", [False, True])
def test_a_target_is_taken_out_once_and_waited_for(account: Account, check: bool) -> None:
    balancer = account("elbv2")
    balancer.add_response("describe_target_health", health("healthy"), ONE)
    if not check:
        account("ssm").add_response("get_parameter", parameter(LOCK, lease()), {"Name": LOCK})
        balancer.add_response("deregister_targets", {}, {"TargetGroupArn": BLUE, "Targets": [{"Id": "i-1", "Port": 8080}]})
        balancer.add_response("describe_target_health", health("unused", reason="Target.NotRegistered"), ONE)
    assert act(target, check, state="absent", **TARGET)["changed"] is True


def test_a_target_that_serves_is_not_registered_again(account: Account) -> None:
    account("ssm").add_response("get_parameter", parameter(LOCK, lease()), {"Name": LOCK})
    account("elbv2").add_response("describe_target_health", health("healthy"), ONE)
    assert act(target, state="present", **TARGET)["changed"] is False


@pytest.mark.parametrize("state", ["present", "absent"])
def test_without_the_lock_no_target_is_touched(account: Account, state: str) -> None:
    account("ssm").add_response("get_parameter", parameter(LOCK, lease("another")), {"Name": LOCK})
    outcome = act(target, state=state, **TARGET)
    assert outcome["failed"] and outcome["lock_lost"] and outcome["left_alone"] and not outcome["changed"]


TRAFFIC: dict[str, Any] = {
    "colour": "green",
    "live": "blue",
    "first": False,
    "rule": RULE,
    "groups": {"blue": BLUE, "green": GREEN},
    "ports": {"blue": 8080, "green": 8081},
    "now": 100,
    "free": [],
    "occupied": False,
    "shares": [100],
    "watched": False,
    "bake_seconds": 0,
    "limits": {"alarms": []},
}
SHIFT: dict[str, Any] = {
    "stage": "shift",
    "traffic": TRAFFIC,
    "hosts": ["i-1"],
    "failures": {},
    "deadline_seconds": 30,
    "healthy_seconds": 0,
    "drain_seconds": 5,
    "lock": {"name": LOCK, "token": "mine"},
}


@pytest.mark.parametrize("now", [0, 100], ids=["to the new colour", "as it is"])
def test_the_weights_are_moved_when_all_targets_are_healthy(account: Account, now: int) -> None:
    balancer = account("elbv2")
    account("autoscaling")
    account("cloudwatch")
    for _look in range(2):
        balancer.add_response("describe_target_health", health("healthy"), {"TargetGroupArn": GREEN})
    account("ssm").add_response("get_parameter", parameter(LOCK, lease()), {"Name": LOCK})
    forward = {"TargetGroups": [{"TargetGroupArn": BLUE, "Weight": 100 - now}, {"TargetGroupArn": GREEN, "Weight": now}]}
    balancer.add_response("describe_rules", {"Rules": [{"RuleArn": RULE, "Actions": [{"Type": "forward", "ForwardConfig": forward}]}]}, {"RuleArns": [RULE]})
    if not now:
        wanted = {"TargetGroups": [{"TargetGroupArn": BLUE, "Weight": 0}, {"TargetGroupArn": GREEN, "Weight": 100}]}
        balancer.add_response("modify_rule", {"Rules": []}, {"RuleArn": RULE, "Actions": [{"Type": "forward", "ForwardConfig": wanted}]})
    balancer.add_response("describe_target_health", health("healthy"), {"TargetGroupArn": GREEN})
    outcome = act(traffic_shift, **SHIFT)
    assert outcome["shift"]["outcome"] == "shifted" and [step["share"] for step in outcome["shift"]["steps"]] == [100]


def test_no_traffic_is_moved_in_check_mode_or_to_a_colour_that_did_not_start(account: Account) -> None:
    assert act(traffic_shift, True, **SHIFT) == {"changed": True, "shift": {}}
    account("autoscaling").add_response("describe_auto_scaling_instances", {"AutoScalingInstances": []}, {"InstanceIds": ["i-1"]})
    for service in ("ssm", "elbv2", "cloudwatch"):
        account(service)
    outcome = act(traffic_shift, **SHIFT | {"failures": {"i-1": "exited with code 3"}})
    assert (outcome["changed"], outcome["shift"]["outcome"]) == (False, "failed")
