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


def test_the_role_may_what_its_own_hosts_need_and_nothing_else(iam, tags):
    """Its stack's images, secrets, parameters and boot bundles; the log of its boot; and having an instance of its stack replaced."""
    assert iam.list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"] == []
    (name,) = iam.list_role_policies(RoleName=ROLE)["PolicyNames"]
    allowed, conditions = {}, {}
    for statement in iam.get_role_policy(RoleName=ROLE, PolicyName=name)["PolicyDocument"]["Statement"]:
        assert statement["Effect"] == "Allow"
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        resources = [statement["Resource"]] if isinstance(statement["Resource"], str) else statement["Resource"]
        allowed.update({action: sorted(resources) for action in actions})
        conditions.update({action: statement["Condition"] for action in actions if "Condition" in statement})
    images = [f"arn:aws:ecr:eu-central-1:{ACCOUNT}:repository/hello/web"]
    parameters = [f"arn:aws:ssm:eu-central-1:{ACCOUNT}:parameter/flotilla/test/identity{end}" for end in ("", "/*")]
    log = [f"arn:aws:logs:eu-central-1:{ACCOUNT}:log-group:/flotilla/test/identity/boot:*"]
    assert allowed == {
        "ecr:GetAuthorizationToken": ["*"],
        "ecr:BatchCheckLayerAvailability": images,
        "ecr:BatchGetImage": images,
        "ecr:GetDownloadUrlForLayer": images,
        "secretsmanager:GetSecretValue": [f"arn:aws:secretsmanager:eu-central-1:{ACCOUNT}:secret:flotilla/test/identity/*"],
        "ssm:GetParameter": parameters,
        "ssm:GetParameters": parameters,
        "ssm:GetParametersByPath": parameters,
        "s3:GetObject": [f"arn:aws:s3:::identity-test-{ACCOUNT}-eu-central-1/boot/*"],
        "logs:CreateLogStream": log,
        "logs:PutLogEvents": log,
        "autoscaling:SetInstanceHealth": [f"arn:aws:autoscaling:eu-central-1:{ACCOUNT}:autoScalingGroup:*"],
    }, json.dumps(allowed, indent=2)
    assert conditions == {"autoscaling:SetInstanceHealth": {"StringEquals": {f"aws:ResourceTag/{key}": value for key, value in tags.items()}}}


def test_the_profile_hands_the_role_to_instances(iam):
    profile = iam.get_instance_profile(InstanceProfileName=ROLE)["InstanceProfile"]
    assert [role["RoleName"] for role in profile["Roles"]] == [ROLE]


def test_the_key_pair_is_the_environments_and_named_after_it(aws, ours, state):
    material = (state / "cloud" / "ssh" / "id_ed25519.pub").read_text(encoding="ascii").strip()
    (key,) = aws("ec2").describe_key_pairs(Filters=ours, IncludePublicKey=True)["KeyPairs"]
    assert key["KeyName"] == f"identity-test-{hashlib.sha256(material.encode()).hexdigest()[:8]}"
    assert key["PublicKey"].split()[:2] == material.split()[:2]
