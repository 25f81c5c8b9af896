# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The status of a stack as rows, problems and one page of text. No input or output here."""

from __future__ import annotations

from datetime import datetime

from ansible_collections.flotilla.ec2.plugins.module_utils.release import plan, records
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import NOT_REGISTERED, sentence


def rows(services: dict[str, Document], seen: dict[str, Document]) -> dict[str, list[Document]]:
    """Service → one row per host: {host, zone, unit, leaves, release, health, ok}. A host that its group is ending (`leaving`) is not wrong."""
    table: dict[str, list[Document]] = {}
    for name, service in services.items():
        pointer = service["pointer"]
        table[name] = []
        for host in service["hosts"]:
            view = seen[host]
            leaves = host in service.get("leaving", {})
            known = (view.get("services") or {}).get(service.get("instance") or name) or {}
            target = None if service["targets"] is None else service["targets"].get(host, NOT_REGISTERED)
            table[name].append(
                {
                    "host": host,
                    "zone": view.get("zone") or "",
                    "unit": "leaves" if leaves else _unit(known) if view["reachable"] else "unreachable",
                    "leaves": leaves,
                    "release": known.get("release") if known.get("running") else None,
                    "health": sentence(target) if target else "no load balancer",
                    "ok": view["reachable"]
                    and bool(known.get("running"))
                    and bool(pointer)
                    and plan.on_release(known, int(pointer["number"]), pointer["digest"])
                    and (target is None or target["state"] == "healthy"),
                }
            )
    return table


def _unit(known: Document) -> str:
    return str(known.get("unit") or ("active" if known.get("running") else "not running"))


def problems(services: dict[str, Document], table: dict[str, list[Document]], suspended: dict[str, list[str]], holder: str | None) -> list[str]:
    """What is not as the pointer says, each with what mends it."""
    found = []
    for name, service in services.items():
        pointer = service["pointer"]
        which = f" -e release_service={name}" if len(services) > 1 else ""
        if not pointer:
            found.append(f"{name} has never been released. Fix: deploy.yml{which} -e release_tag=<tag>")
            continue
        for colour, one in (service.get("colours") or {}).items():
            if not one["live"] and one["percent"]:
                found.append(
                    f"{name}: {colour} has {one['percent']} % of the traffic, of a release that never ended. Fix: its command again, or rollback.yml{which}"
                )
        silent = [row["host"] for row in table[name] if row["unit"] == "unreachable"]
        wrong = [row["host"] for row in table[name] if not row["ok"] and not row["leaves"] and row["host"] not in silent]
        if silent:
            found.append(f"{name}: {', '.join(silent)} did not answer. Fix: mend the host, or end the instance and let the Auto Scaling group replace it")
        if wrong:
            found.append(f"{name}: {', '.join(wrong)} not in service on release {pointer['number']}. Fix: deploy.yml{which} -e release_tag={pointer['tag']}")
    if suspended and not holder:
        found.append("Auto Scaling processes are suspended and no release runs; whoever suspended them should resume them")
    return found


def shades(service: Document, seen: dict[str, Document]) -> list[str]:
    """A line for each colour of a service: its share of the traffic, and what runs there."""
    lines = []
    for colour, one in (service.get("colours") or {}).items():
        known = [((seen.get(host) or {}).get("services") or {}).get(one["instance"]) or {} for host in service["hosts"]]
        running = sorted({row["release"] for row in known if row.get("running") and row.get("release")})
        does = f"release {', '.join(map(str, running))}" + ("" if one["live"] else ", warm") if running else "stopped"
        lines.append(f"{colour:<6}{one['percent']:>3} % of the traffic  {does}")
    return lines


def page(
    stack: str,
    environment: str,
    services: dict[str, Document],
    table: dict[str, list[Document]],
    suspended: dict[str, list[str]],
    holder: str | None,
    wrong: list[str],
    at: datetime,
    seen: dict[str, Document] | None = None,
) -> str:
    """All of it for a person."""
    lines = [f"{stack} ({environment})"]
    for name, service in services.items():
        pointer = service["pointer"]
        if pointer:
            when = records.age(pointer.get("when"), at)
            lines += ["", f"  {name}: release {pointer['number']}, {pointer['tag']} {plan.short(pointer['digest'])}, {when} ago by {pointer.get('who')}"]
        else:
            lines += ["", f"  {name}: never released"]
        for row in table[name]:
            running = f"release {row['release']}" if row["release"] else "" if row["unit"] in ("unreachable", "leaves") else "no release"
            lines.append(f"    {row['host']:<21}{row['zone']:<17}{row['unit']:<13}{running:<13}{row['health']}")
        if not table[name]:
            lines.append("    no host")
        lines += [f"    {text}" for text in shades(service, seen or {})]
    lines += ["", f"  lock: {holder or 'free'}"]
    lines += [f"  suspended: {group}: {', '.join(names)}" for group, names in suspended.items()]
    lines += ["", *([f"  ! {text}" for text in wrong] or ["  Everything is as it was released."])]
    return "\n".join(lines)
