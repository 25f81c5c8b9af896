"""The pure parts of a plan."""

from __future__ import annotations

import base64
import hashlib

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import plan


@pytest.mark.parametrize("value", [plan.UNKNOWN, [plan.UNKNOWN], {"a": {"b": ["x", plan.UNKNOWN]}}, f"arn:{plan.UNKNOWN}/x"])
def test_an_unknown_id_is_seen_wherever_it_stands(value):
    assert plan.is_unknown(value)


@pytest.mark.parametrize("value", ["", None, 3, {"a": ["b"]}, "known"])
def test_what_is_known_is_not_unknown(value):
    assert not plan.is_unknown(value)


def test_ids_are_filled_where_the_result_has_none():
    result = {"vpc": {"id": None}, "kept": {"id": "there"}}
    plan.fill(result, {"vpc.id": "Vpcs", "kept.id": "Kept", "new.deep.id": ""}, {"Vpcs": "vpc-1"}.get)
    assert result == {"vpc": {"id": "vpc-1"}, "kept": {"id": "there"}, "new": {"deep": {"id": plan.UNKNOWN}}}


def test_secrets_are_hidden_in_a_plan():
    shown = plan.masked({"CreateSecret": {"Name": "n", "SecretString": "s3cret"}, "list": [{"MasterUserPassword": "p", "Body": b"x"}]})
    assert shown == {"CreateSecret": {"Name": "n", "SecretString": "(hidden)"}, "list": [{"MasterUserPassword": "(hidden)", "Body": "(binary)"}]}


def test_user_data_is_shown_by_its_size_and_sum() -> None:
    data = base64.b64encode(b"#cloud-config\n" * 100).decode()
    shown = plan.masked({"CreateLaunchTemplateVersion": {"LaunchTemplateData": {"UserData": data, "ImageId": "ami-1"}}})
    sha = hashlib.sha256(data.encode()).hexdigest()[:12]
    assert shown["CreateLaunchTemplateVersion"]["LaunchTemplateData"] == {"UserData": f"({len(data)} characters, sha256 {sha})", "ImageId": "ami-1"}
    assert plan.masked({"UserData": {"Value": data}}) == {"UserData": {"Value": data}}


@pytest.mark.parametrize("operation", ["DescribeVpcs", "GetRole", "ListTagsForResource", "HeadBucket", "BatchGetImage"])
def test_reads(operation):
    assert plan.READS.match(operation)


@pytest.mark.parametrize("operation", ["CreateVpc", "PutBucketPolicy", "ModifyVpcAttribute", "RegisterTargets", "TerminateInstances", "BatchDeleteImage"])
def test_writes(operation):
    assert not plan.READS.match(operation)
