# Copyright: the flotilla.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What no single key can tell: keys that contradict each other, AWS's limits on names that are made of several, blocks that overlap."""

from __future__ import annotations

import ipaddress
from typing import Any

from . import references
from .validate import Problems, nearest, shown

PRIVATE = [ipaddress.IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15")]
NAME_LIMIT = 32  # target groups and load balancers: "must have a maximum of 32 characters"
RESERVED = 5  # addresses of each subnet that AWS keeps for itself
SECRET_WORDS = ("PASSWORD", "SECRET", "TOKEN", "API_KEY", "PRIVATE_KEY", "CREDENTIALS", "PASSWD")


def stack(given: dict[str, Any], problems: Problems) -> None:
    """Contradictions within a stack file (already checked key by key)."""
    fleets = given.get("fleets") or {}
    services = given.get("services") or {}
    ports: dict[tuple[str, int], str] = {}
    used: set[str] = set()
    for name, service in services.items():
        if not service:
            continue
        path = f"services.{name}"
        fleet = service.get("fleet")
        if fleet is None and len(fleets) == 1:
            fleet = service["fleet"] = next(iter(fleets))
        if fleet is None:
            if fleets:
                problems.add(f"{path}.fleet", f"missing; the stack has several fleets, name one of {', '.join(sorted(fleets))}")
        elif fleet not in fleets:
            problems.add(f"{path}.fleet", f"{shown(fleet)} is no fleet of this stack; {nearest(fleet, list(fleets))}")
        else:
            used.add(fleet)
        port = service.get("port")
        if port and fleet:
            other = ports.setdefault((fleet, port), name)
            if other != name:
                problems.add(f"{path}.port", f"{port} is taken on fleet {fleet} by service {other}; give each service of a fleet its own port")
        if port == 22:
            problems.add(f"{path}.port", "22 is the hosts' ssh port; give another, e.g. 8080")
        _health(path, service, problems)
        _environment(path, service, bool(given.get("database")), problems)
        _release(path, service, fleets.get(fleet) or {}, problems)
    public = [name for name, service in services.items() if service and service.get("exposure") == "public"]
    if len(public) > 1:
        problems.add("services", f"{', '.join(public)} are all public; one public service per stack is supported so far, give the others exposure: none")
    for name in fleets:
        if name not in used:
            problems.add(f"fleets.{name}", "no service runs on this fleet; name it in a service's fleet or leave it out")
        _sizes(f"fleets.{name}", fleets[name] or {}, problems)
    if given.get("database") and not any("database." in str(service) for service in services.values()):
        problems.add("database", "no service refers to it; use ${database.host} and its like in a service's environment, or leave it out")


def _health(path: str, service: dict[str, Any], problems: Problems) -> None:
    health = service.get("health")
    if service.get("exposure") == "public" and not (health and health.get("path")):
        problems.add(f"{path}.health.path", "missing; a public service needs a health path, e.g. health: {path: /healthz}")
    if health and health.get("timeout_seconds") and health.get("interval_seconds") and health["timeout_seconds"] >= health["interval_seconds"]:
        problems.add(
            f"{path}.health.timeout_seconds",
            f"{health['timeout_seconds']} is not less than interval_seconds ({health['interval_seconds']}); a check must end before the next begins",
        )


def _environment(path: str, service: dict[str, Any], database: bool, problems: Problems) -> None:
    known = references.available(database)
    for name, value in (service.get("environment") or {}).items():
        place = f"{path}.environment.{name}"
        if name.startswith("FLOTILLA_"):
            problems.add(place, "names that begin with FLOTILLA_ are set by the release; choose another")
        for one in references.named(str(value)):
            if one in references.SECRETS:
                problems.add(
                    place, f"${{{one}}} is a secret and never an environment variable; take it as a file: secrets: {{{one.replace('.', '_')}: ${{{one}}}}}"
                )
            elif one not in known:
                _unknown(place, one, known, database, problems)
        if value is not None and not references.named(str(value)) and any(word in name for word in SECRET_WORDS) and not name.endswith(("_FILE", "_PATH")):
            problems.add(place, f"{name} looks like a secret, and a stack file is no place for one; take it as a file: secrets: {{{name.lower()}: ${{…}}}}")
    for name, value in (service.get("secrets") or {}).items():
        place = f"{path}.secrets.{name}"
        for one in references.named(str(value or "")):
            if one not in references.SECRETS or not database:
                _unknown(place, one, list(references.SECRETS) if database else [], database, problems)


def _unknown(place: str, name: str, known: list[str], database: bool, problems: Problems) -> None:
    if name.startswith("database.") and not database:
        problems.add(place, f"${{{name}}} needs a database and the stack has none; add database: {{engine: mysql}}")
    else:
        problems.add(place, f"${{{name}}} names nothing; {nearest(name, known) if known else 'nothing can be referred to here'}")


def _release(path: str, service: dict[str, Any], fleet: dict[str, Any], problems: Problems) -> None:
    release = service.get("release") or {}
    for position, batch in enumerate(release.get("batches") or []):
        if batch and batch.endswith("%") and int(batch[:-1]) > 100:
            problems.add(f"{path}.release.batches[{position}]", f"{shown(batch)} is more than the whole fleet; give at most 100%")
    if release.get("min_healthy") and fleet.get("min") and release["min_healthy"] >= fleet["min"]:
        problems.add(
            f"{path}.release.min_healthy",
            f"{release['min_healthy']} hosts must stay in service and the fleet has {fleet['min']}: none could be updated; "
            f"lower it, or raise fleets.{service['fleet']}.min",
        )
    if service.get("drain_seconds") is not None and service.get("grace_seconds") and service["drain_seconds"] > service["grace_seconds"] * 10:
        problems.add(
            f"{path}.drain_seconds",
            f"{service['drain_seconds']} is far above grace_seconds ({service['grace_seconds']}); every host of a release would wait for it",
        )


def _sizes(path: str, fleet: dict[str, Any], problems: Problems) -> None:
    if fleet.get("min") and fleet.get("max") and fleet["min"] > fleet["max"]:
        problems.add(f"{path}.min", f"{fleet['min']} is more than max ({fleet['max']}); raise max or lower min")


def environment(given: dict[str, Any], problems: Problems) -> None:
    """Contradictions within an environment (already checked key by key)."""
    region, zones = given.get("region"), [zone for zone in given.get("zones") or [] if zone]
    for position, zone in enumerate(zones):
        if region and zone[:-1] != region:
            problems.add(f"zones[{position}]", f"{shown(zone)} is not a zone of {region}; give one such as {region}a")
        if zone in zones[:position]:
            problems.add(f"zones[{position}]", f"{shown(zone)} is named twice; name each zone once")
    image = (given.get("hosts") or {}).get("image") or {}
    if not image.get("id") and not image.get("name") and given.get("hosts"):
        problems.add("hosts.image", "neither id nor name; give one, e.g. {id: ami-0123456789abcdef0}")
    if image.get("name") and not image.get("owner"):
        problems.add("hosts.image.owner", "missing; an image found by name could be anybody's, say whose, e.g. '136693071363' (Debian)")
    if (given.get("certificate") or {}).get("arn") and given["certificate"].get("domain"):
        problems.add("certificate", "both arn and domain; give the arn of a certificate in ACM, or a domain for one signed by itself")
    for name, fleet in (given.get("fleets") or {}).items():
        _sizes(f"fleets.{name}", fleet or {}, problems)
    _blocks(given, len(zones), problems)


def block(text: str | None, path: str, problems: Problems) -> ipaddress.IPv4Network | None:
    """The parsed block, or None with a problem."""
    if text is None:
        return None
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        host_bits = "has host bits set" in str(error)
        fix = f"write {ipaddress.IPv4Network(text, strict=False)}" if host_bits else "give a block such as 10.20.0.0/16"
        problems.add(path, f"{shown(text)} is no block ({'host bits are set' if host_bits else error}); {fix}")
        return None


def _blocks(given: dict[str, Any], zones: int, problems: Problems) -> None:
    network = given.get("network") or {}
    for path, blocks in (
        ("ssh.sources", (given.get("ssh") or {}).get("sources")),
        ("load_balancer.sources", (given.get("load_balancer") or {}).get("sources")),
    ):
        for position, text in enumerate(blocks or []):
            found = block(text, f"{path}[{position}]", problems)
            if found is not None and path.startswith("ssh") and found.prefixlen == 0:
                problems.add(f"{path}[{position}]", "0.0.0.0/0 opens ssh to everyone; name the blocks of your office or VPN")
    cidr = block(network.get("cidr"), "network.cidr", problems)
    if cidr is None:
        return
    if not 16 <= cidr.prefixlen <= 28:
        problems.add("network.cidr", f"{cidr} cannot be a VPC; its size must lie between /16 and /28")
        return
    if not any(cidr.subnet_of(private) for private in PRIVATE):
        problems.add("network.cidr", f"{cidr} is not a private block; take one of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16")
    if network.get("subnets") is None:
        needed = max(1, 2 * zones)
        prefix = cidr.prefixlen + (needed - 1).bit_length()
        if prefix > 28:
            problems.add("network.cidr", f"{cidr} is too small for {needed} subnets of at least /28; take /{28 - (needed - 1).bit_length()} or larger")
        return
    if len(network["subnets"]) != zones:
        problems.add("network.subnets", f"{len(network['subnets'])} pairs for {zones} zones; give one pair for each zone")
    seen: list[tuple[str, ipaddress.IPv4Network]] = []
    for position, pair in enumerate(network["subnets"]):
        for kind in ("public", "private"):
            path = f"network.subnets[{position}].{kind}"
            subnet = block((pair or {}).get(kind), path, problems)
            if subnet is None:
                continue
            if not subnet.subnet_of(cidr):
                problems.add(path, f"{subnet} is outside of network.cidr ({cidr}); take a part of it")
            if subnet.prefixlen > 28:
                problems.add(path, f"{subnet} is too small: AWS wants /28 at least and keeps {RESERVED} addresses for itself")
            for other, known in seen:
                if subnet.overlaps(known):
                    problems.add(path, f"{subnet} overlaps {other} ({known}); give each subnet addresses of its own")
            seen.append((path, subnet))


def both(given: dict[str, Any], around: dict[str, Any], problems: Problems) -> None:
    """Contradictions between a stack file and an environment."""
    name, place = given.get("name"), around.get("name")
    if name and place:
        prefix = f"{name}-{place}"
        for service, spec in (given.get("services") or {}).items():
            if spec and spec.get("exposure") == "public" and len(f"{prefix}-{service}") > NAME_LIMIT:
                problems.add(
                    f"services.{service}",
                    f"its target group would be {prefix}-{service}, and AWS allows {NAME_LIMIT} characters; shorten the stack's, the environment's or its name",
                )
    for fleet in around.get("fleets") or {}:
        if fleet not in (given.get("fleets") or {}):
            problems.add(f"environment: fleets.{fleet}", f"the stack has no such fleet; {nearest(fleet, list(given.get('fleets') or {}))}")
    if given.get("database") and not around.get("database"):
        problems.add(
            "environment: database", "missing; the stack has a database, say how large: database: {instance_class: db.t4g.micro, certificate_authority_file: …}"
        )
