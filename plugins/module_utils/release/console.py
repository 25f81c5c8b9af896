# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command that opens a console on a host. No input or output here; what is allowed is decided by the host once more."""

from __future__ import annotations

import shlex

from ansible_collections.flotilla.ec2.plugins.module_utils.release import plan
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document, ReleaseError

SCRIPT = "/usr/local/bin/flotilla-console"


def allowed_program(service: Document, program: str) -> str:
    """The program, if the service allows it; ReleaseError that lists those it allows."""
    known = sorted(service.get("console") or {})
    if program in known:
        return program
    asked = f"{service['name']} has no console program {program!r}." if program else "console_program is missing: which program shall be opened?"
    raise ReleaseError(
        f"{asked} {service['name']} allows: {', '.join(known) or 'none'}. Fix: name one of these, or add it to the service's `console` and deploy."
    )


def chosen_host(hosts: list[str], wanted: str, service: Document) -> str:
    """The host named, or the first."""
    if wanted and wanted not in hosts:
        raise ReleaseError(f"console_host: {wanted} is no host of {service['name']}; its hosts are: {', '.join(hosts) or 'none'}.")
    if not hosts:
        raise ReleaseError(f"fleet {service['fleet']} has no running host in this inventory. Fix: see status.yml, region and credentials.")
    return wanted or hosts[0]


def command(model: Document, groups: dict[str, list[str]], program: str, *, service: str = "", host: str = "") -> tuple[str, list[str]]:
    """(host, remote command without its last word) of a console."""
    chosen = plan.choose_service(model["services"], service or None)
    name = allowed_program(chosen, program)
    where = chosen_host(plan.hosts_of(groups, model["stack"]["name"], chosen["fleet"]), host, chosen)
    return where, ["sudo", SCRIPT, chosen["name"], name]


def ssh(address: str, user: str, key: str, options: str, remote: list[str]) -> list[str]:
    """The ssh command, with the inventory's options and the developer's own identity."""
    identity = ["-i", key] if key else []
    return ["ssh", *shlex.split(options), *identity, "-o", "LogLevel=ERROR", f"{user}@{address}", *remote]
