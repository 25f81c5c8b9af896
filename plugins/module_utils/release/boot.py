# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The boot bundle of a fleet: what its hosts have, packed so that the same content is the same bytes, and the parameter that names it.

An instance starts what the releases' own pointers name, so that a bundle holds the current release and the coming one side by side, and the one
write that ends a release changes what new instances start, too.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from datetime import datetime
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, records
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document

FORMAT = 1
KEPT = 10  # bundles of a fleet, the current one among them
INDEX = "boot.json"


def prefix(fleet: str) -> str:
    """Where a fleet's bundles lie in the bucket."""
    return f"boot/{fleet}/"


def pointer_name(parameter_root: str, fleet: str) -> str:
    """The parameter that names a fleet's current bundle."""
    return f"{parameter_root}/fleets/{fleet}/boot"


def services(model: Document, fleet: str) -> list[Document]:
    """What an instance must know of the services that it runs: where the pointer is, the name of each colour on a host, how to ask it."""
    return [
        {
            "name": one["name"],
            "pointer": records.pointer_name(model["parameter_root"], one["name"]),
            "instances": {"": one["name"], **{colour: row["instance"] for colour, row in (one.get("colours") or {}).items()}},
            "probe": records.probe_of(one),
            "path": (one.get("health") or {}).get("path"),
        }
        for one in model["services"]
        if one["fleet"] == fleet
    ]


def packed(collected: Document, fleet: str, of_services: list[Document]) -> bytes:
    """The bundle: boot.json, and the files below root/."""
    files = {row["path"]: base64.b64decode(row["content"]) for row in collected["files"]}
    rows = [{**{k: v for k, v in row.items() if k != "content"}, "sha256": hashlib.sha256(files[row["path"]]).hexdigest()} for row in collected["files"]]
    index = {**collected, "files": rows, "format": FORMAT, "fleet": fleet, "services": of_services}
    entries = {INDEX: json.dumps(index, indent=1, sort_keys=True).encode(), **{f"root/{path.lstrip('/')}": data for path, data in sorted(files.items())}}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), 0o600, 0
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), mtime=0)


def richest(candidates: dict[str, Document]) -> Document | None:
    """Of what several hosts have, that of the one with the most releases: a host that was never released to is no pattern for others."""
    with_files = {host: one for host, one in candidates.items() if one.get("files")}
    if not with_files:
        return None
    return max(sorted(with_files.items()), key=lambda pair: sum(row["path"].endswith("/release.json") for row in pair[1]["files"]))[1]


def is_published(ssm: Any, s3: Any, name: str, digest: str) -> bool:
    """Whether the pointer names a bundle with this sum and the bundle has it."""
    try:
        read = api.read_parameter(ssm, name)
    except api.ReleaseError:
        return False
    if read is None or read[0].get("sha256") != digest:
        return False
    try:
        data = s3.get_object(Bucket=read[0]["bucket"], Key=read[0]["key"])["Body"].read()
    except api.botocore.exceptions.ClientError as error:
        if api.code_of(error) in ("NoSuchKey", "404"):
            return False
        raise
    return hashlib.sha256(data).hexdigest() == digest


def publish(ssm: Any, s3: Any, bucket: str, name: str, fleet: str, data: bytes, at: datetime) -> Document:
    """Write the bundle, then the pointer to it, then remove the oldest ones; the pointer."""
    digest = hashlib.sha256(data).hexdigest()
    key = f"{prefix(fleet)}{at:%Y%m%dT%H%M%SZ}-{digest[:12]}.tar.gz"
    s3.put_object(Bucket=bucket, Key=key, Body=data, ContentType="application/gzip")
    pointer = {"format": FORMAT, "bucket": bucket, "key": key, "sha256": digest, "when": at.isoformat()}
    ssm.put_parameter(Name=name, Value=json.dumps(pointer), Type="String", Overwrite=True)
    api.delete_objects(s3, bucket, [one for one in api.list_keys(s3, bucket, prefix(fleet)) if one != key][: -(KEPT - 1)])
    return pointer
