"""Rules of a listener and their weights: made, kept, shifted, refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import botocore.session
import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import listener
from botocore.stub import Stubber

Stub = tuple[Any, Stubber]
RULE = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener-rule/app/shop/50dc6c495c0c9188/f2f7dc8efc522ab2/9683b2d02a6cabee"
BLUE = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/shop-web/73e2d6bc24d8a067"
GREEN = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/shop-web-green/1a2b3c4d5e6f7a8b"


@pytest.fixture
def stub() -> Stub:
    """An ELBv2 client that knows what it will be asked and what AWS answers."""
    session = botocore.session.Session()
    client = session.create_client(
        "elbv2", region_name="eu-central-1", endpoint_url="https://unit.test", aws_access_key_id="unit", aws_secret_access_key="of-no-account"
    )
    return client, Stubber(client)


def rule(blue: int, green: int) -> dict[str, Any]:
    """A rule as DescribeRules shows it."""
    groups = [{"TargetGroupArn": BLUE, "Weight": blue}, {"TargetGroupArn": GREEN, "Weight": green}]
    return {
        "RuleArn": RULE,
        "Priority": "50000",
        "Conditions": [{"Field": "path-pattern", "Values": ["/*"], "PathPatternConfig": {"Values": ["/*"]}}],
        "Actions": [
            {"Type": "forward", "Order": 1, "ForwardConfig": {"TargetGroups": groups, "TargetGroupStickinessConfig": {"Enabled": False}}},
        ],
        "IsDefault": False,
    }


def asked(blue: int, green: int) -> dict[str, Any]:
    """The call that sets these weights."""
    groups = [{"TargetGroupArn": BLUE, "Weight": blue}, {"TargetGroupArn": GREEN, "Weight": green}]
    return {"RuleArn": RULE, "Actions": [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]}


def test_a_shift_is_one_call(stub: Stub) -> None:
    client, stubber = stub
    stubber.add_response("describe_rules", {"Rules": [rule(100, 0)]}, {"RuleArns": [RULE]})
    stubber.add_response("modify_rule", {"Rules": [rule(90, 10)]}, asked(90, 10))
    with stubber:
        assert listener.shift(client, RULE, {BLUE: 90, GREEN: 10}) == (True, {BLUE: 100, GREEN: 0})
    stubber.assert_no_pending_responses()


@pytest.mark.parametrize(("now", "check", "changed"), [((90, 10), False, False), ((100, 0), True, True), ((90, 10), True, False)])
def test_equal_weights_and_check_mode_write_nothing(stub: Stub, now: tuple[int, int], check: bool, changed: bool) -> None:
    client, stubber = stub
    stubber.add_response("describe_rules", {"Rules": [rule(*now)]}, {"RuleArns": [RULE]})
    with stubber:
        assert listener.shift(client, RULE, {BLUE: 90, GREEN: 10}, check=check)[0] is changed


def test_a_rule_that_is_gone_or_forwards_elsewhere_says_what_to_do(stub: Stub) -> None:
    client, stubber = stub
    stubber.add_client_error("describe_rules", "RuleNotFound")
    stubber.add_response("describe_rules", {"Rules": [rule(100, 0)]})
    stubber.add_response("describe_rules", {"Rules": [rule(100, 0)]})
    with stubber:
        for weights, text in (
            ({BLUE: 1}, "does not exist. Fix: run provision.yml"),
            ({BLUE: 1}, "Fix: run provision.yml"),
            ({BLUE: 0, GREEN: 0}, "all of them are 0"),
        ):
            with pytest.raises(ValueError, match=text):
                listener.shift(client, RULE, weights)


@pytest.fixture
def balancer(client: Callable[[str], Any], run: Any) -> dict[str, Any]:
    """A load balancer with one listener, and three target groups."""
    ec2, elbv2 = client("ec2"), client("elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"eu-central-1{zone}")["Subnet"]["SubnetId"] for n, zone in enumerate("ab")
    ]
    arn = elbv2.create_load_balancer(Name="shop", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    groups = [elbv2.create_target_group(Name=f"g{n}", Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0]["TargetGroupArn"] for n in range(3)]
    elbv2.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=[{"Type": "forward", "TargetGroupArn": groups[0]}])
    return {"arn": arn, "groups": groups, "api": elbv2}


def rules(priority: int, groups: list[str], **more: Any) -> list[dict[str, Any]]:
    return [{"priority": priority, "target_groups": groups, **(more or {"paths": ["/*"]})}]


def test_rules_are_planned_made_and_changed_and_their_weights_left_alone(run: Any, balancer: dict[str, Any]) -> None:
    blue, green, third = balancer["groups"]

    def given(wanted: list[dict[str, Any]], check: bool = False) -> dict[str, Any]:
        return dict(run("flotilla.ec2.listener_rules", check=check, load_balancer_arn=balancer["arn"], port=80, rules=wanted))

    assert given(rules(50000, [blue, green]), check=True) == given(rules(50000, [blue, green]), check=True)
    assert given(rules(50000, [blue, green]), check=True)["changed"]
    made = given(rules(50000, [blue, green]))
    (arn,) = [one["arn"] for one in made["rules"]]
    assert made["changed"] and listener.weights_of(listener.find_rule(balancer["api"], arn)["Actions"]) == {blue: 100, green: 0}
    assert not given(rules(50000, [blue, green]))["changed"]
    assert listener.shift(balancer["api"], arn, {blue: 40, green: 60}) == (True, {blue: 100, green: 0})
    # What a release has shifted stays, also when the rule itself changes.
    assert not given(rules(50000, [blue, green]), check=True)["changed"]
    assert given(rules(50000, [blue, green], paths=["/shop/*"]))["changed"]
    assert listener.weights_of(listener.find_rule(balancer["api"], arn)["Actions"]) == {blue: 40, green: 60}
    # Green has traffic: it cannot be taken out, with its rule or without.
    for wanted in ([], rules(50000, [blue]), rules(7, [third])):
        refused = given(wanted)
        assert refused["failed"] and "would lose its traffic" in refused["msg"]
    listener.shift(balancer["api"], arn, {blue: 100, green: 0})
    assert given([*rules(1, [third], hosts=["a.example.org"])])["changed"]
    assert [one["priority"] for one in given(rules(1, [third], hosts=["a.example.org"]))["rules"]] == ["1"]


def test_a_plan_for_a_listener_that_does_not_exist_yet_is_a_change_and_a_run_fails(run: Any, balancer: dict[str, Any]) -> None:
    wanted = {"load_balancer_arn": balancer["arn"], "port": 81, "rules": rules(1, balancer["groups"][:1])}
    assert run("flotilla.ec2.listener_rules", check=True, **wanted)["changed"]
    assert run("flotilla.ec2.listener_rules", **wanted)["failed"]
    planned = {"load_balancer_arn": "(known after provision)", "port": 81}
    assert run("flotilla.ec2.listener_rules", check=True, **planned, rules=wanted["rules"])["changed"]
    assert not run("flotilla.ec2.listener_rules", check=True, **planned, rules=[])["changed"]
