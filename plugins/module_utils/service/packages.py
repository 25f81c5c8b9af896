# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which of a Debian host's packages have a newer version, and whether the host must be rebooted for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# "Inst libssl3 [3.0.1-1] (3.0.2-1 Debian-Security:12/stable-security [amd64])": apt-get --simulate; without [ ] for one that is not installed yet.
INSTALL = re.compile(r"^Inst (?P<name>\S+)(?: \[(?P<old>[^\]]+)\])? \((?P<new>\S+) ?(?P<sources>.*?) \[[^\]]+\]\)")
SECURITY = "Debian-Security:"
# What every process or the kernel holds, so that a restart of services is not enough. Debian itself says so (/run/reboot-required) only where
# unattended-upgrades or its kernel hook is installed.
REBOOTING = re.compile(r"^(linux-image-.*|libc6|systemd|dbus|dbus-daemon|intel-microcode|amd64-microcode|libssl3.*)$")


def simulated(output: str) -> dict[str, dict[str, Any]]:
    """Package → {from (None for one that comes along), to, security} of what C(apt-get --simulate upgrade) would do."""
    found = {}
    for line in output.splitlines():
        match = INSTALL.match(line)
        if match:
            sources = [one.strip() for one in match["sources"].split(",")]
            found[match["name"]] = {"from": match["old"], "to": match["new"], "security": any(one.startswith(SECURITY) for one in sources)}
    return found


def chosen(found: dict[str, dict[str, Any]], select: str) -> dict[str, dict[str, Any]]:
    """Those of C(security), C(all) or C(none). What comes along with a security update is named by apt, not here."""
    if select == "all":
        return found
    return {name: one for name, one in found.items() if one["security"] and one["from"]} if select == "security" else {}


def rebooting(names: Iterable[str]) -> list[str]:
    """Those packages whose new version is used by all only after a reboot."""
    return sorted(name for name in names if REBOOTING.match(name.partition(":")[0]))


def reason(output: str, errors: str) -> str:
    """Why apt-get has failed: what it and dpkg call errors, else its last words."""
    lines = [line.strip() for line in f"{output}\n{errors}".splitlines() if line.strip()]
    told = [line for line in lines if re.match(r"(E:|dpkg: error|.*script subprocess|.*returned error)", line)]
    return "; ".join((told or lines)[-3:])


def words(found: dict[str, dict[str, Any]], most: int = 5) -> str:
    """The packages in a few words."""
    if not found:
        return "no package"
    first = ", ".join(f"{name} {one['to']}" for name, one in sorted(found.items())[:most])
    return f"{len(found)} package{'s' if len(found) > 1 else ''} ({first}{', …' if len(found) > most else ''})"
