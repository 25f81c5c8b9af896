"""Records and the pointer, as the next run finds them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from ansible_collections.flotilla.ec2.plugins.action import release_history, release_plan, release_record
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, history, records
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from botocore.stub import Stubber
from moto import mock_aws

POINTER = "/flotilla/local/hello/services/web/release"
KEYS = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(api, "client", lambda service, region, **_more: boto3.client(service, region_name=region, **KEYS))
    with mock_aws():
        s3 = boto3.client("s3", region_name="eu-central-1", **KEYS)
        s3.create_bucket(Bucket="releases-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield s3


def write(number: int, outcome: str, previous: int | None = None, pointer: bool = False, verb: str = "deploy", **more: Any) -> dict[str, Any]:
    record = {"number": number, "verb": verb, "digest": f"sha256:{number}", "tag": f"v{number}", "image": "i", "configuration": {},
              "configuration_checksum": "c", "previous": previous, "who": "me", "when": "2026-03-01T12:00:00+00:00"}  # fmt: skip
    arguments = {"region": "eu-central-1", "bucket": "releases-bucket", "service": "web", "record": record, "outcome": outcome, "reason": None, "hosts": {},
                 "phases": {}, "pointer": POINTER if pointer else None, "given_up": None, "migration": None, "keep": None} | more  # fmt: skip
    return release_record.ActionModule._record(None, arguments)  # type: ignore[arg-type]


def pointer() -> dict[str, Any]:
    found = api.read_parameter(api.client("ssm", "eu-central-1"), POINTER)
    assert found
    return found[0]


def test_a_begun_release_is_found_until_it_ends(aws: Any) -> None:
    write(1, "started")
    found = release_plan.unfinished_release(aws, "releases-bucket", "web", [1], None)
    assert found and found["number"] == 1
    write(1, "succeeded", pointer=True)
    assert release_plan.unfinished_release(aws, "releases-bucket", "web", [1], pointer()) is None
    assert records.numbers(api.list_keys(aws, "releases-bucket", records.prefix("web"))) == [1]


def test_a_verdict_moves_the_pointer_only_when_it_is_a_good_one() -> None:
    given = {"verdict": None, "pointer": POINTER, "outcome": None, "result": {"service": "web", "message": "planned"}}
    assert release_record.judged(given) is given
    good = {"outcome": "succeeded", "reason": "", "hosts": {"i-1": {}}, "phases": {"roll": 1.0}, "revert": [], "result": {"message": "done"}}
    found = release_record.judged(given | {"verdict": good})
    assert (found["outcome"], found["reason"], found["pointer"], found["hosts"]) == ("succeeded", None, POINTER, {"i-1": {}})
    assert found["result"] == {"service": "web", "message": "done", "phases": {"roll": 1.0}}
    bad = release_record.judged(given | {"verdict": good | {"outcome": "failed", "reason": "it broke"}})
    assert (bad["outcome"], bad["reason"], bad["pointer"]) == ("failed", "it broke", None)


def test_a_rollback_goes_further_back_the_second_time(aws: Any) -> None:
    for number in (1, 2, 3):
        write(number, "succeeded", previous=number - 1 or None, pointer=True)
    assert pointer()["previous"] == 2
    write(2, "succeeded", previous=1, pointer=True, verb="rollback")
    assert (pointer()["number"], pointer()["previous"], pointer()["digest"]) == (2, 1, "sha256:2")
    record = records.load(aws, "releases-bucket", "web", 2)
    assert record and record["verb"] == "deploy" and [entry["verb"] for entry in record["later"]] == ["rollback"]


def test_a_restart_moves_the_pointer_to_the_other_colour(aws: Any) -> None:
    record = {"number": 1, "digest": "sha256:1", "previous": None, "who": "me", "when": "2026-03-01T12:00:00+00:00"}
    for verb, colour in (("deploy", "green"), ("restart", "blue")):
        write(1, "succeeded", pointer=True, record={**record, "verb": verb, "colour": colour})
        assert pointer()["colour"] == colour


def test_a_failed_rollback_leaves_the_older_release_a_good_one(aws: Any) -> None:
    write(1, "succeeded")
    write(1, "failed", verb="rollback")
    assert records.load_target(aws, "releases-bucket", "web", 1, [1])["outcome"] == "succeeded"


def test_what_is_given_up_is_closed(aws: Any) -> None:
    write(1, "started")
    write(2, "started", given_up=1)
    record = records.load(aws, "releases-bucket", "web", 1)
    assert record and record["outcome"] == "failed" and "replaced by release 2" in record["reason"]


def test_what_never_served_is_no_way_back(aws: Any) -> None:
    write(1, "failed")
    with pytest.raises(ReleaseError, match="never was in service"):
        records.load_target(aws, "releases-bucket", "web", 1, [1])
    with pytest.raises(ReleaseError, match=r"no record of release 9 .* there are: 1"):
        records.load_target(aws, "releases-bucket", "web", 9, [1])


def test_the_result_file_is_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "release.json"
    release_record.write_result(str(file), {"outcome": "refused"})
    assert json.loads(file.read_text()) == {"outcome": "refused", "exit_code": 10}
    assert [path.name for path in file.parent.iterdir()] == ["release.json"]


def test_a_migration_stays_on_record_until_the_release_ends(aws: Any) -> None:
    write(1, "started", migration={"outcome": "started", "host": "i-1", "command": ["m"]})
    write(1, "started", migration={"outcome": "succeeded"})
    write(1, "started")  # the run that takes a killed one up
    found = release_plan.unfinished_release(aws, "releases-bucket", "web", [1], None)
    assert found and found["migration"] | {"when": ""} == {"outcome": "succeeded", "host": "i-1", "command": ["m"], "when": ""}
    assert write(1, "succeeded", pointer=True)["migration"]["outcome"] == "succeeded"


def test_a_configuration_has_what_the_container_needs_of_the_stack() -> None:
    service = {
        "name": "web", "exposure": "public", "secrets": {"a": {"secret": "s", "field": None}}, "secret_environment": {"B": {"secret": "t", "field": "f"}},
        "media": {"path": "/m", "mount": "/srv/m"}, "volumes": [{"name": "data", "path": "/d", "mount": "/srv/d", "tag": "t", "size_gb": 8}],
    }  # fmt: skip
    made = records.configuration(service, {"N": 1}, {"media": {"file_system_id": "fs-1", "access_points": {"web": "fsap-1"}}})  # type: ignore[dict-item]
    assert set(made["secrets"]) == {"a", "B"}
    assert made["media"] == {"path": "/m", "mount": "/srv/m", "file_system": "fs-1", "access_point": "fsap-1"}
    assert made["volumes"] == [{"name": "data", "path": "/d", "mount": "/srv/d", "tag": "t"}]  # a larger volume is no new release
    with pytest.raises(ReleaseError, match="no access point"):
        records.configuration(service, {}, {})


@pytest.mark.parametrize(
    ("service", "probe"),
    [({"exposure": "public"}, "http"), ({"exposure": "internal", "protocol": "tcp"}, "tcp"), ({"exposure": "none"}, "none"),
     ({"exposure": "none", "health": {"path": "/ok"}}, "http")],
)  # fmt: skip
def test_how_a_service_is_asked_on_its_host(service: dict[str, Any], probe: str) -> None:
    assert records.probe_of(service) == probe


def test_old_records_go_but_never_the_current_or_the_one_before_it(aws: Any) -> None:
    for number in range(1, 7):
        write(number, "succeeded", previous=number - 1 or None, pointer=True, keep=3)
    assert records.numbers(api.list_keys(aws, "releases-bucket", records.prefix("web"))) == [4, 5, 6]
    write(4, "succeeded", previous=2, pointer=True, verb="rollback", keep=1)
    assert records.numbers(api.list_keys(aws, "releases-bucket", records.prefix("web"))) == [4, 6]


def refuse(**more: Any) -> tuple[dict[str, Any], str]:
    arguments = {"region": "eu-central-1", "bucket": "releases-bucket", "parameter_root": None, "service": "web", "reason": "no such tag",
                 "record": {"verb": "deploy", "asked": "v9", "message": ""}} | more  # fmt: skip
    return release_record.ActionModule._refusal(None, arguments)  # type: ignore[arg-type]


def test_a_refusal_is_a_record_and_no_release(aws: Any) -> None:
    write(1, "succeeded", pointer=True)
    written, warning = refuse()
    assert (written["outcome"], written["reason"], warning) == ("refused", "no such tag", "")
    assert written["who"] and written["where"]
    assert records.numbers(api.list_keys(aws, "releases-bucket", records.prefix("web"))) == [1]
    told = release_history.collected(aws, "releases-bucket", "web", 10)
    assert [(row["number"], row["outcome"]) for row in told] == [(None, "refused"), (1, "succeeded")]


def test_a_refusal_that_cannot_be_recorded_is_a_warning(aws: Any) -> None:
    assert "could not be recorded" in refuse(bucket="no-such-bucket")[1]
    api.client("ssm", "eu-central-1").put_parameter(Name="/x/outputs", Value='{"bucket": "releases-bucket"}', Type="String")
    assert refuse(bucket=None, parameter_root="/x")[0]["outcome"] == "refused"


def test_history_tells_who_what_how_long_and_why() -> None:
    record = {"number": 2, "verb": "deploy", "who": "ann@ci", "where": "https://ci/1", "when": "2026-03-01T12:00:00+00:00", "outcome": "succeeded",
              "tag": "v2", "digest": "sha256:" + "b" * 64, "configuration_checksum": "cafe", "revision": "abc", "seconds": 33.0, "phases": {"roll": 20.1},
              "hosts": {"i-1": {"outcome": "released", "seconds": 9.0, "steps": {"drain": 5.1, "start": 1.0}}},
              "later": [{"verb": "rollback", "who": "bob@pc", "when": "2026-03-02T12:00:00+00:00", "outcome": "failed", "reason": "boom\nmore"}]}  # fmt: skip
    refused = {"verb": "deploy", "asked": "v9", "who": "eve@pc", "when": "2026-03-03T12:00:00+00:00", "outcome": "refused", "reason": "no such tag"}
    told = history.events([record], [refused])
    assert [row["outcome"] for row in told] == ["refused", "failed", "succeeded"]
    at = datetime(2026, 3, 4, 12, tzinfo=timezone.utc)  # noqa: UP017
    page = history.page("hello", "local", {"web": {"pointer": {"number": 2, "when": "2026-03-01T12:00:00+00:00"}, "events": told}}, 2, at)
    for text in ("eve@pc", "v9", "reason: no such tag", "reason: boom …", "1 older ones"):
        assert text in page
    page = history.page("hello", "local", {"web": {"pointer": {"number": 2, "when": None}, "events": told}}, 20, at)
    for text in ("*   2", "from https://ci/1", "bbbbbbbbbbbb", "revision abc", "settings cafe", "33 s", "roll 20.1 s", "i-1 released 9 s (drain 5.1 start 1)"):
        assert text in page, page


def test_the_median_of_the_last_five_is_expected() -> None:
    kept = [
        {"number": n, "verb": "deploy", "outcome": "succeeded", "when": f"2026-03-0{n}T12:00:00+00:00", "seconds": s}
        for n, s in enumerate((999.0, 30, 31, 90, 29, 28), 1)
    ]
    assert history.expected(kept, "deploy") == 30
    assert history.expected([], "deploy") is None


def test_the_image_of_a_release_gets_the_tag_that_is_spared() -> None:
    ecr = boto3.client("ecr", region_name="eu-central-1", **KEYS)
    digest = "sha256:" + "ab" * 32
    with Stubber(ecr) as stub:
        asked = {"repositoryName": "hello/web", "imageIds": [{"imageDigest": digest}]}
        stub.add_response("batch_get_image", {"images": [{"imageManifest": "{}", "imageManifestMediaType": "m"}]}, asked)
        stub.add_response(
            "put_image", {}, {"repositoryName": "hello/web", "imageManifest": "{}", "imageManifestMediaType": "m", "imageTag": "released-" + "ab" * 6}
        )
        assert api.keep_image(ecr, "hello/web", digest) is True
        stub.add_response("batch_get_image", {"images": [{"imageManifest": "{}"}]}, asked)
        stub.add_client_error("put_image", "ImageAlreadyExistsException")
        assert api.keep_image(ecr, "hello/web", digest) is False
        stub.add_response("batch_get_image", {"images": []}, asked)
        assert api.keep_image(ecr, "hello/web", digest) is False
    assert api.image({"imageDigest": digest, "imageTags": ["released-ab", "v1"]})["tags"] == ["v1"]
