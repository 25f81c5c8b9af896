# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decisions of a release with two colours on the same hosts. No input or output here.

One colour is *live*: the pointer names it. A release takes the other one, and becomes the pointer's when all weight is with it. Blue is what a
service has without colours (unit, port, target group), so that the strategy of a running service can be changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import verdict
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document

COLOURS = ("blue", "green")
LIMITS = ("max_5xx_percent", "max_latency_percent", "alarms")
# Watched figures were beyond their limits and the traffic went back; what the code tells a pipeline beside 20.
BREACHED = 21


def other(colour: str) -> str:
    """The other colour."""
    return COLOURS[1 - COLOURS.index(colour)]


def live(pointer: Mapping[str, Any] | None) -> str:
    """The colour of the release that the pointer names; what was released without colours is blue."""
    return str((pointer or {}).get("colour") or COLOURS[0])


def stranded(service: Mapping[str, Any], colour: str | None) -> str:
    """Why a service must keep its colours, or an empty text; colour is that on which it serves."""
    if service.get("colours") or colour in (None, COLOURS[0]):
        return ""
    return (
        f"{service['name']} serves on its {colour} colour, and its strategy is {service.get('strategy')} now, which has none. "
        "Fix: release once more with strategy: blue_green, so that blue serves; then change the strategy and run provision.yml."
    )


def target(verb: str, number: int, pointer: Mapping[str, Any] | None) -> str:
    """The colour that a release gets: the idle one. The current release stays where it is, unless it is to be started anew."""
    if pointer is None or (int(pointer["number"]) == number and verb != "restart"):
        return live(pointer)
    return other(live(pointer))


def shares(verb: str, wanted: list[int], now: int, colour: str, pointer: Mapping[str, Any] | None) -> list[int]:
    """The shares of the traffic, in percent, that the colour is still to get. A release that was cut off goes on with the share that it had.

    What goes back to a release that has served already goes in one step.
    """
    if pointer is None or colour == live(pointer) or verb == "rollback":
        return [] if now == 100 and (pointer is None or colour == live(pointer)) else [100]
    return [one for one in wanted if one >= now] or [100]


def percent(weights: Mapping[str, int], group: str) -> int:
    """A target group's share of all requests, in percent."""
    whole = sum(weights.values())
    return round(100 * weights.get(group, 0) / whole) if whole else 0


def traffic(request: Document, number: int, weights: Mapping[str, int], steps: Mapping[str, str]) -> Document:
    """What is to be done with a service's traffic; weights are those of its rule now, by target group, steps what each host needs."""
    service, pointer, verb = request["service"], request["from"], request["verb"]
    release = service["release"]
    colour = target(verb, number, pointer)
    groups = {one: request["outputs"]["target_groups"][service["colours"][one]["instance"]] for one in COLOURS}
    now = percent(weights, groups[colour])
    free = sorted(host for host, step in steps.items() if step == "release")
    # A release that was given up may have left traffic with the colour that is now started anew.
    occupied = bool(free) and colour != live(pointer) and now > 0
    watched = verb != "rollback" and pointer is not None and colour != live(pointer)
    return {
        "colour": colour,
        "live": live(pointer),
        "first": pointer is None,
        "rule": request["outputs"]["rules"][service["name"]],
        "groups": groups,
        "instances": {one: service["colours"][one]["instance"] for one in COLOURS},
        "ports": {one: service["colours"][one]["port"] for one in COLOURS},
        "now": now,
        "free": free,
        "occupied": occupied,
        "shares": shares(verb, list(release["weights"]), 0 if occupied else now, colour, pointer),
        "watched": watched,
        "bake_seconds": int(release["bake_seconds"]) if watched else 0,
        "limits": {name: release.get(name) for name in LIMITS},
        # After a restart there is nothing to go back to in the old colour: it is the same release with older secrets.
        "retire_after_seconds": 0 if verb == "restart" else release.get("retire_after_seconds"),
    }


def rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A plan's lines about the traffic: (title, text)."""
    colour = found["colour"]
    if found["first"] or not found["shares"]:
        return [("traffic", f"{colour}, when all hosts are healthy" if found["first"] else f"stays with {colour}")]
    lines = []
    if found["occupied"]:
        lines.append(("traffic", f"{found['now']} % of {colour}, left by a release that was given up, goes back to {found['live']} first"))
    way = " → ".join(f"{share} %" for share in found["shares"])
    bake = f", each watched for {found['bake_seconds']} s" if found["watched"] and found["bake_seconds"] else ", at once"
    lines.append(("traffic", f"{other(colour)} → {colour}, when all hosts are healthy: {way}{bake}"))
    if found["watched"]:
        alarms = ", ".join(found["limits"]["alarms"] or [])
        limits = f"5xx at most {found['limits']['max_5xx_percent']} % more, latency at most {found['limits']['max_latency_percent']} % of {other(colour)}'s"
        lines.append(("back if", f"{limits}, targets unhealthy" + (f", alarm {alarms}" if alarms else "")))
    after = found["retire_after_seconds"]
    lines.append((other(colour), "stays warm until the next release" if after is None else f"is stopped after {after} s"))
    return lines


# ---- what became of it


def doomed(found: Mapping[str, Any], shifted: Mapping[str, Any], drain_seconds: int) -> Document:
    """The colour that is to be stopped after a shift, C({instance, after_seconds}), or nothing. Never before its requests have ended."""
    outcome, colour = shifted.get("outcome"), found["colour"]
    after = found["retire_after_seconds"]
    if outcome == "shifted":
        stopped = found["instances"][other(colour)]
        return {"instance": stopped, "after_seconds": max(int(after), drain_seconds)} if found["shares"] and after is not None else {}
    # What serves is never stopped: then the release is one that some hosts were to be brought along with.
    if outcome in ("breached", "failed") and (colour != found["live"] or found["first"]):
        return {"instance": found["instances"][colour], "after_seconds": drain_seconds if outcome == "breached" else 0}
    return {}


def end(found: Mapping[str, Any], shifted: Mapping[str, Any], failure: str) -> str:
    """Where a host stands after a shift; failure says why the colour did not start on it, if so."""
    if shifted.get("outcome") == "shifted":
        return "released"
    if found["first"]:
        return "stopped"
    return "left" if failure and found["colour"] == found["live"] else "kept"


STANDS = {
    "kept": "serves as before, on {live}",
    "stopped": "had no older release: its service is stopped",
    "left": "does not serve release {number} yet; the others do",
    "released": "serves release {number} on {colour}",
    "departed": verdict.STANDS["departed"],
    None: "was not touched",
}


def judge(plan: Document, ends: dict[str, Document], shifted: Document, phases: dict[str, float]) -> Document:
    """C({outcome, reason, hosts, phases, revert, result}) of a release whose hosts have ended so and whose traffic was shifted so."""
    result, number, found = plan["result"], plan["number"], plan["traffic"]
    name, colour = result["service"], found["colour"]
    phases = phases | {f"{one['share']} %": one["seconds"] for one in shifted.get("steps") or []}
    seconds = round(sum(value for phase, value in phases.items() if not phase.endswith("%")), 1)
    ends = {host: {**one, "outcome": end(found, shifted, one.get("failure") or "")} for host, one in ends.items()} if shifted else ends
    departed = sorted(shifted.get("departed") or [])
    ends |= {host: {**(ends.get(host) or {}), "outcome": "departed", "failure": "", "stranded": "", "running": None} for host in departed}
    rows = {host: ends.get(host) or {} for host in plan["rolling"]}
    hosts = {host: {"outcome": row.get("outcome") or "untouched", "seconds": row.get("seconds")} for host, row in rows.items()}
    hosts = {host: row | ({"steps": rows[host]["steps"]} if rows[host].get("steps") else {}) for host, row in hosts.items()}
    verdict_of: Document = {"hosts": hosts, "phases": phases, "revert": []}
    strangers = [host for host in plan["rolling"] if (ends.get(host) or {}).get("running") not in (None, number)]
    outcome = shifted.get("outcome") or "stuck"
    if outcome == "shifted" and not strangers:
        done = len(plan["rolling"]) - len(departed)
        count = f"{done} host" + ("s" if done > 1 else "")
        warm = "" if found["first"] or not found["shares"] else f" {_warmth(found)}"
        message = f"{name} is on release {number} ({result['tag']}), {colour}: {count} in {seconds:.0f} s, all healthy.{warm}"
        unsettled = {host: ends[host]["stranded"] for host in plan["rolling"] if (ends.get(host) or {}).get("stranded")}
        message = "\n".join(
            [message, *(f"{host} {STANDS['departed']}." for host in departed), *(f"{host} needs a hand: {reason}" for host, reason in unsettled.items())]
        )
        ended = {"outcome": "succeeded", "colour": colour, "hosts": hosts, "seconds": seconds, "message": message}
        ended |= {"needs_hand": sorted(unsettled)} if unsettled else {}
        return verdict_of | {"outcome": "succeeded", "reason": "", "result": ended}
    lines = [f"Release {number} of {name} failed on {host}: {ends[host]['failure']}" for host in plan["rolling"] if (ends.get(host) or {}).get("failure")]
    reason = str(shifted.get("reason") or "")
    if not lines and reason:
        lines = [f"Release {number} of {name} failed: {reason}"]
    lines += [f"{host} does not run release {number} although it was told to. Fix: run the same command again." for host in strangers if outcome == "shifted"]
    lines += [f"  {line}" for line in shifted.get("evidence") or []]
    lines += _logs(plan, ends)
    if outcome == "breached":
        lines.append(f"All traffic went back to {found['live']} {shifted.get('back_seconds', 0):.2f} s after that was seen; {found['live']} never stopped.")
    astray = sorted(host for host, row in hosts.items() if row["outcome"] not in verdict.AS_BEFORE)
    if outcome == "stuck":
        astray = sorted(hosts)
        lines.append("The weights of the load balancer are not known to be as they were. To mend it: rollback.yml, or the same command again.")
    lines += _stands(plan, ends)
    code = verdict.NEEDS_A_HAND if astray else BREACHED if outcome == "breached" else verdict.EXIT_CODES["failed"]
    reason = reason or "; ".join(end["failure"] for end in ends.values() if end.get("failure")) or lines[0]
    ended = {"outcome": "failed", "exit_code": code, "needs_hand": astray, "hosts": hosts, "seconds": seconds, "message": "\n".join(lines)}
    return verdict_of | {"outcome": "failed", "reason": reason, "result": ended}


def _warmth(found: Mapping[str, Any]) -> str:
    after = found["retire_after_seconds"]
    old = other(found["colour"])
    return f"{old} stays warm: rollback is one change of weights." if after is None else f"{old} is stopped after {after} s."


def _logs(plan: Document, ends: dict[str, Document]) -> list[str]:
    """The last lines of one container of the new colour, of a host that failed before others."""
    for host in sorted(plan["rolling"], key=lambda one: not (ends.get(one) or {}).get("failure")):
        end = ends.get(host) or {}
        if end.get("logs") and "Last lines" not in (end.get("failure") or ""):
            return [f"Last lines of its container on {host}:", *[f"  | {line}" for line in end["logs"]]]
    return []


def _stands(plan: Document, ends: dict[str, Document]) -> list[str]:
    found, number = plan["traffic"], plan["number"]
    lines = []
    for host in plan["rolling"]:
        end = ends.get(host) or {}
        stands = STANDS[end.get("outcome")].format(number=number, colour=found["colour"], live=found["live"])
        lines.append(f"{host} {stands}." + (f" {end['stranded']}" if end.get("stranded") else ""))
    return lines
