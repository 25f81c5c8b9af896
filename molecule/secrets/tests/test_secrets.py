"""Secrets that are generated once and belong to the stack."""

import pytest


@pytest.fixture(scope="module")
def manager(aws):
    return aws("secretsmanager")


@pytest.mark.parametrize(("name", "length"), [("upload_secret", 40), ("signing_key", 32)])
def test_a_secret_is_generated_once_and_as_long_as_asked_for(manager, name, length):
    value = manager.get_secret_value(SecretId=f"flotilla/test/secrets/{name}")["SecretString"]
    assert len(value) == length and value.isascii() and value.isalnum()
    assert len(manager.list_secret_version_ids(SecretId=f"flotilla/test/secrets/{name}")["Versions"]) == 1


def test_no_two_are_alike_and_all_are_the_stacks(manager, tags):
    found = [one for one in manager.list_secrets()["SecretList"] if one["Name"].startswith("flotilla/test/secrets/")]
    assert len({manager.get_secret_value(SecretId=one["ARN"])["SecretString"][:32] for one in found}) == len(found) == 2
    assert [{tag["Key"]: tag["Value"] for tag in one["Tags"]} for one in found] == [tags, tags]
