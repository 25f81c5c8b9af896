"""Plan, run, plan again, change: for each stock module the prediction is what the run does, and a plan writes nothing."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import plan, resource
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import EmptyResult

TAGS = {"flotilla:stack": "hello", "flotilla:environment": "unit"}
TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
ROLE = {"assume_role_policy_document": TRUST, "create_instance_profile": False, "delete_instance_profile": False}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIbGZ0lP6xT3SkYJqUYkXcQq0cYd9s7m5n1r7PzqkP8Z unit"
BUCKET = {"versioning": True, "encryption": "AES256", "public_access": {"block_public_acls": True, "block_public_policy": True}}
CYCLE = {
    "rules": [
        {
            "rulePriority": 1,
            "description": "Keep 30",
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 30},
            "action": {"type": "expire"},
        }
    ]
}

# Module, arguments, what changes afterwards, the path of the id that later tasks read.
LONE: list[tuple[str, dict[str, Any], dict[str, Any], str | None]] = [
    ("amazon.aws.ec2_vpc_net", {"name": "hello-unit", "cidr_block": "198.18.0.0/16", "tags": TAGS}, {"tags": {**TAGS, "more": "x"}}, "vpc.id"),
    ("amazon.aws.iam_role", {"name": "hello-unit-host", **ROLE}, {"tags": TAGS}, "iam_role.role_name"),
    ("amazon.aws.ec2_key", {"name": "hello-unit-1", "key_material": KEY, "force": False}, {"tags": TAGS}, "key.name"),
    ("amazon.aws.s3_bucket", {"name": "hello-unit-bucket", **BUCKET}, {"tags": TAGS}, None),
    ("community.aws.ecs_ecr", {"name": "hello/web", "image_tag_mutability": "immutable", "lifecycle_policy": CYCLE}, {"scan_on_push": True}, None),
    ("community.aws.ssm_parameter", {"name": "/flotilla/unit/hello/outputs", "value": "{}", "overwrite_value": "changed"}, {"value": '{"a": 1}'}, None),
    ("flotilla.ec2.generated_secret", {"name": "flotilla/unit/hello/a", "fields": {"username": "u"}}, {"fields": {"username": "u", "host": "h"}}, "arn"),
]


@pytest.mark.parametrize(("name", "arguments", "change", "path"), LONE, ids=[one[0] for one in LONE])
def test_the_plan_is_what_the_run_does(run, name, arguments, change, path):
    planned = run(name, check=True, **arguments)
    assert planned["changed"] is True
    assert planned["diff"]["after"]
    assert path is None or plan.get_path(planned, path) == plan.UNKNOWN
    # Nothing was written: the run still makes it.
    made = run(name, **arguments)
    assert made["changed"] is True
    same = run(name, check=True, **arguments)
    assert same["changed"] is False
    changed = run(name, check=True, **{**arguments, **change})
    assert changed["changed"] is True
    # The id of a thing that exists stays known when the thing changes: what depends on it is not planned to change.
    if path:
        assert plan.get_path(changed, path) == plan.get_path(made, path) == plan.get_path(same, path)
    assert run(name, **{**arguments, **change})["changed"] is True


def test_a_thing_whose_parent_is_not_there_yet_is_planned(run, client):
    gateway = run("amazon.aws.ec2_vpc_igw", check=True, vpc_id=plan.UNKNOWN, tags=TAGS)
    assert gateway["changed"] is True
    assert gateway["gateway_id"] == plan.UNKNOWN
    assert gateway["diff"]["after"]["vpc_id"] == plan.UNKNOWN
    assert client("ec2").describe_internet_gateways()["InternetGateways"] == []


def test_a_plan_refuses_what_the_run_would_refuse(run):
    result = run("amazon.aws.ec2_vpc_igw", check=True, vpc_id=plan.UNKNOWN, no_such_option=1)
    assert result["failed"] is True
    assert "no_such_option" in result["msg"]


def test_a_target_group_keeps_its_targets_and_its_id_in_a_plan(run, client):
    vpc = run("amazon.aws.ec2_vpc_net", name="hello-unit", cidr_block="198.18.0.0/16")["vpc"]["id"]
    group = {
        "name": "hello-unit-web",
        "state": "present",
        "protocol": "http",
        "port": 8080,
        "vpc_id": vpc,
        "health_check_path": "/healthz",
        "health_check_protocol": "http",
        "modify_targets": False,
        "deregistration_delay_timeout": 5,
    }
    assert run("community.aws.elb_target_group", check=True, **group)["target_group_arn"] == plan.UNKNOWN
    arn = run("community.aws.elb_target_group", **group)["target_group_arn"]
    assert run("community.aws.elb_target_group", check=True, **group)["changed"] is False
    changed = run("community.aws.elb_target_group", check=True, **{**group, "deregistration_delay_timeout": 30})
    assert (changed["changed"], changed["target_group_arn"]) == (True, arn)


@pytest.fixture
def group(run, client, monkeypatch):
    """Arguments of an Auto Scaling group over a launch template that exists."""
    # moto knows no DisableMetricsCollection, which the module calls on each run.
    monkeypatch.setattr(AutoScalingResponse, "disable_metrics_collection", lambda self: EmptyResult(), raising=False)
    vpc = run("amazon.aws.ec2_vpc_net", name="hello-unit", cidr_block="198.18.0.0/16")["vpc"]["id"]
    subnet = run("amazon.aws.ec2_vpc_subnet", vpc_id=vpc, cidr="198.18.0.0/20", az="eu-central-1a")["subnet"]["id"]
    image = client("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    template = run("amazon.aws.ec2_launch_template", name="hello-unit-web", image_id=image, instance_type="t3.small")["template"]["launch_template_id"]
    return {
        "name": "hello-unit-web",
        "launch_template": {"launch_template_id": template, "version": "$Latest"},
        "min_size": 0,
        "max_size": 2,
        "desired_capacity": 0,
        "vpc_zone_identifier": [subnet],
        "wait_for_instances": False,
        "tags": [{"Name": "hello-unit-web", "flotilla:fleet": "web", "propagate_at_launch": True}],
    }


def test_an_auto_scaling_group_that_fits_is_not_planned_to_change(run, group):
    name = "amazon.aws.autoscaling_group"
    assert run(name, check=True, **group)["changed"] is True
    assert run(name, **group)["changed"] is True
    # The module calls UpdateAutoScalingGroup each time; the plan compares.
    assert run(name, check=True, **group)["changed"] is False
    assert run(name, check=True, **{**group, "max_size": 3})["changed"] is True


def test_processes_that_a_release_suspended_stay_suspended(run, client, group):
    run("amazon.aws.autoscaling_group", **group)
    scaling = client("autoscaling")
    scaling.suspend_processes(AutoScalingGroupName=group["name"], ScalingProcesses=["ReplaceUnhealthy"])
    run("amazon.aws.autoscaling_group", **group)
    found = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group["name"]])["AutoScalingGroups"][0]
    assert [one["ProcessName"] for one in found["SuspendedProcesses"]] == ["ReplaceUnhealthy"]


def test_a_generated_password_is_in_the_secret_only_and_never_changes(run, client):
    arguments = {"name": "flotilla/unit/hello/database-master", "fields": {"username": "admin"}, "tags": TAGS}
    secrets = client("secretsmanager")

    def value() -> dict[str, str]:
        return json.loads(secrets.get_secret_value(SecretId=arguments["name"])["SecretString"])

    made = run("flotilla.ec2.generated_secret", **arguments)
    first = value()
    assert first["username"] == "admin"
    assert len(first["password"]) == 32
    assert first["password"].isalnum()
    run("flotilla.ec2.generated_secret", **{**arguments, "fields": {"username": "admin", "host": "h"}})
    assert value() == {**first, "host": "h"}
    assert first["password"] not in json.dumps(made)
    # Deleted with a window and made again: the same password comes back.
    gone = {"name": arguments["name"], "state": "absent", "recovery_window_days": 7}
    assert run("flotilla.ec2.generated_secret", check=True, **gone)["changed"] is True
    assert run("flotilla.ec2.generated_secret", **gone)["changed"] is True
    assert run("flotilla.ec2.generated_secret", **gone)["changed"] is False
    assert run("flotilla.ec2.generated_secret", **arguments)["changed"] is True
    assert value()["password"] == first["password"]


def test_a_plan_of_a_secret_shows_no_password(run):
    planned = run("flotilla.ec2.generated_secret", check=True, name="flotilla/unit/hello/a")
    assert planned["diff"]["after"]["CreateSecret"]["SecretString"] == "(hidden)"


def test_a_subnet_group_that_is_gone_is_not_planned_to_go(run):
    for check in (True, False):
        assert run("amazon.aws.rds_subnet_group", check=check, name="hello-unit", state="absent")["changed"] is False


def test_a_module_that_fails_without_a_text_is_still_heard(run):
    with pytest.raises(RuntimeError, match=r"amazon.aws.ec2_ami_info: .*InvalidAMIID.NotFound"):
        run("amazon.aws.ec2_ami_info", image_ids=["ami-0123456789abcdef0"])


def test_a_fixed_pause_ends_when_what_it_is_for_has_been_seen_twice_on_end(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(resource.time, "sleep", slept.append)
    watch = resource.Watch("amazon.aws.ec2_security_group", {}, check=False)
    answers = iter([{}, {"SecurityGroups": [1]}, {}, {"SecurityGroups": [1]}, {"SecurityGroups": [1]}])
    watch.shown = lambda: next(answers)
    watch.sleep(3)
    assert next(answers, None) is None and slept == [resource.PAUSE_SECONDS] * 5
    watch.sleep(10)
    assert slept[-1] == 10, "another pause than the one that is known is kept"


def test_a_security_group_is_there_at_once(run):
    vpc = run("amazon.aws.ec2_vpc_net", name="hello-unit", cidr_block="198.18.0.0/16")["vpc"]["id"]
    began = time.monotonic()
    rules = [{"proto": "tcp", "ports": [22], "cidr_ip": ["198.18.0.0/16"]}]
    assert run("amazon.aws.ec2_security_group", name="hello-unit-web", description="Hosts", vpc_id=vpc, rules=rules)["changed"]
    assert time.monotonic() - began < 3
