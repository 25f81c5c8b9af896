"""One release, from the registry's tag to a healthy host, recorded; the same again has changed nothing."""

import json

import pytest

ROOT = "/flotilla/test/release"


@pytest.fixture(scope="module")
def account(state):
    return json.loads((state / "account.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def instance(aws):
    names = [{"Name": "tag:Name", "Values": ["molecule-application"]}]
    (reservation,) = aws("ec2").describe_instances(Filters=names)["Reservations"]
    return reservation["Instances"][0]["InstanceId"]


@pytest.fixture(scope="module")
def outputs(aws):
    return json.loads(aws("ssm").get_parameter(Name=f"{ROOT}/outputs")["Parameter"]["Value"])


@pytest.fixture(scope="module")
def pointer(aws):
    return json.loads(aws("ssm").get_parameter(Name=f"{ROOT}/services/web/release")["Parameter"]["Value"])


def test_the_host_serves_the_release_by_the_digest_of_its_tag(host, state, pointer):
    image = json.loads((state / "images.json").read_text(encoding="utf-8"))["v1"]
    assert host.check_output("docker inspect --format '{{.Config.Image}}' flotilla-web") == image
    assert image.endswith(pointer["digest"])
    assert "x-app-version: v1" in host.check_output("curl -sS -m 5 -o /dev/null -D - http://127.0.0.1:8080/healthz").lower()


def test_what_the_stack_says_has_reached_the_container(host):
    assert host.check_output("docker exec flotilla-web printenv DATABASE_USER") == "release_web"
    assert host.check_output("docker exec flotilla-web cat /run/secrets/database_password") == "molecule-password"


def test_the_host_is_in_service_and_nothing_else(aws, instance, outputs):
    (target,) = aws("elbv2").describe_target_health(TargetGroupArn=outputs["target_groups"]["web"])["TargetHealthDescriptions"]
    assert (target["Target"]["Id"], target["TargetHealth"]["State"]) == (instance, "healthy")


def test_the_release_is_recorded_and_the_pointer_names_it(aws, account, instance, outputs, pointer):
    assert (pointer["number"], pointer["tag"], pointer["previous"]) == (1, account["tags"]["v1"], None)
    keys = [one["Key"] for one in aws("s3").list_objects_v2(Bucket=outputs["bucket"])["Contents"]]
    assert [key for key in keys if not key.startswith("boot/")] == ["releases/web/000001.json"]
    bundle = json.loads(aws("ssm").get_parameter(Name=f"{ROOT}/fleets/web/boot")["Parameter"]["Value"])
    assert bundle["key"] in keys, "an instance that is born now would not find the release"
    record = json.loads(aws("s3").get_object(Bucket=outputs["bucket"], Key="releases/web/000001.json")["Body"].read())
    assert (record["outcome"], record["digest"], list(record["hosts"])) == ("succeeded", pointer["digest"], [instance])
    assert "molecule-password" not in json.dumps(record)


def test_the_lock_is_given_back(aws):
    ssm = aws("ssm")
    with pytest.raises(ssm.exceptions.ParameterNotFound):
        ssm.get_parameter(Name=f"{ROOT}/lock")


def test_the_same_again_was_unchanged(state):
    """Written by the second run, that of the idempotence test."""
    assert json.loads((state / "release.json").read_text(encoding="utf-8"))["outcome"] == "unchanged"
