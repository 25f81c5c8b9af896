#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: host_files
short_description: Lay all files of a role on a host in one go
version_added: 0.1.0
author:
  - Flotilla maintainers (@flotilla)
description:
  - Writes directories and files, all of root, in one call where a task for each would take half a second.
  - Notes what it has laid in C(/etc/flotilla/manifest.d/<name>.json). What stands there and is not asked for any more is removed.
options:
  name:
    description: Whose files these are, in most cases a role's name.
    type: str
    required: true
  directories:
    description: Directories; those above them are made as well.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where.
        type: str
        required: true
      mode:
        description: Permissions in octal digits.
        type: str
        default: "0755"
  files:
    description: Files. The directories that they lie in must exist, or be asked for.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where.
        type: str
        required: true
      content:
        description: The whole text.
        type: str
        required: true
      mode:
        description: Permissions in octal digits.
        type: str
        default: "0644"
      validate:
        description: A command that must end with 0 before the file is replaced; C(%s) is the new one.
        type: list
        elements: str
  boot:
    description: What a new instance needs besides, to become the same without a control node; kept in the manifest for M(flotilla.ec2.boot_files_info).
    type: dict
    suboptions:
      packages:
        description: Packages.
        type: list
        elements: str
        default: []
      programs:
        description:
          - Program to the package that brings it where none of the other packages does.
          - It is installed where the program is missing then, so that hosts of different releases of the distribution have one manifest.
        type: dict
        default: {}
      groups:
        description: System groups.
        type: list
        elements: str
        default: []
      users:
        description: Users, each with C(name), C(groups) and C(shell).
        type: list
        elements: dict
        default: []
      directories:
        description: Directories that others have made.
        type: list
        elements: str
        default: []
      files:
        description: Files that others have written.
        type: list
        elements: str
        default: []
      own:
        description: Files with NAME=value lines whose value is the host's own, path to NAME to an item of the metadata service.
        type: dict
        default: {}
      commands:
        description: What makes the files hold, each a list of words.
        type: list
        elements: list
        default: []
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
"""

EXAMPLES = r"""
- name: Configure the host
  flotilla.ec2.host_files:
    name: baseline
    directories:
      - path: /etc/shop
    files:
      - path: /etc/shop/settings.env
        content: "{{ lookup('ansible.builtin.template', 'settings.env.j2') }}"
      - path: /etc/sudoers.d/shop
        content: "{{ lookup('ansible.builtin.template', 'sudoers.j2') }}"
        mode: "0440"
        validate: [/usr/sbin/visudo, -cf, "%s"]
  register: laid
"""

RETURN = r"""
changed_paths:
  description: Files and directories that were made, changed or removed.
  returned: always
  type: list
  elements: str
  sample: [/etc/shop/settings.env]
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

MANIFESTS = "etc/flotilla/manifest.d"


class Refused(Exception):
    """A file that its own program does not accept."""


class Tree:
    """The files of one name below a root, which is another than / in tests."""

    def __init__(self, module: Any, root: str | Path = "/") -> None:
        self.module, self.root, self.name = module, Path(root), module.params["name"]
        self.manifest = self.root / MANIFESTS / f"{self.name}.json"
        self.changed: list[str] = []
        self.diff: list[dict[str, str]] = []

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def note(self, path: str, before: str = "", after: str = "") -> None:
        self.changed.append(path)
        self.diff.append({"before_header": path, "after_header": path, "before": before, "after": after})

    def lay(self) -> None:
        """All that is wanted, then nothing that was once."""
        directories, files = self.module.params["directories"], self.module.params["files"]
        known = self.known()
        for one in directories:
            self.directory(one["path"], int(one["mode"], 8))
        for one in files:
            self.file(one["path"], one["content"], int(one["mode"], 8), one["validate"])
        wanted = {one["path"] for one in [*directories, *files]}
        for path in sorted({*known["files"], *known["directories"]} - wanted, reverse=True):
            self.remove(path)
        text = {one["path"]: {"mode": one["mode"], "sha256": hashlib.sha256(one["content"].encode()).hexdigest()} for one in files}
        now = {"directories": {one["path"]: one["mode"] for one in directories}, "files": text}
        if self.module.params.get("boot"):
            now["boot"] = self.module.params["boot"]
        if now != known and not self.module.check_mode:
            self.manifest.parent.mkdir(parents=True, exist_ok=True)
            self.write(self.manifest, json.dumps(now, indent=1, sort_keys=True) + "\n", 0o644)

    def known(self) -> dict[str, Any]:
        """What was laid before."""
        try:
            return dict(json.loads(self.manifest.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {"directories": {}, "files": {}}

    def owned(self, path: Path, mode: int) -> bool:
        """Whether a path has these permissions, and root as owner and group where this is root."""
        seen = path.stat()
        return stat.S_IMODE(seen.st_mode) == mode and (os.geteuid() != 0 or (seen.st_uid, seen.st_gid) == (0, 0))

    def own(self, path: Path, mode: int) -> None:
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, 0, 0)

    def directory(self, path: str, mode: int) -> None:
        place = self.at(path)
        if place.is_dir() and self.owned(place, mode):
            return
        self.note(path)
        if not self.module.check_mode:
            place.mkdir(parents=True, exist_ok=True)
            self.own(place, mode)

    def file(self, path: str, content: str, mode: int, validate: list[str] | None) -> None:
        place = self.at(path)
        before = place.read_text(encoding="utf-8", errors="replace") if place.is_file() else ""
        if place.is_file() and before == content and self.owned(place, mode):
            return
        self.note(path, before, content)
        if not self.module.check_mode:
            self.write(place, content, mode, validate)

    def write(self, place: Path, content: str, mode: int, validate: list[str] | None = None) -> None:
        """Replace a file by a whole one, or leave it."""
        number, name = tempfile.mkstemp(prefix=f".{place.name}-", dir=place.parent)
        scratch = Path(name)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(content)
            self.own(scratch, mode)
            if validate:
                code, output, errors = self.module.run_command([part.replace("%s", name) for part in validate])
                if code != 0:
                    raise Refused(f"{place} was not replaced: {' '.join(validate)} ended with {code}: {(errors or output).strip()}")
            scratch.replace(place)
        finally:
            scratch.unlink(missing_ok=True)

    def remove(self, path: str) -> None:
        """A file, or a directory that is empty."""
        place = self.at(path)
        if place.is_dir() and not place.is_symlink():
            if any(place.iterdir()):
                return
            self.note(path)
            if not self.module.check_mode:
                shutil.rmtree(place)
        elif place.exists():
            self.note(path, place.read_text(encoding="utf-8", errors="replace"))
            if not self.module.check_mode:
                place.unlink()


def main() -> None:
    directory = {"path": {"type": "str", "required": True}, "mode": {"type": "str", "default": "0755"}}
    file = {
        "path": {"type": "str", "required": True},
        "content": {"type": "str", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "validate": {"type": "list", "elements": "str"},
    }
    boot = {
        **{name: {"type": "list", "elements": "str", "default": []} for name in ("packages", "groups", "directories", "files")},
        "users": {"type": "list", "elements": "dict", "default": []},
        **{name: {"type": "dict", "default": {}} for name in ("programs", "own")},
        "commands": {"type": "list", "elements": "list", "default": []},
    }
    module = AnsibleModule(
        {
            "name": {"type": "str", "required": True},
            "directories": {"type": "list", "elements": "dict", "default": [], "options": directory},
            "files": {"type": "list", "elements": "dict", "default": [], "options": file},
            "boot": {"type": "dict", "options": boot},
        },
        supports_check_mode=True,
    )
    tree = Tree(module)
    try:
        tree.lay()
    except (OSError, Refused) as error:
        module.fail_json(msg=str(error), changed_paths=tree.changed, changed=bool(tree.changed))
    module.exit_json(changed=bool(tree.changed), changed_paths=tree.changed, **({"diff": tree.diff} if module._diff else {}))


if __name__ == "__main__":
    main()
