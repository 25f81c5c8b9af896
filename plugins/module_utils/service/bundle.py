# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host has that a new instance of its fleet needs, read from the host itself: the very files, so that roles stay the only place that renders them.

Module host_files writes down what a role lays in /etc/flotilla/manifest.d/<role>.json: directories, files, and below `boot` what else a host needs:
packages, programs (program → the package that brings it where none of the others does), groups, users, commands that make the files hold, and `own`:
which NAME= lines of which file hold something that is the host's own (an item of the metadata service). Releases lie where layout.py says.
"""

from __future__ import annotations

import base64
import grp
import json
import pwd
import re
from pathlib import Path
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.service.layout import RELEASE_FILE

MANIFESTS = "etc/flotilla/manifest.d"
LISTS = ("packages", "groups", "users", "directories", "files", "commands")
TABLES = ("programs", "own")


class Incomplete(Exception):
    """The host is not what its manifests say; the text is for people."""


def manifest(root: Path) -> dict[str, Any]:
    """The manifests of all roles as one, each list without what it says twice."""
    together: dict[str, Any] = {**{name: [] for name in LISTS}, **{name: {} for name in TABLES}}
    for path in sorted((root / MANIFESTS).glob("*.json")):
        known = json.loads(path.read_text(encoding="utf-8"))
        boot = known.get("boot") or {}
        said = {**boot, **{name: [*known[name], *boot.get(name, [])] for name in ("directories", "files")}}
        for name in LISTS:
            together[name] += [one for one in said.get(name, []) if one not in together[name]]
        for name in TABLES:
            together[name].update(said.get(name, {}))
        together["files"].append(f"/{MANIFESTS}/{path.name}")
    together["directories"].append(f"/{MANIFESTS}")
    return together


def releases(root: Path) -> tuple[list[str], list[str]]:
    """Directories and files of the releases that lie ready."""
    directories: set[str] = set()
    files: list[str] = []
    for path in sorted((root / "etc/flotilla").glob(f"*/releases/[0-9]*/{RELEASE_FILE}")):
        parents = (path.parents[2], path.parents[1], path.parents[0])
        directories.update(f"/{one.relative_to(root)}" for one in parents)
        files += [f"/{one.relative_to(root)}" for one in path.parent.iterdir() if one.is_file()]
    return sorted(directories), sorted(files)


def described(root: Path, path: str) -> dict[str, str]:
    """Path, mode and owner of a file or directory."""
    try:
        facts = (root / path.lstrip("/")).stat()
    except OSError as error:
        raise Incomplete(f"{path} is in a manifest below /{MANIFESTS} and cannot be read: {error}. Fix: run configure.yml") from error
    return {"path": path, "mode": f"{facts.st_mode & 0o7777:04o}", "owner": pwd.getpwuid(facts.st_uid).pw_name, "group": grp.getgrgid(facts.st_gid).gr_name}


def without(data: bytes, names: list[str]) -> bytes:
    """A file of NAME=value lines without the values of these."""
    for name in names:
        data = re.sub(rb"(?m)^" + re.escape(name).encode() + rb"=.*$", name.encode() + b"=", data)
    return data


def unsigned(data: bytes, paths: list[str]) -> bytes:
    """A manifest without the sums of these files, which each host has its own of."""
    known = json.loads(data)
    for path in paths:
        if path in known["files"]:
            known["files"][path]["sha256"] = ""
    return (json.dumps(known, indent=1, sort_keys=True) + "\n").encode()


def collect(root: Path = Path("/")) -> dict[str, Any]:
    """All of it, the files' contents in base64; nothing that is the host's own. Of a host without manifests, nothing."""
    named = manifest(root)
    if not named["files"]:
        return {}
    directories, files = releases(root)
    rows = []
    for path in sorted({*named["files"], *files}):
        row: dict[str, Any] = described(root, path)
        own = named["own"].get(path, {})
        data = without((root / path.lstrip("/")).read_bytes(), sorted(own))
        if path.startswith(f"/{MANIFESTS}/"):
            data = unsigned(data, sorted(named["own"]))
        rows.append({**row, "content": base64.b64encode(data).decode(), **({"own": own} if own else {})})
    return {
        **{name: named[name] for name in ("packages", "programs", "groups", "users", "commands")},
        "directories": [described(root, path) for path in sorted({*named["directories"], *directories})],
        "files": rows,
    }
