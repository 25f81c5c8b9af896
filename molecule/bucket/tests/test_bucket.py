"""A private, encrypted, versioned bucket for the records of releases."""

import json

import pytest

NAME = "bucket-test-123456789012-eu-central-1"


@pytest.fixture(scope="module")
def s3(aws):
    return aws("s3")


def test_nothing_of_it_can_become_public(s3):
    assert set(s3.get_public_access_block(Bucket=NAME)["PublicAccessBlockConfiguration"].values()) == {True}
    (rule,) = s3.get_bucket_ownership_controls(Bucket=NAME)["OwnershipControls"]["Rules"]
    assert rule == {"ObjectOwnership": "BucketOwnerEnforced"}


def test_it_is_encrypted_and_nothing_in_it_is_lost_by_writing_over_it(s3):
    (rule,) = s3.get_bucket_encryption(Bucket=NAME)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert s3.get_bucket_versioning(Bucket=NAME)["Status"] == "Enabled"


def test_requests_without_tls_are_denied(s3):
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=NAME)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [f"arn:aws:s3:::{NAME}", f"arn:aws:s3:::{NAME}/*"]


def test_it_is_tagged_as_the_stacks(s3, tags):
    assert {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket=NAME)["TagSet"]} == tags
