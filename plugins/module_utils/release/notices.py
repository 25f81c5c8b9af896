# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Telling others what became of a release: an SNS topic, a webhook, an EventBridge bus. A notice that cannot be sent is a warning, and fails nothing."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document, ReleaseError

SOURCE = "flotilla.release"
WEBHOOK_SECONDS = 5.0
LONGEST_SUBJECT = 100  # of an SNS message (Publish)
LONGEST_MESSAGE = 20_000  # characters; an event may have 256 KiB (PutEvents)
# What a notice tells of a record: not the configuration, whose environment is nobody's business outside.
TOLD = (
    "service", "verb", "number", "previous", "tag", "digest", "revision", "configuration_checksum", "who", "where", "when", "ended", "seconds", "phases",
    "hosts", "outcome", "reason", "asked",
)  # fmt: skip


def event(stack: str, environment: str, service: str, record: Document, result: Document) -> Document:
    """What is told: the record without its settings, and the message for people."""
    told = {name: record[name] for name in TOLD if record.get(name) is not None}
    more = {name: result[name] for name in ("message", "exit_code", "needs_hand", "report") if result.get(name) is not None}
    more |= {"message": str(more["message"])[:LONGEST_MESSAGE]} if "message" in more else {}
    return {"stack": stack, "environment": environment, "service": service, **told, **more}


def subject(told: Document) -> str:
    """The event as one line."""
    number = f" {told['number']}" if told.get("number") else ""
    text = f"{told['stack']} ({told['environment']}): {told.get('verb') or 'release'} of {told['service']}{number} {told.get('outcome')}"
    return text[:LONGEST_SUBJECT]


def post(url: str, document: Document) -> None:
    """Send a document to a webhook; its `text` is what chat programs show."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("its address begins with neither https:// nor http://")
    asked = urllib.request.Request(url, json.dumps(document).encode(), {"Content-Type": "application/json", "User-Agent": SOURCE}, method="POST")  # noqa: S310
    with urllib.request.urlopen(asked, timeout=WEBHOOK_SECONDS):  # noqa: S310
        pass


def send(channels: Document, told: Document, client: Callable[[str], Any], hook: Callable[[str, Document], None] = post) -> list[str]:
    """Tell each channel; returns what could not be told, as sentences. client makes a client of a service."""

    def topic() -> None:
        client("sns").publish(TopicArn=channels["sns_topic_arn"], Subject=subject(told), Message=json.dumps(told, indent=2))

    def bus() -> None:
        entry = {"Source": SOURCE, "DetailType": f"Release {told.get('outcome')}", "Detail": json.dumps(told), "EventBusName": channels["event_bus"]}
        answer = client("events").put_events(Entries=[entry])
        if answer.get("FailedEntryCount"):
            raise ReleaseError(str(answer["Entries"][0].get("ErrorMessage") or answer["Entries"][0].get("ErrorCode")))

    def webhook() -> None:
        text = f"{subject(told)}\n{told.get('message') or told.get('reason') or ''}".strip()
        hook(channels["webhook_url"], {"text": text, "release": told})

    failures = []
    for name, tell in (("sns_topic_arn", topic), ("event_bus", bus), ("webhook_url", webhook)):
        if not channels.get(name):
            continue
        try:
            tell()
        except (ReleaseError, OSError, ValueError, api.botocore.exceptions.BotoCoreError, api.botocore.exceptions.ClientError) as error:
            # An address of a webhook often is a secret: only its host is named.
            where = urlsplit(channels[name]).hostname if name == "webhook_url" else channels[name]
            failures.append(f"the notice to {name} {where} was not sent: {getattr(error, 'reason', None) or error}")
    return failures
