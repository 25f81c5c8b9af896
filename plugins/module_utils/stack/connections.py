# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How many connections a database's instance class allows, and whether a stack could open more: a fleet that grows must not shut its database."""

from __future__ import annotations

import re
from typing import Any

from . import references
from .validate import Problems

# Memory of the size `large` by family, and what other sizes are of it, in GiB (T classes have the sizes below `large` too): "Hardware specifications
# for DB instance classes", Amazon RDS User Guide, as of November 2026. Families that are not here are not checked.
LARGE_GIB = {"t2": 8, "t3": 8, "t4g": 8, **{f"m{one}": 8 for one in ("4", "5", "5d", "6g", "6gd", "6i", "6id", "7g", "7i", "8g")}} | {
    **{f"r{one}": 16 for one in ("5", "5b", "5d", "6g", "6gd", "6i", "6id", "7g", "7i", "8g")},
    "r4": 15.25,
    "x2g": 32,
}
OF_LARGE = {"micro": 0.125, "small": 0.25, "medium": 0.5, "large": 1.0, "xlarge": 2.0}
# "max_connections: {DBInstanceClassMemory/12582880}" (Amazon RDS User Guide, "Maximum number of database connections"), MySQL.
BYTES_EACH = 12582880
MOST = 16000  # beyond it a connection's own memory is the limit, whatever the formula says
# DBInstanceClassMemory is the memory "minus the memory reserved for the operating system and the RDS processes"; AWS does not say how much that is. With
# this much taken off the formula stays at or below what MySQL shows on the small classes, where it matters.
RESERVED_SHARE, RESERVED_GIB = 0.04, 0.2
KEPT = 10  # for people, monitoring, RDS itself and a migration


def memory_gib(instance_class: str) -> float | None:
    """The memory of an instance class in GiB, or None when the table does not have it."""
    match = re.fullmatch(r"db\.([a-z0-9]+)\.(?:(\d+)?(xlarge)|([a-z]+))", instance_class)
    if not match or match[1] not in LARGE_GIB:
        return None
    family, count, size = match[1], int(match[2] or 1), match[3] or match[4]
    if size not in OF_LARGE or (size in ("micro", "small", "medium") and not family.startswith("t")):
        return None
    return LARGE_GIB[family] * OF_LARGE[size] * count


def allowed(instance_class: str) -> int | None:
    """Connections that all services of a stack may open together, or None when the class is not known."""
    gib = memory_gib(instance_class)
    if gib is None:
        return None
    usable = gib * (1 - RESERVED_SHARE) - RESERVED_GIB
    return min(MOST, int(usable * 2**30 / BYTES_EACH)) - KEPT


def larger(instance_class: str, needed: int) -> str | None:
    """The next class of the same family that allows so many."""
    family = instance_class.split(".")[1]
    sizes = [*(("micro", "small", "medium") if family.startswith("t") else ()), "large", "xlarge"]
    sizes += ["2xlarge"] if family.startswith("t") else [f"{count}xlarge" for count in (2, 4, 8, 12, 16, 24)]
    return next((f"db.{family}.{one}" for one in sizes if (allowed(f"db.{family}.{one}") or 0) >= needed), None)


def check(given: dict[str, Any], around: dict[str, Any], problems: Problems) -> None:
    """Hold max hosts x pool against the database's class; only services that state database_connections are counted."""
    instance_class = (around.get("database") or {}).get("instance_class")
    limit = allowed(instance_class) if instance_class else None
    if instance_class is None or limit is None or not given.get("database"):
        return
    counted: list[tuple[str, int, str]] = []
    for name, service in (given.get("services") or {}).items():
        pool, fleet = (service or {}).get("database_connections"), (given.get("fleets") or {}).get((service or {}).get("fleet")) or {}
        hosts = fleet.get("max") or fleet.get("min")
        if not pool or not hosts or not references.uses(service, "database"):
            continue
        colours = 2 if service.get("strategy") == "blue_green" else 1
        text = f"{name}: {hosts} hosts x {pool}{' x 2 colours during a release' if colours == 2 else ''}"
        counted.append((name, hosts * pool * colours, text))
    total = sum(one[1] for one in counted)
    if total <= limit:
        return
    name, own, _text = max(counted, key=lambda one: one[1])
    service = given["services"][name]
    fleet = given["fleets"][service["fleet"]]
    each = own // (fleet.get("max") or fleet["min"])
    fits = max(0, (limit - (total - own)) // each)
    ways = [f"lower fleets.{service['fleet']}.max to {fits}"] if fits >= fleet["min"] else []
    ways.append(f"lower services.{name}.database_connections")
    better = larger(instance_class, total)
    ways.append(f"take {better} or larger in the environment's database.instance_class" if better else "take a class with more memory")
    problems.add(
        f"services.{name}.database_connections",
        f"{total} connections at the fleets' max ({'; '.join(one[2] for one in counted)}), and {instance_class} allows about {limit} to services; "
        f"{', or '.join(ways)}",
    )
