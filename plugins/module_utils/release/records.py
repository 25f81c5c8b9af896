# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Release records (S3) and the pointer to the release that runs (SSM), as plain data.

A record is written when its hosts begin to roll (outcome C(started)) and again at its end. One that stays C(started) belongs to a
release whose process was killed: the next run finishes it or names it.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document, ReleaseError

POINTER_KEYS = ("number", "digest", "tag", "image", "configuration_checksum", "revision", "who", "when", "previous", "colour")
# What decides how the container runs, besides its image. Health settings are the load balancer's and change no container.
CONFIGURATION_KEYS = (
    "environment", "secrets", "port", "container_port", "user", "memory_mb", "grace_seconds", "tmpfs", "writable", "volumes", "media", "migration", "console",
)  # fmt: skip


def prefix(service: str) -> str:
    """Where a service's records lie in the bucket."""
    return f"releases/{service}/"


def key(service: str, number: int) -> str:
    """The record of one release."""
    return f"{prefix(service)}{number:06d}.json"


def refusals(service: str) -> str:
    """Where the refusals of a service's releases lie."""
    return f"{prefix(service)}refused/"


def surplus(kept: list[int], keep: int, spared: set[int]) -> list[int]:
    """The oldest records beyond the newest keep ones; the spared are never among them, and the newest number stays, for the next follows from it."""
    return [number for number in sorted(kept)[: -max(keep, 1)] if number not in spared]


def numbers(keys: list[str]) -> list[int]:
    """The release numbers among the keys of a bucket, ascending."""
    return sorted(int(found[1]) for one in keys if (found := re.search(r"/(\d{6})\.json$", one)))


def pointer_name(parameter_root: str, service: str) -> str:
    """The parameter that names a service's current release."""
    return f"{parameter_root}/services/{service}/release"


def configuration(service: Document, environment: dict[str, str], outputs: Document | None = None) -> Document:
    """What a release fixes of a service (an entry of the model's services), environment and media resolved."""
    kept = {name: service.get(name) for name in CONFIGURATION_KEYS}
    return {
        **kept,
        "environment": {name: str(value) for name, value in sorted(environment.items())},
        "secrets": {**(service.get("secrets") or {}), **(service.get("secret_environment") or {})},
        "volumes": [{name: volume[name] for name in ("name", "path", "mount", "tag")} for volume in service.get("volumes") or []],
        "media": media_of(service, outputs or {}),
        "health_path": (service.get("health") or {}).get("path"),
        "health_probe": probe_of(service),
    }


def media_of(service: Document, outputs: Document) -> Document:
    """Where a service's part of the shared media is; {} when it uses none."""
    wanted = service.get("media")
    if not wanted:
        return {}
    made = outputs.get("media") or {}
    point = (made.get("access_points") or {}).get(service["name"])
    if not point:
        raise ReleaseError(f"{service['name']} uses the stack's media, and its outputs name no access point for it. Fix: run provision.yml.")
    return {"path": wanted["path"], "mount": wanted["mount"], "file_system": made["file_system_id"], "access_point": point}


def probe_of(service: Document) -> str:
    """How a service is asked on its host: C(http), C(tcp) (a connection is enough), or C(none) (it has to run)."""
    if service.get("protocol") == "tcp":
        return "tcp"
    return "none" if service.get("exposure") == "none" and not (service.get("health") or {}).get("path") else "http"


def checksum(configured: Document) -> str:
    """The first 16 digits of the SHA-256 over what decides how the container runs. Empty and absent settings are equal."""
    relevant = {name: value for name in CONFIGURATION_KEYS if (value := configured.get(name)) not in (None, [], {}, "")}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def pointer_of(record: Document) -> Document:
    """The pointer that makes this record the current release."""
    return {name: record.get(name) for name in POINTER_KEYS}


def load(s3: Any, bucket: str, service: str, number: int) -> Document | None:
    """One record, or None when there is none of that number."""
    return api.read_object(s3, bucket, key(service, number))


def load_target(s3: Any, bucket: str, service: str, number: int, kept: list[int]) -> Document:
    """The record to roll back to; ReleaseError naming the choices when it cannot be."""
    record = load(s3, bucket, service, number) if number in kept else None
    if record is None:
        known = ", ".join(map(str, kept[-10:])) or "none"
        raise ReleaseError(f"there is no record of release {number} of {service}; there are: {known}. Fix: -e to=<one of these>.")
    if record.get("outcome") != "succeeded":
        raise ReleaseError(
            f"release {number} of {service} never was in service (its outcome: {record.get('outcome')}: {record.get('reason') or 'no reason kept'}). "
            "Fix: choose one that succeeded with -e to=<number>."
        )
    return record


def age(since: str | None, at: datetime) -> str:
    """How long ago, as people say it: C(12 s), C(5 min), C(3 h), C(9 days)."""
    if not since:
        return "unknown"
    seconds = max(0, int((at - datetime.fromisoformat(since)).total_seconds()))
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // size} {unit}"
    return f"{seconds // 86400} days"
