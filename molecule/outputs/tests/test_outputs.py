"""One parameter that tells the other playbooks, and people, what provisioning has made."""

import json

import pytest

NAME = "/flotilla/test/outputs/outputs"


@pytest.fixture(scope="module")
def outputs(aws):
    parameter = aws("ssm").get_parameter(Name=NAME)["Parameter"]
    assert parameter["Type"] == "String"
    return json.loads(parameter["Value"])


def test_they_say_where_everything_is(outputs, state):
    account = json.loads((state / "account.json").read_text(encoding="utf-8"))
    assert outputs["region"] == "eu-central-1"
    assert outputs["registry"] == "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
    assert outputs["vpc_id"] == account["vpc"]
    assert outputs["bucket"] == "outputs-test-records"
    assert outputs["load_balancer"]["dns_name"] == "outputs-test.eu-central-1.elb.amazonaws.com"
    assert outputs["target_groups"]["web"].endswith("targetgroup/outputs-test-web/molecule")
    assert outputs["fleets"] == {"web": {"group": "outputs-test-web", "security_group": account["security_group"]}}


def test_of_the_database_they_name_the_secrets_and_tell_none(outputs):
    database = outputs["database"]
    assert (database["host"], database["port"]) == ("outputs-test.molecule.eu-central-1.rds.amazonaws.com", 3306)
    assert database["master_secret"] == "flotilla/test/outputs/database-master"
    assert database["users"] == {"web": "outputs_web"}
    assert "password" not in json.dumps(outputs)


def test_the_parameter_is_tagged_as_the_stacks(aws, tags):
    worn = aws("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=NAME)["TagList"]
    assert {tag["Key"]: tag["Value"] for tag in worn} == tags
