"""The policies below docs/iam let their holders do what the playbooks do: each API call that the code makes is in them."""

from __future__ import annotations

import fnmatch
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import botocore
import botocore.session
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
POLICIES = ROOT / "docs" / "iam"
NAMES = ("deployer", "operator", "operator-data")
HOLDERS = {"deployer": ("deployer",), "operator": ("operator", "operator-data")}
# "The character size limits are: managed policies, 6,144 characters", white space not counted (IAM User Guide, quotas).
MANAGED_POLICY_LIMIT = 6144
PREFIXES = {"elbv2": "elasticloadbalancing", "efs": "elasticfilesystem"}
# Operations whose action has another name (Service Authorization Reference, Amazon S3).
ACTIONS = {
    "s3 DeleteObjects": "s3:DeleteObject",
    "s3 GetBucketAccelerateConfiguration": "s3:GetAccelerateConfiguration",
    "s3 GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3 GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "s3 GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3 HeadBucket": "s3:ListBucket",
    "s3 ListBucketInventoryConfigurations": "s3:GetInventoryConfiguration",
    "s3 ListObjectVersions": "s3:ListBucketVersions",
    "s3 ListObjectsV2": "s3:ListBucket",
    "s3 PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3 PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
}


def statements(name: str) -> list[dict[str, Any]]:
    return list(json.loads((POLICIES / f"{name}.json").read_text(encoding="utf-8"))["Statement"])


def allowed(name: str, action: str) -> bool:
    """Whether a holder of the role's policies may do it."""
    patterns = [one for policy in HOLDERS[name] for statement in statements(policy) for one in statement["Action"]]
    return any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)


def action_of(service: str, operation: str) -> str:
    return ACTIONS.get(f"{service} {operation}", f"{PREFIXES.get(service, service)}:{operation}")


@cache
def operations(service: str) -> dict[str, str]:
    """boto3's method name → operation, of one service."""
    names = botocore.session.get_session().get_service_model(service).operation_names
    return {botocore.xform_name(name): name for name in names}


def calls(*paths: Path) -> set[tuple[str, str]]:
    """(service, operation) of every call in these files on a client that bears its service's name."""
    found = set()
    for path in paths:
        pattern = r"\b(ssm|s3|ecr|elbv2|autoscaling|ec2|cloudwatch)\.(\w+)\((?:\"(\w+)\")?"
        for service, method, paginated in re.findall(pattern, path.read_text(encoding="utf-8")):
            name = paginated if method == "get_paginator" else method
            if name in operations(service):
                found.add((service, operations(service)[name]))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_is_one_that_iam_takes(name: str) -> None:
    text = (POLICIES / f"{name}.json").read_text(encoding="utf-8")
    assert json.loads(text)["Version"] == "2012-10-17"
    assert len(re.sub(r"\s", "", text)) <= MANAGED_POLICY_LIMIT
    sids = [statement["Sid"] for statement in statements(name)]
    assert len(set(sids)) == len(sids) and all(sid.isalnum() for sid in sids)
    for statement in statements(name):
        assert statement["Effect"] == "Allow" and statement["Action"] and statement["Resource"]
        assert not any(one == "*" or one.endswith(":*") for one in statement["Action"]), "no service as a whole"


def test_the_actions_exist() -> None:
    """Those without a wildcard are operations of their service; S3's and a few others have names of their own."""
    own = {*ACTIONS.values(), "iam:PassRole", "s3:ListBucket", "s3:DeleteObjectVersion"}
    services = {prefix: service for service, prefix in PREFIXES.items()}
    for name in NAMES:
        for action in (one for statement in statements(name) for one in statement["Action"] if "*" not in one):
            service, operation = action.split(":")
            assert action in own or operation in operations(services.get(service, service)).values(), action


def test_a_deployer_may_do_what_a_release_does() -> None:
    made = calls(*(ROOT / "plugins" / "module_utils" / "release").glob("*.py"), *(ROOT / "plugins" / "action").glob("*.py"))
    assert {("ssm", "PutParameter"), ("elbv2", "RegisterTargets"), ("s3", "ListObjectsV2")} <= made
    assert {("cloudwatch", "GetMetricData"), ("cloudwatch", "DescribeAlarms")} <= made
    # The inventory, and what a release uses of module_utils/aws/listener.py.
    made |= {("ec2", "DescribeInstances"), ("elbv2", "DescribeRules"), ("elbv2", "ModifyRule")}
    missing = sorted(action_of(*one) for one in made if not allowed("deployer", action_of(*one)))
    assert not missing, f"docs/iam/deployer.json lacks {missing}"


def test_an_operator_may_do_what_a_deployer_may() -> None:
    for statement in statements("deployer"):
        for action in statement["Action"]:
            assert allowed("operator", action), action


def test_an_operator_may_do_what_provision_and_destroy_do() -> None:
    """operations.json holds the calls that provisions and destroys were seen to make, and the stock modules that made them."""
    recorded = json.loads((Path(__file__).parent / "operations.json").read_text(encoding="utf-8"))
    missing = [action_of(*one.split()) for one in recorded["operations"] if not allowed("operator", action_of(*one.split()))]
    assert not missing, f"docs/iam/operator.json lacks {missing}"
    files = [*(ROOT / "roles").glob("*/tasks/*.yml"), *(ROOT / "roles").glob("*/vars/*.yml"), *(ROOT / "playbooks").rglob("*.yml")]
    used = {name for path in files for name in re.findall(r"^\s+((?:amazon|community)\.aws\.\w+):", path.read_text(encoding="utf-8"), re.M)}
    unknown = sorted(used - set(recorded["modules"]))
    assert not unknown, f"{unknown}: new here; add what they call to docs/iam/operator.json, and both to operations.json"


def test_an_operator_may_do_what_the_collections_own_modules_do() -> None:
    """They write by steps: the name of a client's method, as a string, and call the reads by name."""
    folder = ROOT / "plugins" / "module_utils" / "aws"
    own = [("elbv2", "network_load_balancer"), ("elbv2", "listener"), ("elasticache", "replication_group"), ("efs", "file_system"), ("ec2", "adopted_network")]
    own += [("autoscaling", "group_scaling"), ("ec2", "baked_image"), ("logs", "baked_image")]
    for service, name in own:
        text = "".join(path.read_text(encoding="utf-8") for path in (folder / f"{name}.py", *(ROOT / "plugins" / "modules").glob(f"{name}*.py")))
        made = {operations(service)[one] for one in re.findall(r"\w+", text) if one in operations(service)}
        missing = sorted(action_of(service, one) for one in made if not allowed("operator", action_of(service, one)))
        assert made and not missing, f"docs/iam/operator.json lacks {missing}"


def test_an_operator_may_do_what_an_instance_refresh_does() -> None:
    text = (ROOT / "plugins" / "module_utils" / "aws" / "instance_refresh.py").read_text(encoding="utf-8")
    for service in ("autoscaling", "ec2", "elbv2", "logs"):
        made = {operations(service)[one] for one in re.findall(r"\w+", text) if one in operations(service)}
        missing = sorted(action_of(service, one) for one in made if not allowed("operator", action_of(service, one)))
        assert made and not missing, f"docs/iam/operator.json lacks {missing}"


def test_a_host_may_only_read() -> None:
    """The policy that `provision` writes for hosts of a stack without volumes and consoles."""
    policy = yaml.safe_load((ROOT / "roles" / "identity" / "vars" / "main.yml").read_text(encoding="utf-8"))
    actions = re.findall(r"\b(?:ecr|ssm|secretsmanager|s3|ec2):[A-Z]\w+", json.dumps(policy["__identity_statements"]))
    assert actions
    assert all(action.split(":")[1].startswith(("Get", "Batch")) for action in actions), actions
