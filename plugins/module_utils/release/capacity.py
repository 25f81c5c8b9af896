# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A change of a fleet's size by hand: what is refused, and what is told."""

from __future__ import annotations

import difflib
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError

Document = dict[str, Any]


def fleet_of(model: Document, name: str) -> Document:
    """The fleet of this name, or the only one when none is named. ReleaseError with all there are."""
    fleets = {one["name"]: one for one in model["fleets"]}
    if not name and len(fleets) == 1:
        return dict(next(iter(fleets.values())))
    if name in fleets:
        return dict(fleets[name])
    near = difflib.get_close_matches(name, list(fleets), n=1)
    seen = f"{name!r} is no fleet of {model['stack']['name']}" if name else f"{model['stack']['name']} has several fleets, say which one"
    hint = f"did you mean {near[0]!r}?" if near else f"give -e fleet={' or '.join(sorted(fleets))}."
    raise ReleaseError(f"fleet: {seen}; {hint} Nothing was changed.")


def number(given: str) -> int:
    """The number of hosts that was asked for."""
    if not given.isdigit():
        seen = f"{given!r} is not a number of hosts" if given else "missing"
        raise ReleaseError(f"count: {seen}; give it with -e count=3. Nothing was changed.")
    return int(given)


def refusal(fleet: Document, group: Document, count: int) -> str:
    """Why the fleet cannot have so many hosts, with the way out; empty when it can.

    fleet: the model's; group: {min, max, desired} as they are in AWS.
    """
    name, end = fleet["name"], "Nothing was changed. Fix:"
    again = "run provision.yml, then this again"
    if count > fleet["max"]:
        return (
            f"count: {count} is more than the fleet's max ({fleet['max']}). {end} raise fleets.{name}.max in the stack file or the environment (what the "
            f"database's connections allow is checked then), {again}."
        )
    if count > group["max"]:
        return f"count: {count} is more than the group {fleet['group']} may have in AWS ({group['max']}; the stack says {fleet['max']}). {end} {again}."
    if count < fleet["min"]:
        return f"count: {count} is less than the fleet's min ({fleet['min']}). {end} lower fleets.{name}.min in the stack file or the environment, {again}."
    if count < group["min"]:
        scheduled = [one["name"] for one in (fleet.get("scaling") or {}).get("schedule") or [] if one["min"] == group["min"]]
        why = f"since {' or '.join(scheduled)} of its schedule" if scheduled else f"in AWS; the stack says {fleet['min']}"
        way = "wait for the schedule's next time, or change it" if scheduled else again
        return f"count: {count} is less than the group {fleet['group']} must have ({group['min']} {why}). {end} {way}."
    return ""


def policies(fleet: Document) -> list[str]:
    """What may change the number again, in words."""
    scaling = fleet.get("scaling") or {}
    found = []
    if scaling.get("cpu_percent") is not None:
        found.append(f"CPU at {scaling['cpu_percent']} %")
    if scaling.get("requests"):
        found.append(f"{scaling['requests']['per_minute']} requests a minute and host of {scaling['requests']['service']}")
    return found + [f"{one['name']} ({one['cron']} {one['time_zone']}: {one['min']} at least)" for one in scaling.get("schedule") or []]


def shown(model: Document, fleet: Document, group: Document, count: int, check: bool) -> list[str]:
    """The change as lines for people."""
    before = group["desired"]
    rows = [
        ("hosts", f"{before} → {count}" if count != before else f"{count}, as before"),
        ("between", f"min {group['min']} and max {group['max']}"),
        ("in service", f"{group['in_service']} now"),
    ]
    if policies(fleet):
        rows.append(("scaled by", f"{'; '.join(policies(fleet))}: this number is where they go on from"))
    if count > before:
        rows.append(("then", "the new hosts make themselves and take up the release that runs; status.yml shows them"))
    if count < before:
        rows.append(("leaving", "hosts that Auto Scaling chooses; each is out of the load balancer, and its requests have ended, before it goes"))
    title = f"Fleet {fleet['name']} of {model['stack']['name']} in {model['environment']['name']}{' (check mode: nothing is changed)' if check else ''}"
    return [title, "", *(f"  {name:<12}{text}" for name, text in rows)]
