# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Patching a fleet: what is refused, what is done to which host in place, what is told. No input or output here."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import capacity
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document, ReleaseError
from ansible_collections.flotilla.ec2.plugins.module_utils.service import packages

CHOICES = {"how": ("refresh", "in_place"), "patch_packages": ("security", "all", "none"), "patch_reboot": ("when_required", "always", "never")}
WARMUP_SECONDS = 300  # of a fleet that names none: an instance has installed what its image lacks by then
# For what is told of the minutes that a host takes.
UPGRADE_SECONDS, REBOOT_SECONDS, HEALTHY_SECONDS = 60, 90, 15


def choice(name: str, given: str) -> str:
    """One of the values that an option may have. ReleaseError with all of them."""
    known = CHOICES[name]
    if given in known:
        return given
    near = difflib.get_close_matches(given, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"give -e {name}=" + " or ".join(known)
    raise ReleaseError(f"{name}: {given!r} is not one of {', '.join(known)}; {hint} Nothing was changed.")


def minimum_of(service: Document, given: str) -> int:
    """How many hosts must stay in service, by the service's own min_healthy or what was given for this run."""
    if given == "":
        return 0 if service.get("strategy") == "recreate" else int((service.get("release") or {}).get("min_healthy", 1))
    if not given.isdigit():
        raise ReleaseError(f"patch_min_healthy: {given!r} is not a number of hosts. Nothing was changed.")
    return int(given)


def bound_to_hosts(services: list[Document]) -> list[str]:
    """Why no second host can stand beside these services' own, each reason for itself."""
    found = [f"{one['name']} keeps volumes, which a new host gets when the old one is gone" for one in services if one.get("volumes")]
    return found + [f"{one['name']} has strategy: recreate, and must not run twice" for one in services if one.get("strategy") == "recreate"]


def request(model: Document, given: Mapping[str, Any], live: Mapping[str, str], outputs: Document) -> Document:
    """What is asked for, with the fleet's services as they serve now. ReleaseError for what is wrong with it.

    given: fleet, how, packages, reboot, min_healthy, warmup_seconds, alarms. live: service → its name on the hosts, that of its colour that serves.
    """
    fleet = capacity.fleet_of(model, given["fleet"])
    how = choice("how", given["how"])
    select, reboot = choice("patch_packages", given["packages"]), choice("patch_reboot", given["reboot"])
    members = [one for one in model["services"] if one["fleet"] == fleet["name"]]
    if how == "refresh" and (reasons := bound_to_hosts(members)):
        raise ReleaseError(f"{fleet['name']} cannot be refreshed: {'; '.join(reasons)}. Nothing was changed. Fix: -e how=in_place.")
    rows = []
    for service in members:
        instance = live[service["name"]]
        port = next(port for name, port in zip(service["instances"], service["ports"], strict=False) if name == instance) if service.get("ports") else None
        release = service.get("release") or {}
        rows.append(
            {
                "name": service["name"],
                "instance": instance,
                "instances": list(service["instances"]),
                "port": port,
                "target_group": (outputs.get("target_groups") or {}).get(instance),
                "minimum": minimum_of(service, given["min_healthy"]),
                "drain_seconds": int(service.get("drain_seconds") or 0),
                "deadline_seconds": int(release.get("healthy_deadline_seconds") or 120),
                "healthy_seconds": int(release.get("min_healthy_seconds") or 0),
            }
        )
    named = [alarm for service in members for alarm in (service.get("release") or {}).get("alarms") or []]
    return {
        "stack": model["stack"]["name"],
        "environment": model["environment"]["name"],
        "region": model["environment"]["region"],
        "fleet": fleet["name"],
        "group": fleet["group"],
        "how": how,
        "packages": select,
        "reboot": reboot,
        "services": rows,
        "balanced": [one for one in rows if one["target_group"]],
        "alarms": list(dict.fromkeys([*named, *given["alarms"]])),
        "warmup_seconds": int(given["warmup_seconds"] or (fleet.get("scaling") or {}).get("warmup_seconds") or WARMUP_SECONDS),
        "title": f"Patch of fleet {fleet['name']} of {model['stack']['name']} in {model['environment']['name']}",
    }


def steps_of(asked: Document, seen: Document, states: Mapping[str, str]) -> Document:
    """What is done to one host: {upgrade, reboot, back, acts, why}. states: target group → the host's state in it."""
    found, required = seen.get("packages") or {}, list(seen.get("reboot_required") or [])
    reboot = asked["reboot"] == "always" or (asked["reboot"] == "when_required" and bool(required))
    out = sorted(arn for arn, state in states.items() if state in ("unused", "draining"))
    why = [packages.words(found)] if found else []
    why += [f"reboot for {', '.join(required)}" if required and asked["reboot"] != "always" else "reboot"] if reboot else []
    why += ["back into service"] if out else []
    return {"upgrade": bool(found), "reboot": reboot, "back": bool(out), "acts": bool(found or reboot or out), "why": ", ".join(why) or "nothing to do"}


def make(asked: Document, seen: Mapping[str, Document], healths: Mapping[str, Mapping[str, str]], check: bool) -> Document:
    """The plan in place: {steps, hosts (in order), problems, text}.

    seen: host → {reachable, message, zone, packages, reboot_required}; healths: target group → host → state.
    """
    problems = []
    steps = {host: steps_of(asked, row, {arn: rows.get(host, "unused") for arn, rows in healths.items()}) for host, row in seen.items()}
    if not seen:
        problems.append(f"the fleet {asked['fleet']} has no host in this inventory. Fix: see that its region and credentials are those of the stack")
    for host, row in seen.items():
        if not row["reachable"]:
            problems.append(f"{host} does not answer: {row['message']}. Fix: mend ssh, or end the instance; its group launches another")
    # Those that serve nobody go first: nothing is lost if they fail.
    serves = {host: all(rows.get(host) == "healthy" for rows in healths.values()) for host in seen}
    acting = sorted((host for host in seen if steps[host]["acts"]), key=lambda host: (serves[host], host))
    for service in asked["balanced"]:
        healthy = {host for host, state in healths[service["target_group"]].items() if state == "healthy"}
        returning = {host for host in acting if steps[host]["back"]}
        for host in acting:
            left = (healthy | returning) - {host}
            if host in healthy and len(left) < service["minimum"]:
                problems.append(
                    f"without {host}, {len(left)} healthy hosts of {service['name']} would be left, at least {service['minimum']} must be. "
                    f"Fix: one host more (scale.yml -e fleet={asked['fleet']}), or accept the gap with -e patch_min_healthy=0"
                )
    rows = [("packages", {"security": "security updates", "all": "all updates", "none": "as they are"}[asked["packages"]])]
    rows += [(f"host {number}", f"{host}  {seen[host]['zone']}  {steps[host]['why']}") for number, host in enumerate(acting, 1)]
    untouched = [host for host in seen if host not in acting]
    rows += [("untouched", ", ".join(untouched))] if untouched else []
    if acting:
        rows += [("in service", f"never fewer than {one['minimum']} of {len(seen)} ({one['name']})") for one in asked["balanced"]]
        rows.append(("each", "drained, patched, healthy, back in service, then the next"))
        rows.append(("on failure", "the host goes back into service if it can, and no other is begun"))
        rows.append(("expected", f"about {minutes(asked, [steps[host] for host in acting])} min"))
    title = asked["title"] + ", in place" + (" (check mode: nothing is changed)" if check else "")
    text = "\n".join([title, "", *(f"  {name:<13} {text}" for name, text in rows)])
    return {"steps": steps, "hosts": acting, "problems": problems, "text": text}


def minutes(asked: Document, steps: list[Document]) -> int:
    """About how long it takes, one host after the other."""
    drain = max([one["drain_seconds"] for one in asked["balanced"]], default=0)
    each = [drain + HEALTHY_SECONDS + UPGRADE_SECONDS * one["upgrade"] + REBOOT_SECONDS * one["reboot"] for one in steps]
    return math.ceil(sum(each) / 60)


def ending(asked: Document, hosts: list[str], ends: Mapping[str, Document]) -> tuple[bool, str]:
    """Whether all hosts were patched, and the page about it.

    ends: host → {outcome: patched, back, out or None; failure, stranded, packages (words), rebooted}.
    """
    lines, failed = [], [host for host in hosts if ends[host].get("failure")]
    for host in hosts:
        one = ends[host]
        does = f"{one.get('packages') or 'no package'}{', rebooted' if one.get('rebooted') else ''}"
        if one.get("outcome") == "patched":
            lines.append(f"{host} is patched: {does}; it is in service.")
        elif one.get("outcome") == "back":
            lines.append(f"{host} is back in service ({does}).")
        elif one.get("outcome") == "out":
            why = one.get("stranded") or "no reason known"
            lines.append(f"{host} is out of service: {why}. Fix: status.yml; deploy.yml brings it back, or end the instance.")
        elif failed:
            lines.append(f"{host} was not touched.")
        else:
            failed.append(host)
            lines.append(f"{host} was left half-way. Fix: run the same command again.")
    if not failed:
        return True, "\n".join([f"{asked['title']}: {len(hosts)} of {len(hosts)} hosts.", *lines])
    first = failed[0]
    reason = ends[first].get("failure") or "it was not come to"
    return False, "\n".join([f"Patching {asked['fleet']} failed on {first}: {reason}", *lines])
