"""The promises of the provisioning roles that no cloud is needed for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ROLES = ("network", "identity", "registry", "bucket", "certificate", "database", "load_balancer", "fleet", "outputs", "secrets", "cache", "media", "volumes")


def read(role: str, path: str) -> dict:
    return yaml.safe_load((ROOT / "roles" / role / path).read_text(encoding="utf-8")) or {}


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_specified_and_every_option_has_a_default(role):
    assert set(read(role, "defaults/main.yml")) == set(read(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"])


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_is_specified(role):
    entries = {path.stem for path in (ROOT / "roles" / role / "tasks").glob("*.yml")} & {"main", "destroy", "users", "account", "rotate", "discard"}
    assert entries == set(read(role, "meta/argument_specs.yml")["argument_specs"])


def test_a_host_may_pull_and_read_and_nothing_else():
    statements = read("identity", "vars/main.yml")["__identity_statements"]
    actions = {action for one in statements for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])}
    assert actions == {
        "ecr:GetAuthorizationToken",
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
        "secretsmanager:GetSecretValue",
        "ssm:GetParameter",
        "ssm:GetParameters",
        "ssm:GetParametersByPath",
    }
    assert [one["Action"] for one in statements if one["Resource"] == "*"] == ["ecr:GetAuthorizationToken"]


def test_a_host_reads_its_bundle_leaves_its_log_and_asks_to_be_replaced_in_its_own_stack_only():
    statements = read("identity", "vars/main.yml")["__identity_boot_statements"]
    assert {one["Sid"]: one["Action"] for one in statements} == {
        "ReadBootBundle": "s3:GetObject",
        "LeaveBootLog": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "AskToBeReplaced": "autoscaling:SetInstanceHealth",
    }
    assert statements[0]["Resource"].endswith("/boot/*") and statements[1]["Resource"].endswith("{{ identity_parameter_root }}/boot:*")
    assert statements[2]["Condition"] == "{{ __identity_stack_condition }}"


def test_a_host_attaches_and_marks_volumes_of_its_own_stack_only():
    statements = read("identity", "vars/main.yml")["__identity_volume_statements"]
    assert {one["Sid"] for one in statements if "Condition" not in one} == {"FindVolumes"}
    assert all(action.startswith("ec2:Describe") for one in statements if "Condition" not in one for action in one["Action"])


def test_no_task_names_an_open_address_range_for_a_security_group():
    for path in (ROOT / "roles/network/tasks").glob("*_groups.yml"):
        assert "0.0.0.0" not in path.read_text(encoding="utf-8"), path.name
