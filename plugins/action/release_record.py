# Copyright (c) 2026, the flotilla.ec2 authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write down a release; documented in plugins/modules/release_record.py."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, lock, records, verdict
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document
from ansible_collections.flotilla.ec2.plugins.modules.release_record import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction


def write_result(path: str, result: Document) -> None:
    """Write the result file, whole or not at all."""
    result = {**result, "exit_code": result.get("exit_code", verdict.EXIT_CODES.get(result.get("outcome", ""), verdict.NEEDS_A_HAND))}
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    new.replace(file)


class ActionModule(ReleaseAction):
    """Pointer, record, result file."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        written: Document = {}
        if arguments["record"] and not self.check:
            written = self._record(arguments)
        if arguments["result_file"]:
            write_result(arguments["result_file"], arguments["result"] or {})
        return {"changed": bool(written) and arguments["outcome"] != "failed", "record": written}

    def _record(self, arguments: dict[str, Any]) -> Document:
        region, bucket, service, record = (arguments[key] for key in ("region", "bucket", "service", "record"))
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
            pointer = {**records.pointer_of({**document, "when": now.isoformat(), "who": record["who"]}), "previous": record["previous"]}
            ssm = api.client("ssm", region)
            ssm.put_parameter(Name=arguments["pointer"], Value=json.dumps(pointer), Type="String", Overwrite=True)
        api.write_object(s3, bucket, key, document)
        return document
