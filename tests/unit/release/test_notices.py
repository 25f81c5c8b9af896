"""Who is told what of a release, and the points at which a user's own tasks run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.release import hooks, notices
from botocore.stub import ANY, Stubber

TOPIC = "arn:aws:sns:eu-central-1:123456789012:releases"
RECORD = {
    "service": "web",
    "verb": "deploy",
    "number": 3,
    "outcome": "failed",
    "reason": "boom",
    "who": "ann@ci",
    "configuration": {"environment": {"A": "secret"}},
}
TOLD = notices.event("hello", "local", "web", RECORD, {"message": "Release 3 failed", "exit_code": 20, "hosts": {}})


def stubbed(service: str) -> tuple[Any, Stubber]:
    client = botocore.session.get_session().create_client(service, region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
    stub = Stubber(client)
    stub.activate()
    return client, stub


def test_what_is_told_has_the_record_but_no_settings() -> None:
    assert TOLD["number"] == 3 and TOLD["message"] == "Release 3 failed" and TOLD["exit_code"] == 20
    assert "secret" not in json.dumps(TOLD)
    assert notices.subject(TOLD) == "hello (local): deploy of web 3 failed"


def test_topic_bus_and_webhook_are_told() -> None:
    topic, topic_stub = stubbed("sns")
    topic_stub.add_response("publish", {"MessageId": "1"}, {"TopicArn": TOPIC, "Subject": notices.subject(TOLD), "Message": json.dumps(TOLD, indent=2)})
    bus, bus_stub = stubbed("events")
    entry = {"Source": "flotilla.release", "DetailType": "Release failed", "Detail": json.dumps(TOLD), "EventBusName": "default"}
    bus_stub.add_response("put_events", {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}, {"Entries": [entry]})
    posted: list[Any] = []
    channels = {"sns_topic_arn": TOPIC, "event_bus": "default", "webhook_url": "https://hooks.example.org/x"}
    failures = notices.send(channels, TOLD, {"sns": topic, "events": bus}.__getitem__, lambda url, document: posted.append((url, document)))
    assert failures == []
    topic_stub.assert_no_pending_responses()
    bus_stub.assert_no_pending_responses()
    assert posted[0][0] == "https://hooks.example.org/x" and posted[0][1]["text"].startswith("hello (local): deploy of web 3 failed\nRelease 3 failed")


def test_what_cannot_be_told_is_a_warning_that_keeps_the_address() -> None:
    topic, topic_stub = stubbed("sns")
    topic_stub.add_client_error("publish", "NotFound", "no such topic")
    bus, bus_stub = stubbed("events")
    bus_stub.add_response("put_events", {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "X", "ErrorMessage": "no bus"}]}, {"Entries": ANY})

    def refuse(url: str, document: dict[str, Any]) -> None:
        raise OSError("refused")

    channels = {"sns_topic_arn": TOPIC, "event_bus": "default", "webhook_url": "https://hooks.example.org/token"}
    failures = notices.send(channels, TOLD, {"sns": topic, "events": bus}.__getitem__, refuse)
    assert len(failures) == 3 and "no such topic" in failures[0] and "no bus" in failures[1]
    assert "hooks.example.org" in failures[2] and "token" not in failures[2]
    assert notices.send({"sns_topic_arn": None}, TOLD, {}.__getitem__) == []


def test_a_hook_is_at_a_known_point_and_a_file(tmp_path: Path) -> None:
    file = tmp_path / "smoke.yml"
    file.write_text("[]")
    assert hooks.problems({"before_traffic": str(file)}) == []
    problems = hooks.problems({"before_trafic": str(file), "after_host": "no/such.yml"})
    assert "did you mean before_traffic?" in problems[0] and "no file" in problems[1]
    assert "no map" in hooks.problems(["x"])[0]


@pytest.mark.parametrize("point", hooks.POINTS)
def test_every_point_is_run_and_documented(point: str) -> None:
    root = Path(__file__).resolve().parents[3]
    tasks = "".join(path.read_text(encoding="utf-8") for path in (root / "roles/release/tasks").glob("*.yml"))
    assert f"release_hooks['{point}'] | realpath" in tasks
    assert point in (root / "docs/operations.md").read_text(encoding="utf-8")
