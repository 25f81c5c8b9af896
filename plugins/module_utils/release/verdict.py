# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What became of a release: the hosts' ends put together into an outcome, a record and a message. No input or output here.

A host's end is C({outcome, failure, logs, stranded, gone, seconds, running}) with outcome C(released), C(back) (on the older release again), C(stopped),
C(left) (registered, not healthy), C(kept) (never left service), C(out) (could not be put back) or None (not touched).
"""

from __future__ import annotations

from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document

# What a run of a release ends with for those who call it (docs/cd-contract.md). A run that never wrote its end was cut off: C(started).
EXIT_CODES = {"succeeded": 0, "unchanged": 0, "planned": 0, "refused": 10, "failed": 20, "started": 30}
NEEDS_A_HAND = 30
# Host outcomes after a failure that leave the system as it was before.
AS_BEFORE = ("back", "kept", "untouched", "departed")

STANDS = {
    "back": "is back in service on release {number}",
    "stopped": "had no older release: its service is stopped and it is out of service",
    "left": "stays on release {number}, which the load balancer does not find healthy",
    "released": "serves release {number}",
    "kept": "serves as before",
    "departed": "is being ended by its Auto Scaling group and was left out",
    None: "was not touched",
}


def unprepared(ends: dict[str, Document], allowed: int = 0) -> str:
    """Why the release may not begin, or an empty text. ends: host → {prepared, message}; so many as allowed may be missing, but not all."""
    rows = [f"{host}: {end.get('message') or 'the host did not answer'}" for host, end in sorted(ends.items()) if not end.get("prepared")]
    if len(rows) <= allowed and len(rows) < max(len(ends), 1):
        return ""
    return "the release could not be made ready, no host has left service:\n" + "\n".join(rows) + "\nFix: mend what is named, then run the same command again."


def tolerated(plan: Document, ends: dict[str, Document]) -> bool:
    """Whether the release goes through in spite of its failures: no more than max_failures, not on every host, and with the lock in hand."""
    if any(end.get("lock_lost") for end in ends.values()):
        return False
    failed = [host for host in plan["rolling"] if (ends.get(host) or {}).get("failure")]
    return len(failed) <= int(plan.get("max_failures") or 0) and len(failed) < len(plan["rolling"])


def reverting(plan: Document, ends: dict[str, Document]) -> list[str]:
    """After a failure: the hosts that go back to an older release, last one first. Those that have the new one, unless auto_revert is off, and those
    that were taken out of service as long as max_failures let the release go on. None when the lock was lost: the release that has it now decides."""
    lost = any(end.get("lock_lost") for end in ends.values())
    if not any(end.get("failure") for end in ends.values()) or tolerated(plan, ends) or lost:
        return []

    def goes(host: str) -> bool:
        end = ends.get(host) or {}
        wanted = end.get("outcome") == "released" and plan.get("auto_revert", True)
        return (wanted or (end.get("outcome") == "out" and not end.get("gone"))) and plan["ways_back"][host]["action"] == "activate"

    return [host for host in reversed(plan["rolling"]) if goes(host)]


def judge(plan: Document, ends: dict[str, Document], phases: dict[str, float]) -> Document:
    """C({outcome, reason, hosts, phases, revert, result}) of a release whose hosts have ended so."""
    result, number = plan["result"], plan["number"]
    name = result["service"]
    hosts: dict[str, Any] = {}
    for host in plan["rolling"]:
        end = ends.get(host) or {}
        hosts[host] = {"outcome": end.get("outcome") or "untouched", "seconds": end.get("seconds")}
        hosts[host] |= {"steps": end["steps"]} if end.get("steps") else {}
    failed = [host for host in plan["rolling"] if (ends.get(host) or {}).get("failure")]
    passed = tolerated(plan, ends)
    departed = [host for host in plan["rolling"] if (ends.get(host) or {}).get("outcome") == "departed"]
    strangers = [host for host in plan["rolling"] if passed and host not in [*failed, *departed] and not _runs(ends.get(host) or {}, number)]
    seconds = round(sum(phases.values()), 1)
    verdict: Document = {"hosts": hosts, "phases": phases, "revert": reverting(plan, ends), "reason": ""}
    if passed and not strangers:
        done = len(plan["rolling"]) - len(failed) - len(departed)
        count = f"{done} host{'s' if done > 1 else ''} in {seconds:.0f} s, all healthy" if done else "none of its hosts stayed; those that are launched get it"
        lines = [f"{name} is on release {number} ({result['tag']}): {count}."]
        lines += [f"{host} {STANDS['departed']}." for host in departed]
        ended: Document = {"outcome": "succeeded", "hosts": hosts, "seconds": seconds}
        if failed:
            lines += [
                f"It failed on {len(failed)}, which max_failures = {plan['max_failures']} allows:",
                *[_failure(name, number, host, ends[host]) for host in failed],
            ]
            lines += _stands({**plan, "rolling": failed, "result": {**result, "from": number}}, ends)
            ended["needs_hand"] = sorted(failed)
            verdict["reason"] = "; ".join(ends[host]["failure"] for host in failed)
        return verdict | {"outcome": "succeeded", "result": ended | {"message": "\n".join(lines)}}
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


def accompanied(ended: Document, joined: dict[str, str | None]) -> Document:
    """The verdict with the hosts that were born during the release; joined is host → why it could not be brought along, or None."""
    if not joined:
        return ended
    hosts = ended["hosts"] | {host: {"outcome": "unjoined" if why else "joined", "seconds": None} for host, why in joined.items()}
    mend = "Fix: configure.yml, then deploy.yml with this tag."
    lines = [
        f"{host} was born during the release and could not be brought along: {why}. {mend}" if why else f"{host} was born during the release and has it too."
        for host, why in sorted(joined.items())
    ]
    result = ended["result"] | {"hosts": hosts, "message": "\n".join([ended["result"]["message"], *lines])}
    behind = sorted([*ended["result"].get("needs_hand", []), *[host for host, why in joined.items() if why]])
    return ended | {"hosts": hosts, "result": result | ({"needs_hand": behind} if behind else {})}


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
    # What did not even start has told them already; what was left in service has nothing to tell.
    if "Last lines" in end["failure"] or end.get("gone") or end.get("outcome") == "kept":
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
            mend = f"deploy.yml with the tag of release {older}" if older else "deploy.yml with a tag that works"
            if plan.get("irreversible") or plan["ways_back"][host]["action"] == "barred":
                mend = "deploy.yml with a release that works with the database as it is now"
            gone = "If the host is gone: end the instance, the Auto Scaling group replaces it."
            lines.append(f"{host} is OUT OF SERVICE: {end.get('stranded')}. To mend it: {mend}. {gone}")
        elif end.get("stranded"):
            lines.append(f"{host} {STANDS[outcome].format(number=number)}: {end['stranded']}.")
        else:
            lines.append(f"{host} {STANDS[outcome].format(number=number)}.")
    return lines
