# Copyright (c) 2026, the flotilla.ec2 authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What became of a release: the hosts' ends put together into an outcome, a record and a message. No input or output here.

A host's end is C({outcome, failure, logs, stranded, seconds, running}) with outcome C(released), C(back) (on the older release again), C(stopped),
C(left) (registered, not healthy), C(kept) (never left service), C(out) (could not be put back) or None (not touched).
"""

from __future__ import annotations

from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document

# What a run of a release ends with for those who call it (docs/cd-contract.md). A run that never wrote its end was cut off: C(started).
EXIT_CODES = {"succeeded": 0, "unchanged": 0, "planned": 0, "refused": 10, "failed": 20, "started": 30}
NEEDS_A_HAND = 30
# Host outcomes after a failure that leave the system as it was before.
AS_BEFORE = ("back", "kept", "untouched")

STANDS = {
    "back": "is back in service on release {number}",
    "stopped": "had no older release: its service is stopped and it is out of service",
    "left": "stays on release {number}, which the load balancer does not find healthy",
    "released": "serves release {number}",
    "kept": "serves as before",
    None: "was not touched",
}


def unprepared(ends: dict[str, Document]) -> str:
    """Why the release may not begin, or an empty text. ends: host → {prepared, message}."""
    rows = [f"{host}: {end.get('message') or 'the host did not answer'}" for host, end in sorted(ends.items()) if not end.get("prepared")]
    if not rows:
        return ""
    return "the release could not be made ready, no host has left service:\n" + "\n".join(rows) + "\nFix: mend what is named, then run the same command again."


def reverting(plan: Document, ends: dict[str, Document]) -> list[str]:
    """After a failure: the hosts that have the release and an older one to go back to, last one first."""
    if not any(end.get("failure") for end in ends.values()):
        return []
    return [
        host for host in reversed(plan["rolling"]) if (ends.get(host) or {}).get("outcome") == "released" and plan["ways_back"][host]["action"] == "activate"
    ]


def judge(plan: Document, ends: dict[str, Document], phases: dict[str, float]) -> Document:
    """C({outcome, reason, hosts, phases, revert, result}) of a release whose hosts have ended so."""
    result, number = plan["result"], plan["number"]
    name = result["service"]
    hosts: dict[str, Any] = {}
    for host in plan["rolling"]:
        end = ends.get(host) or {}
        hosts[host] = {"outcome": end.get("outcome") or "untouched", "seconds": end.get("seconds")}
    failed = [host for host in plan["rolling"] if (ends.get(host) or {}).get("failure")]
    strangers = [host for host in plan["rolling"] if not failed and not _runs(ends.get(host) or {}, number)]
    seconds = round(sum(phases.values()), 1)
    verdict: Document = {"hosts": hosts, "phases": phases, "revert": reverting(plan, ends), "reason": ""}
    if not failed and not strangers:
        count = f"{len(plan['rolling'])} host" + ("s" if len(plan["rolling"]) > 1 else "")
        message = f"{name} is on release {number} ({result['tag']}): {count} in {seconds:.0f} s, all healthy."
        return verdict | {"outcome": "succeeded", "result": {"outcome": "succeeded", "hosts": hosts, "seconds": seconds, "message": message}}
    lines = [_failure(name, number, host, ends[host]) for host in failed]
    lines += [
        f"{host} does not run release {number} although it was told to. Fix: status.yml shows what it runs; run the same command again." for host in strangers
    ]
    verdict["reason"] = "; ".join(ends[host]["failure"] for host in failed) or lines[0]
    message = "\n".join([*lines, *_stands(plan, ends)])
    astray = sorted(host for host, row in hosts.items() if row["outcome"] not in AS_BEFORE)
    code = NEEDS_A_HAND if astray else EXIT_CODES["failed"]
    ended = {"outcome": "failed", "exit_code": code, "needs_hand": astray, "hosts": hosts, "seconds": seconds, "message": message}
    return verdict | {"outcome": "failed", "result": ended}


def unmigrated(plan: Document, reason: str, seconds: float) -> Document:
    """C({reason, hosts, result}) of a release whose migration has failed: no host has left service."""
    name, number = plan["result"]["service"], plan["number"]
    hosts = {host: {"outcome": "untouched", "seconds": None} for host in plan["rolling"]}
    message = f"Release {number} of {name} failed in its migration, before any host left service: {reason}\nEvery host serves as before."
    return {"reason": reason, "hosts": hosts, "result": {"outcome": "failed", "exit_code": 20, "hosts": hosts, "seconds": seconds, "message": message}}


def _runs(end: Document, number: int) -> bool:
    """Whether the host was found on the release after it; a host that has ceased to answer since is given the benefit."""
    return end.get("outcome") == "released" and end.get("running") in (None, number)


def _failure(name: str, number: int, host: str, end: Document) -> str:
    """The evidence of one host: the container's last lines and the load balancer's reason."""
    text = f"Release {number} of {name} failed on {host}: {end['failure']}"
    if "Last lines" in end["failure"]:  # what did not even start has told them already
        return text
    logs = "\n".join(f"  | {line}" for line in end.get("logs") or []) or "  | (none could be read)"
    return f"{text}\nLast lines of its container:\n{logs}"


def _stands(plan: Document, ends: dict[str, Document]) -> list[str]:
    """Where every host stands now, and what mends those that are out."""
    lines = []
    older = (plan.get("result") or {}).get("from")
    for host in plan["rolling"]:
        end = ends.get(host) or {}
        outcome = end.get("outcome")
        number = plan["ways_back"][host]["number"] if outcome == "back" else plan["number"]
        if outcome == "out":
            mend = f"deploy.yml with the tag of release {older}, or rollback.yml" if older else "deploy.yml with a tag that works"
            gone = "If the host is gone: end the instance, the Auto Scaling group replaces it."
            lines.append(f"{host} is OUT OF SERVICE: {end.get('stranded')}. To mend it: {mend}. {gone}")
        elif end.get("stranded"):
            lines.append(f"{host} {STANDS[outcome].format(number=number)}: {end['stranded']}.")
        else:
            lines.append(f"{host} {STANDS[outcome].format(number=number)}.")
    return lines
