"""The boot bundle of a fleet: the same content is the same bytes, and what is published is what the parameter names."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from ansible_collections.flotilla.ec2.plugins.filter import release as filters
from ansible_collections.flotilla.ec2.plugins.module_utils.release import boot
from moto import mock_aws

AT = datetime(2026, 1, 1, 10, tzinfo=UTC)
NAME = "/flotilla/local/shop/fleets/web/boot"


def collected(*files: str) -> dict[str, Any]:
    rows = [{"path": path, "mode": "0644", "owner": "root", "group": "root", "content": base64.b64encode(path.encode()).decode()} for path in files]
    return {"packages": ["docker.io"], "programs": {"docker": "docker-cli"}, "groups": [], "users": [], "commands": [], "directories": [], "files": rows}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """(Parameter Store, S3) with the bucket."""
    for name, value in (("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        s3 = boto3.client("s3", region_name="eu-central-1")
        s3.create_bucket(Bucket="records", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield boto3.client("ssm", region_name="eu-central-1"), s3


def test_the_same_content_is_the_same_bytes() -> None:
    first = boot.packed(collected("/etc/a", "/etc/b"), "web", [])
    assert first == boot.packed(collected("/etc/a", "/etc/b"), "web", [])
    assert first != boot.packed(collected("/etc/a"), "web", [])


def test_each_file_lies_below_root_and_its_sum_in_the_index() -> None:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(boot.packed(collected("/etc/a"), "web", [])))) as archive:
        names = archive.getnames()
        index = json.load(archive.extractfile("boot.json"))  # type: ignore[arg-type]
    assert names == ["boot.json", "root/etc/a"]
    assert index["files"] == [{"path": "/etc/a", "mode": "0644", "owner": "root", "group": "root", "sha256": hashlib.sha256(b"/etc/a").hexdigest()}]


def test_the_host_with_the_most_releases_is_the_pattern() -> None:
    fresh, released = collected("/etc/a"), collected("/etc/a", "/etc/flotilla/web/releases/1/release.json")
    assert boot.richest({"i-1": fresh, "i-2": released, "i-3": {}}) is released
    assert boot.richest({"i-3": {}}) is None


def test_a_service_is_known_by_its_pointer_and_the_names_of_its_colours() -> None:
    web = {"name": "web", "fleet": "web", "colours": {"blue": {"instance": "web"}, "green": {"instance": "web-green"}}, "health": {"path": "/up"}}
    other = {"name": "worker", "fleet": "workers", "exposure": "none"}
    model = {"parameter_root": "/flotilla/local/shop", "services": [web, other]}
    assert boot.services(model, "web") == [
        {
            "name": "web",
            "pointer": "/flotilla/local/shop/services/web/release",
            "instances": {"": "web", "blue": "web", "green": "web-green"},
            "probe": "http",
            "path": "/up",
        }
    ]
    assert boot.services(model, "workers")[0]["probe"] == "none"


def test_what_is_published_is_what_the_parameter_names(account: tuple[Any, Any]) -> None:
    ssm, s3 = account
    data = boot.packed(collected("/etc/a"), "web", [])
    digest = hashlib.sha256(data).hexdigest()
    assert not boot.is_published(ssm, s3, NAME, digest)
    pointer = boot.publish(ssm, s3, "records", NAME, "web", data, AT)
    assert json.loads(ssm.get_parameter(Name=NAME)["Parameter"]["Value"]) == pointer
    assert s3.get_object(Bucket="records", Key=pointer["key"])["Body"].read() == data
    assert boot.is_published(ssm, s3, NAME, digest)


@pytest.mark.parametrize("damage", ["changed", "deleted"])
def test_a_bundle_that_was_damaged_is_not_taken_for_published(account: tuple[Any, Any], damage: str) -> None:
    ssm, s3 = account
    data = boot.packed(collected("/etc/a"), "web", [])
    key = boot.publish(ssm, s3, "records", NAME, "web", data, AT)["key"]
    if damage == "deleted":
        s3.delete_object(Bucket="records", Key=key)
    else:
        s3.put_object(Bucket="records", Key=key, Body=b"else")
    assert not boot.is_published(ssm, s3, NAME, hashlib.sha256(data).hexdigest())


def test_the_oldest_are_removed_and_other_fleets_left_alone(account: tuple[Any, Any]) -> None:
    ssm, s3 = account
    s3.put_object(Bucket="records", Key="boot/web-two/x.tar.gz", Body=b"x")
    keys = [boot.publish(ssm, s3, "records", NAME, "web", str(one).encode(), AT + timedelta(minutes=one))["key"] for one in range(boot.KEPT + 2)]
    left = [row["Key"] for row in s3.list_objects_v2(Bucket="records")["Contents"]]
    assert left == [*keys[2:], "boot/web-two/x.tar.gz"] or left == ["boot/web-two/x.tar.gz", *keys[2:]]


def test_of_the_prepared_hosts_one_with_the_most_releases_is_asked() -> None:
    def host(prepared: bool, *releases: int) -> dict[str, Any]:
        return {"__release_laid": {"changed": False} if prepared else {"failed": True}, "__release_looked": {"services": {"web": {"prepared": list(releases)}}}}

    hosts = {"i-1": host(True), "i-2": host(True, 1, 2), "i-3": host(False, 1, 2, 3)}
    assert filters.boot_pattern({"preparing": sorted(hosts)}, hosts) == "i-2"
    assert filters.boot_pattern({"preparing": []}, hosts) == ""


def test_only_hosts_of_the_fleet_that_were_asked_count() -> None:
    asked = {"__boot_collected": {"boot": collected("/etc/a")}}
    hosts: dict[str, Any] = {
        "localhost": asked,
        "i-1": {**asked, "ec2_tags": {"flotilla:fleet": "web"}},
        "i-2": {**asked, "ec2_tags": {"flotilla:fleet": "api"}},
        "i-3": {"ec2_tags": {"flotilla:fleet": "web"}},
    }
    assert list(filters.boot_collected(hosts, "web")) == ["i-1"]
