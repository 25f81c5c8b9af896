# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write down a release; documented in plugins/modules/release_record.py."""

from __future__ import annotations

import json
import os
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible.utils.display import Display
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, figures, lock, notices, records, report, verdict
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document
from ansible_collections.flotilla.ec2.plugins.modules.release_record import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction

REFUSALS = 100  # so many are kept of each service
display = Display()


def write_result(path: str, result: Document) -> None:
    """Write the result file, whole or not at all."""
    result = {**result, "exit_code": result.get("exit_code", verdict.EXIT_CODES.get(result.get("outcome", ""), verdict.NEEDS_A_HAND))}
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    new.replace(file)


def prune(s3: Any, bucket: str, service: str, keep: int, spared: set[int]) -> None:
    """Remove the oldest records, never that of the current release or of the one before it. Bookkeeping: it fails no release."""
    gone = records.surplus(records.numbers(api.list_keys(s3, bucket, records.prefix(service))), keep, spared)
    try:
        api.delete_objects(s3, bucket, [records.key(service, number) for number in gone])
    except (api.botocore.exceptions.BotoCoreError, api.botocore.exceptions.ClientError) as error:
        display.warning(f"the oldest records of {service} could not be removed: {error}")


def spare(record: Document, region: str) -> None:
    """Keep the registry from removing the image of a release. Bookkeeping, too."""
    repository = str(record["image"]).partition("/")[2].partition("@")[0]
    try:
        api.keep_image(api.client("ecr", region, hurried=True), repository, str(record["digest"]))
    except (api.botocore.exceptions.BotoCoreError, api.botocore.exceptions.ClientError) as error:
        display.warning(f"the registry may remove the image of this release once it is old, for it could not be tagged in {repository}: {error}")


def judged(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with those in their places that the verdict on a release stands for. The pointer moves to what has succeeded only."""
    ended = arguments["verdict"]
    if not ended:
        return arguments
    result = {**(arguments["result"] or {}), **ended["result"], "phases": ended["phases"]}
    known = {"outcome": ended["outcome"], "reason": ended["reason"] or None, "hosts": ended["hosts"], "phases": ended["phases"], "result": result}
    return arguments | known | {"pointer": arguments["pointer"] if ended["outcome"] == "succeeded" else None}


class ActionModule(ReleaseAction):
    """Pointer, record, result file."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        written: Document = {}
        warning = ""
        arguments = judged(arguments)
        if arguments["outcome"] == "refused" and not self.check:
            written, warning = self._refusal(arguments)
        elif arguments["record"] and arguments["outcome"] and not self.check:
            written = self._record(arguments)
        result = dict(arguments["result"] or {})
        if written and arguments["report"] and arguments["outcome"] in ("succeeded", "failed"):
            try:
                result["report"] = self._report(arguments, result)
            except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
                display.warning(f"no page about this release could be written to {arguments['report']}: {error!r}")
        if arguments["result_file"]:
            write_result(arguments["result_file"], result)
        warnings = [warning] if warning else []
        if arguments["notices"] and not self.check:
            warnings += self._tell(arguments, written, result)
        outcome: dict[str, Any] = {"warnings": warnings} if warnings else {}
        return {"changed": bool(written) and arguments["outcome"] not in ("failed", "refused"), "record": written, "result": result, **outcome}

    @staticmethod
    def _tell(arguments: dict[str, Any], written: Document, result: Document) -> list[str]:
        """Tell those who want to know what stands in the record now; what could not be told."""
        root = str(arguments["parameter_root"] or "").split("/")
        stack, environment = (root[3], root[2]) if len(root) > 3 else ("", "")
        latest = {**written, **(written.get("later") or [{}])[-1]}
        if arguments["outcome"] == "started":
            latest = {**written, **arguments["record"], "outcome": "started"}
        told = notices.event(stack, environment, str(arguments["service"]), latest, result)
        return notices.send(arguments["notices"], told, lambda service: api.client(service, arguments["region"], hurried=True))

    def _report(self, arguments: dict[str, Any], result: Document) -> str:
        """Leave a page about the release. Without the load balancer's figures when they are not to be had: a page fails no release."""
        story, record = arguments["story"] or {}, arguments["record"]
        bars = story.get("timeline") or []
        charts: list[Document] = []
        try:
            span = (min(bar["from"] for bar in bars), time.time()) if bars else (time.time(), time.time())
            clients = (api.client(name, arguments["region"]) for name in ("elbv2", "cloudwatch"))
            groups = report.by_release(story.get("target_groups") or {}, record, result.get("from"))
            charts = figures.collect(*clients, groups, *span)
        except (api.ReleaseError, api.botocore.exceptions.BotoCoreError, api.botocore.exceptions.ClientError) as error:
            display.vv(f"no figures of the load balancer for the report: {error}")
        told = {**story, "record": record, "outcome": arguments["outcome"], "message": result.get("message"), "hosts": arguments["hosts"]}
        file = Path(arguments["report"]) / f"{report.identifier(record)}.html"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(report.render({**told, "phases": arguments["phases"], "figures": charts}), encoding="utf-8")
        return str(file)

    def _refusal(self, arguments: dict[str, Any]) -> tuple[Document, str]:
        """A refusal as a record of its own. That it cannot be written is a warning: the reason for the refusal is what people must see."""
        region, bucket, service = arguments["region"], arguments["bucket"], arguments["service"] or "unknown"
        now = lock.now()
        document = {
            **(arguments["record"] or {}),
            "outcome": "refused",
            "reason": arguments["reason"],
            "who": lock.owner(),
            "where": lock.where(),
            "when": now.isoformat(),
        }
        try:
            if not bucket:
                read = api.read_parameter(api.client("ssm", region), f"{arguments['parameter_root']}/outputs")
                bucket = read[0].get("bucket") if read else None
            if not bucket:
                return document, ""  # nothing is provisioned
            s3 = api.client("s3", region)
            api.write_object(s3, bucket, f"{records.refusals(service)}{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}.json", document)
            api.delete_objects(s3, bucket, api.list_keys(s3, bucket, records.refusals(service))[:-REFUSALS])
        except (api.ReleaseError, api.botocore.exceptions.BotoCoreError, api.botocore.exceptions.ClientError) as error:
            return document, f"the refusal could not be recorded: {error}"
        return document, ""

    def _record(self, arguments: dict[str, Any]) -> Document:
        region, bucket, service, record = (arguments[key] for key in ("region", "bucket", "service", "record"))
        if arguments["pointer"] and arguments.get("lock"):
            lock.held_by(api.client("ssm", region), arguments["lock"]["name"], arguments["lock"]["token"])
        s3 = api.client("s3", region)
        key = records.key(service, record["number"])
        kept = api.read_object(s3, bucket, key) or {}
        now = lock.now()
        if arguments["given_up"]:
            gone = records.key(service, arguments["given_up"])
            old = api.read_object(s3, bucket, gone)
            if old and old.get("outcome") == "started":
                reason = f"its process ended before it was finished; replaced by release {record['number']}"
                api.write_object(s3, bucket, gone, {**old, "outcome": "failed", "reason": reason, "ended": now.isoformat()})
        # A release that once succeeded stays one: going back to it, or bringing a host along with it, adds to its history.
        again = kept.get("outcome") == "succeeded"
        entry = {"verb": record["verb"], "who": record["who"], "when": record["when"], "outcome": arguments["outcome"], "reason": arguments["reason"]}
        entry |= {name: record[name] for name in ("where", "message", "lock_taken_from") if record.get(name)}
        if arguments["outcome"] != "started":
            entry |= {"hosts": arguments["hosts"], "phases": arguments["phases"], "ended": now.isoformat()}
            entry["seconds"] = round((now - datetime.fromisoformat(record["when"])).total_seconds(), 1)
        if again:
            document = {**kept, "later": [*kept.get("later", []), entry]} if arguments["outcome"] != "started" else kept
        else:
            document = {**record, **entry, **({"when": kept["when"]} if kept.get("outcome") == "started" else {})}
            migration = {**(kept.get("migration") or {}), **({**arguments["migration"], "when": now.isoformat()} if arguments["migration"] else {})}
            document |= {"migration": migration} if migration else {}
        if arguments["pointer"]:
            # A release that is there once more may be on its other colour now.
            today = {"when": now.isoformat(), "who": record["who"], "colour": record.get("colour"), "previous": record["previous"]}
            pointer = records.pointer_of({**document, **today})
            ssm = api.client("ssm", region)
            ssm.put_parameter(Name=arguments["pointer"], Value=json.dumps(pointer), Type="String", Overwrite=True)
        api.write_object(s3, bucket, key, document)
        if arguments["keep"] and arguments["outcome"] == "succeeded":
            spare(record, region)
        if arguments["keep"] and arguments["outcome"] == "succeeded":
            prune(s3, bucket, service, arguments["keep"], {int(one) for one in (record["number"], record["previous"]) if one})
        return document
