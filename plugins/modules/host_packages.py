#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: host_packages
short_description: Bring a Debian host's packages to their newest versions
version_added: 0.1.0
description:
  - Reads the sources' lists, and upgrades packages that are installed, all or those with a security update. Nothing is removed, what is held stays, and
    configuration files keep what stands in them. An upgrade that was cut off is finished first.
  - M(ansible.builtin.apt) cannot upgrade security updates alone, and does not say which packages it has upgraded.
  - When one of them is used by all only after a reboot (kernel, libc6, systemd, dbus, OpenSSL), C(/run/reboot-required) says so, which is gone after one.
options:
  select:
    description: Which packages.
    type: str
    choices: [security, all, none]
    default: security
  lock_seconds:
    description: How long to wait for another apt that runs.
    type: int
    default: 120
attributes:
  check_mode:
    description: Says what would be upgraded, by lists that are read into a place of their own.
    support: full
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Bring in the security updates
  flotilla.ec2.host_packages:
  register: upgraded
"""

RETURN = r"""
packages:
  description: By name, C(from) (none for one that came along), C(to) and C(security), of those that were upgraded; in check mode, that would be.
  returned: always
  type: dict
  sample:
    libssl3: {from: 3.0.1-1, to: 3.0.2-1, security: true}
reboot_required:
  description: What a reboot is needed for; in check mode also what it would be needed for.
  returned: always
  type: list
  elements: str
text:
  description: The packages in a few words.
  returned: always
  type: str
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flotilla.ec2.plugins.module_utils.service import packages

REQUIRED = Path("run/reboot-required")
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "APT_LISTCHANGES_FRONTEND": "none", "NEEDRESTART_MODE": "l"}


class Host:
    """The packages of one host, below a root that is another than / in tests."""

    def __init__(self, module: Any, root: str | Path = "/") -> None:
        self.module, self.root = module, Path(root)

    def apt(self, *words: str, fix: str) -> str:
        """The output of apt-get. Fails the module with its last lines."""
        lock = self.module.params["lock_seconds"]
        command = ["apt-get", "-o", f"DPkg::Lock::Timeout={lock}", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", *words]
        code, output, errors = self.module.run_command(command, environ_update=ENVIRONMENT)
        if code:
            last = packages.reason(output, errors)
            self.module.fail_json(msg=f"apt-get {next(one for one in words if one.isalpha())} ended with {code}: {last}. Fix: {fix}", packages={})
        return str(output)

    def newer(self, *options: str) -> dict[str, dict[str, Any]]:
        """What has a newer version, by lists that are read now."""
        # A source that cannot be read is an error, not a warning: an old list says nothing of new updates.
        self.apt(*options, "-o", "APT::Update::Error-Mode=any", "--quiet", "update", fix="see that the host reaches its package sources (/etc/apt)")
        output = self.apt(*options, "--simulate", "--with-new-pkgs", "upgrade", fix="on the host: apt-get check")
        return packages.chosen(packages.simulated(output), self.module.params["select"])

    def looked(self) -> dict[str, dict[str, Any]]:
        """The same without changing the host's own lists."""
        with tempfile.TemporaryDirectory(prefix="flotilla-apt-") as place:
            os.makedirs(f"{place}/lists/partial")
            os.chmod(place, 0o755)  # apt fetches as an account of its own
            return self.newer("-o", f"Dir::State::Lists={place}/lists/", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=")

    def upgrade(self) -> dict[str, dict[str, Any]]:
        """Upgrade; what was."""
        if any((self.root / "var/lib/dpkg/updates").glob("*")):
            self.module.run_command(["dpkg", "--force-confdef", "--force-confold", "--configure", "--pending"], environ_update=ENVIRONMENT)
        found = self.newer()
        names = [f"{name}={one['to']}" for name, one in sorted(found.items())]
        if self.module.params["select"] == "all" and names:
            self.apt("--assume-yes", "--with-new-pkgs", "upgrade", fix="on the host: apt-get upgrade, and see what it says")
        elif names:
            self.apt("--assume-yes", "--only-upgrade", "install", *names, fix="on the host: apt-get upgrade, and see what it says")
        return found

    def required(self) -> list[str]:
        """What the host has been waiting for a reboot for."""
        if not (self.root / REQUIRED).exists():
            return []
        named = self.root / f"{REQUIRED}.pkgs"
        return sorted(set(named.read_text(encoding="utf-8").split())) if named.exists() else ["a package"]

    def note(self, names: list[str]) -> None:
        """Leave word that a reboot is needed, where Debian leaves it: whoever comes after a run that was cut off reads it there."""
        place = self.root / REQUIRED
        place.touch()
        known = self.required() if (self.root / f"{REQUIRED}.pkgs").exists() else []
        (self.root / f"{REQUIRED}.pkgs").write_text("\n".join(sorted({*known, *names})) + "\n", encoding="utf-8")


def main() -> None:
    choices = ["security", "all", "none"]
    spec = {"select": {"type": "str", "choices": choices, "default": "security"}, "lock_seconds": {"type": "int", "default": 120}}
    module = AnsibleModule(spec, supports_check_mode=True)
    host = Host(module)
    if module.params["select"] == "none":
        found: dict[str, dict[str, Any]] = {}
    else:
        found = host.looked() if module.check_mode else host.upgrade()
    names = packages.rebooting(found)
    if names and not module.check_mode:
        host.note(names)
    required = sorted({*host.required(), *names})
    module.exit_json(changed=bool(found), packages=found, reboot_required=required, text=packages.words(found))


if __name__ == "__main__":
    main()
