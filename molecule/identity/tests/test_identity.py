"""What a host may do in the account, and who gets in by ssh."""

import hashlib
import json

import pytest

ROLE = "identity-test-host"
ACCOUNT = "123456789012"


@pytest.fixture(scope="module")
def iam(aws):
    return aws("iam")


def test_only_instances_take_the_role(iam, tags):
    role = iam.get_role(RoleName=ROLE)["Role"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Allow", {"Service": "ec2.amazonaws.com"}, "sts:AssumeRole")
    assert {tag["Key"]: tag["Value"] for tag in role["Tags"]} == tags


def test_the_role_reads_its_own_stacks_images_secrets_and_parameters_and_nothing_else(iam):
    assert iam.list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"] == []
    (name,) = iam.list_role_policies(RoleName=ROLE)["PolicyNames"]
    allowed = {}
    for statement in iam.get_role_policy(RoleName=ROLE, PolicyName=name)["PolicyDocument"]["Statement"]:
        assert statement["Effect"] == "Allow"
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        resources = [statement["Resource"]] if isinstance(statement["Resource"], str) else statement["Resource"]
        allowed.update({action: sorted(resources) for action in actions})
    images = [f"arn:aws:ecr:eu-central-1:{ACCOUNT}:repository/hello/web"]
    parameters = [f"arn:aws:ssm:eu-central-1:{ACCOUNT}:parameter/flotilla/test/identity{end}" for end in ("", "/*")]
    assert allowed == {
        "ecr:GetAuthorizationToken": ["*"],
        "ecr:BatchCheckLayerAvailability": images,
        "ecr:BatchGetImage": images,
        "ecr:GetDownloadUrlForLayer": images,
        "secretsmanager:GetSecretValue": [f"arn:aws:secretsmanager:eu-central-1:{ACCOUNT}:secret:flotilla/test/identity/*"],
        "ssm:GetParameter": parameters,
        "ssm:GetParameters": parameters,
        "ssm:GetParametersByPath": parameters,
    }, json.dumps(allowed, indent=2)


def test_the_profile_hands_the_role_to_instances(iam):
    profile = iam.get_instance_profile(InstanceProfileName=ROLE)["InstanceProfile"]
    assert [role["RoleName"] for role in profile["Roles"]] == [ROLE]


def test_the_key_pair_is_the_environments_and_named_after_it(aws, ours, state):
    material = (state / "cloud" / "ssh" / "id_ed25519.pub").read_text(encoding="ascii").strip()
    (key,) = aws("ec2").describe_key_pairs(Filters=ours, IncludePublicKey=True)["KeyPairs"]
    assert key["KeyName"] == f"identity-test-{hashlib.sha256(material.encode()).hexdigest()[:8]}"
    assert key["PublicKey"].split()[:2] == material.split()[:2]
