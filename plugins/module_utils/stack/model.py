# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The model: a valid stack file in a valid environment, every name and default worked out. Roles, modules and playbooks read nothing else."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from . import contradictions, references
from .environment_keys import ENVIRONMENT
from .stack_keys import STACK
from .validate import Problems, StackError, check, shown

FAMILIES = {"8.0": "mysql8.0", "8.4": "mysql8.4"}  # RDS parameter group families


def load(stack: Any, environment: Any, fleets: Any = None) -> dict[str, Any]:
    """Validate and build.

    stack, environment: the variables flotilla_stack and flotilla_environment; fleets: sizes that go before both ({"web": {"min": 3}}).
    Raises StackError with every problem found; nothing has been changed or asked by then.
    """
    problems = Problems()
    given = check(stack, STACK, "", problems) if stack is not None else None
    if stack is None:
        problems.add("flotilla_stack", "missing; name a stack file, e.g. -e @examples/hello/stack.yml")
    place, around = Problems(), None
    if environment is None:
        place.add("flotilla_environment", "missing; name an inventory, e.g. -i inventories/local")
    else:
        around = check(environment, ENVIRONMENT, "", place)
        if around is not None:
            contradictions.environment(around, place)
    sizes = Problems()
    override = check(fleets, ENVIRONMENT.keys["fleets"], "flotilla_fleets", sizes) if fleets is not None else {}
    if given is not None and around is not None and override is not None:
        _merge(given, around.get("fleets") or {}, "environment: fleets", place)
        _merge(given, override, "flotilla_fleets", sizes)
    laid_over = {name: variables or {} for name, variables in ((around or {}).get("variables") or {}).items()}
    if given is not None:
        for name, variables in laid_over.items():
            service = (given.get("services") or {}).get(name)
            if service:
                service["environment"] = {**(service.get("environment") or {}), **variables}
        contradictions.stack(given, problems, laid_over)
    if given is not None and around is not None:
        contradictions.both(given, around, problems)
    texts = [f"stack: {one}" if not one.startswith(("environment: ", "flotilla_")) else one for one in problems]
    texts += [f"environment: {one}" if not one.startswith(("environment: ", "flotilla_")) else one for one in place]
    texts += sizes
    if texts or given is None or around is None:
        raise StackError(texts)
    return build(given, around)


def _merge(given: dict[str, Any], sizes: dict[str, Any], path: str, problems: Problems) -> None:
    """Sizes of an environment or of the command line go before the stack file's."""
    for name, size in sizes.items():
        if name not in (given.get("fleets") or {}):
            if path == "flotilla_fleets":
                problems.add(f"{path}.{name}", f"the stack has no such fleet; valid: {', '.join(sorted(given.get('fleets') or {}))}")
            continue
        fleet = given["fleets"][name]
        for key, value in (size or {}).items():
            if value is not None and fleet is not None:
                fleet[key] = value
        if fleet and size and size.get("min") and not size.get("max") and fleet.get("max") and fleet["min"] and fleet["max"] < fleet["min"]:
            problems.add(f"{path}.{name}.min", f"{shown(fleet['min'])} is more than max ({fleet['max']}); raise max too")


def subnets(network: dict[str, Any], zones: list[str]) -> list[dict[str, str]]:
    """Zone by zone: {name, public_cidr, private_cidr}. Public subnets come from the lower half of the block, private ones from the upper."""
    if network.get("subnets"):
        return [{"name": zone, "public_cidr": pair["public"], "private_cidr": pair["private"]} for zone, pair in zip(zones, network["subnets"], strict=True)]
    block = ipaddress.IPv4Network(network["cidr"])
    count = 1 << (2 * len(zones) - 1).bit_length()
    # No larger than /20: room is left for what comes later.
    prefix = max(block.prefixlen + count.bit_length() - 1, min(20, 28))
    parts = list(block.subnets(new_prefix=prefix))
    half = len(parts) // 2
    return [{"name": zone, "public_cidr": str(parts[position]), "private_cidr": str(parts[half + position])} for position, zone in enumerate(zones)]


def build(stack: dict[str, Any], environment: dict[str, Any]) -> dict[str, Any]:
    """The model of a checked stack in a checked environment."""
    prefix = f"{stack['name']}-{environment['name']}"
    tags = {"flotilla:stack": stack["name"], "flotilla:environment": environment["name"]}
    root = f"{environment['name']}/{stack['name']}"
    protected = bool(environment["protected"])
    certificate = environment["certificate"]
    adopt = environment["registry"].get("adopt")
    return {
        "stack": {"name": stack["name"]},
        "environment": {"name": environment["name"], "region": environment["region"], "protected": protected},
        "prefix": prefix,
        "tags": tags,
        "parameter_root": f"/flotilla/{root}",
        "secret_root": f"flotilla/{root}",
        "network": _network(stack, environment),
        "ssh": {key: environment["ssh"].get(key) for key in ("user", "public_key_file", "private_key_file", "sources", "jump")},
        "developers": [{key: one[key].strip() for key in ("name", "public_key")} for one in environment["developers"]],
        "hosts": {
            "image": {key: environment["hosts"]["image"].get(key) for key in ("id", "name", "owner")},
            "aws_endpoint_url": environment["hosts"].get("aws_endpoint_url"),
            "root_volume_gb": environment["hosts"]["root_volume_gb"],
        },
        "registry": {
            "repositories": sorted({service["image"] for service in stack["services"].values()}),
            "certificate_authority_file": environment["registry"].get("certificate_authority_file"),
            "keep_images": environment["registry"]["keep_images"],
            "adopt": stack["registry"]["adopt"] if adopt is None else adopt,
        },
        "secrets": [{"name": name, "secret": f"flotilla/{root}/{name}", "length": secret["length"]} for name, secret in stack["secrets"].items()],
        "database": _database(stack, environment, prefix, f"flotilla/{root}", protected),
        "cache": _cache(stack, environment, prefix, f"flotilla/{root}", protected),
        "media": {"name": prefix, "services": [name for name, service in stack["services"].items() if service.get("media")]}
        if stack.get("media") is not None
        else None,
        "certificate": {"domain": certificate.get("domain") or f"{stack['name']}.{environment['name']}.internal", "arn": certificate.get("arn")},
        **_load_balancers(stack, environment["load_balancer"], prefix),
        "bucket": {"prefix": prefix},
        "fleets": [_fleet(name, fleet, stack["services"], environment["zones"], prefix, tags) for name, fleet in stack["fleets"].items()],
        "services": [_service(name, stack, environment["name"], prefix, f"flotilla/{root}") for name in stack["services"]],
        "releases": {"keep": environment["releases"]["keep"]},
        "notices": {name: environment["notices"].get(name) for name in ("sns_topic_arn", "webhook_url", "event_bus")},
    }


def _network(stack: dict[str, Any], environment: dict[str, Any]) -> dict[str, Any]:
    network = environment["network"]
    adopted = network.get("adopt") or stack.get("network")
    return {
        "cidr": None if adopted else network["cidr"],
        "nat": "none" if adopted else network["nat"],
        # The zones of a network that is adopted are those of its subnets.
        "zones": [] if adopted else subnets(network, environment["zones"]),
        "adopted": {
            "vpc": {"id": adopted["vpc"].get("id"), "tags": adopted["vpc"]["tags"]},
            **{kind: {"ids": adopted[kind]["ids"], "tags": adopted[kind]["tags"]} for kind in ("public_subnets", "private_subnets")},
        }
        if adopted
        else None,
    }


def _load_balancers(stack: dict[str, Any], balancer: dict[str, Any], prefix: str) -> dict[str, Any]:
    services = stack["services"]
    public = [name for name, service in services.items() if service["exposure"] == "public"]
    default = [name for name in public if not services[name]["hosts"] and not services[name]["paths"]]
    internal = {
        protocol: [
            {"service": name, "port": service["port"]}
            for name, service in services.items()
            if service["exposure"] == "internal" and service["protocol"] == protocol
        ]
        for protocol in ("http", "tcp")
    }
    return {
        "load_balancer": {
            "name": prefix,
            "sources": balancer["sources"],
            "idle_timeout_seconds": balancer["idle_timeout_seconds"],
            "deletion_protection": balancer["deletion_protection"],
            "ports": {"http": 80, "https": 443},
            "default_service": default[0] if default else None,
        }
        if public
        else None,
        "internal_load_balancer": {
            "name": f"{prefix}-int",
            "type": "application",
            "idle_timeout_seconds": balancer["idle_timeout_seconds"],
            "deletion_protection": balancer["deletion_protection"],
            "listeners": internal["http"],
        }
        if internal["http"]
        else None,
        "internal_network_load_balancer": {
            "name": f"{prefix}-tcp",
            "type": "network",
            "deletion_protection": balancer["deletion_protection"],
            "listeners": internal["tcp"],
        }
        if internal["tcp"]
        else None,
    }


def _fleet(name: str, fleet: dict[str, Any], services: dict[str, Any], zones: list[str], prefix: str, tags: dict[str, str]) -> dict[str, Any]:
    own = [one for one, service in services.items() if service["fleet"] == name]
    return {
        "name": name,
        "group": f"{prefix}-{name}",
        "instance_type": fleet["instance_type"],
        "image": fleet["image"],
        "min": fleet["min"],
        "max": fleet["max"] or fleet["min"],
        "scaling": _scaling(fleet, [services[one] for one in own], own),
        "services": own,
        # A volume is in one zone, and so is the host that it is attached to.
        "zones": zones[:1] if any(services[one]["volumes"] for one in own) else list(zones),
        "tags": {**tags, "flotilla:fleet": name, "Name": f"{prefix}-{name}"},
    }


def _scaling(fleet: dict[str, Any], services: list[dict[str, Any]], names: list[str]) -> dict[str, Any] | None:
    """What adds hosts to a fleet and takes them away; None when people do."""
    scaling = fleet.get("scaling")
    if not scaling:
        return None
    targets = scaling["cpu_percent"] is not None or scaling["requests_per_target"] is not None
    counted = scaling["service"] or next((name for name, service in zip(names, services, strict=True) if contradictions.countable(service)), None)
    return {
        "cpu_percent": scaling["cpu_percent"],
        "requests": {"service": counted, "per_minute": scaling["requests_per_target"]} if scaling["requests_per_target"] is not None else None,
        "warmup_seconds": scaling["warmup_seconds"],
        "scale_in": scaling["scale_in"],
        # With a target, the schedule moves the floor alone, and the target decides how many there are above it.
        "schedule": [{**one, "desired": None if targets else one["min"]} for one in scaling["schedule"]],
        # Time for a leaving host: its slowest service gets its grace, its logs a minute.
        "leave_seconds": max([service["grace_seconds"] for service in services], default=0) + 60,
    }


def user_of(stack: str, service: str) -> str:
    """A service's database user; MySQL allows 32 characters."""
    return re.sub(r"[^a-z0-9]", "_", f"{stack}_{service}")[:32]


def _database(stack: dict[str, Any], environment: dict[str, Any], prefix: str, secret_root: str, protected: bool) -> dict[str, Any] | None:
    database, size = stack.get("database"), environment.get("database")
    if not database or not size:
        return None
    schemas = database.get("schemas") or [database.get("name") or contradictions.default_schema(stack)]
    users = [
        {
            "name": user_of(stack["name"], name),
            "service": name,
            "schema": service.get("schema") or schemas[0],
            "secret": f"{secret_root}/database-{user_of(stack['name'], name)}",
            "privileges": list(database["privileges"]),
        }
        for name, service in stack["services"].items()
        if references.uses(service, "database")
    ]
    return {
        "identifier": prefix,
        "engine": database["engine"],
        "engine_version": size["engine_version"],
        "parameter_family": FAMILIES[".".join(size["engine_version"].split(".")[:2])],
        "instance_class": size["instance_class"],
        "storage_gb": size["storage_gb"],
        "multi_az": size["multi_az"],
        "backup_retention_days": size["backup_retention_days"],
        "deletion_protection": protected,
        "final_snapshot": protected,
        "port": 3306,
        "name": schemas[0],
        "schemas": list(schemas),
        "master": {"username": "flotilla_admin", "secret": f"{secret_root}/database-master"},
        "users": users,
        "certificate_authority_file": size["certificate_authority_file"],
    }


def _cache(stack: dict[str, Any], environment: dict[str, Any], prefix: str, secret_root: str, protected: bool) -> dict[str, Any] | None:
    cache, size = stack.get("cache"), environment.get("cache")
    if not cache or not size:
        return None
    return {
        "identifier": prefix,
        "engine": cache["engine"],
        "engine_version": size["engine_version"],
        "parameter_family": f"redis{'6.x' if size['engine_version'].startswith('6') else '7'}",
        "node_type": size["node_type"],
        "replicas": size["replicas"],
        "snapshot_retention_days": size["snapshot_retention_days"],
        "final_snapshot": protected and size["snapshot_retention_days"] > 0,
        "port": 6379,
        "token_secret": f"{secret_root}/cache-token",
        "certificate_authority_file": size["certificate_authority_file"],
        "clients": [name for name, service in stack["services"].items() if references.uses(service, "cache")],
    }


def _secret(reference: str, user: str, secret_root: str) -> dict[str, Any]:
    """Where the value of a reference to a secret stands: a secret, and a field of it (null: all of it)."""
    kind, _dot, name = reference.partition(".")
    place = {"database": f"database-{user}", "cache": "cache-token", "secret": name}[kind]
    return {"secret": f"{secret_root}/{place}", "field": references.SECRETS.get(reference)}


def _colours(name: str, service: dict[str, Any], prefix: str) -> dict[str, dict[str, Any]]:
    """Both colours of a service: the name of its unit and container on a host, port, target group."""
    return {
        "blue": {"instance": name, "port": service["port"], "target_group": f"{prefix}-{name}"},
        "green": {"instance": f"{name}-green", "port": contradictions.green_port(service), "target_group": f"{prefix}-{name}-green"},
    }


def _service(name: str, stack: dict[str, Any], environment: str, prefix: str, secret_root: str) -> dict[str, Any]:
    service, others = stack["services"][name], stack["services"]
    keys = STACK.keys["services"].items.keys  # type: ignore[union-attr]
    tcp = service["protocol"] == "tcp"
    health = service.get("health") or (check({}, keys["health"], "health", Problems()) if tcp else None)
    release = service.get("release") or check({}, keys["release"], "release", Problems())
    if service["strategy"] in ("recreate", "blue_green"):
        release = {**release, "min_healthy": 0}
    colours = _colours(name, service, prefix) if service["strategy"] == "blue_green" else None
    secrets = {one: _secret(references.named(value)[0], user_of(stack["name"], name), secret_root) for one, value in service["secrets"].items()}
    known = {"stack.name": stack["name"], "environment.name": environment, "media.path": service.get("media") or ""}
    public = [one for one, other in others.items() if other["exposure"] == "public" and (other["hosts"] or other["paths"])]
    clients = [one for one, other in others.items() if references.uses(other, f"service.{name}")]
    return {
        "name": name,
        "fleet": service["fleet"],
        "image": service["image"],
        "port": service["port"],
        "container_port": service.get("container_port") or service["port"],
        "exposure": service["exposure"],
        "protocol": service["protocol"],
        "hosts": list(service["hosts"]),
        "paths": list(service["paths"]),
        # Of its rule at the public load balancer; the default has none.
        "priority": public.index(name) + 1 if name in public else None,
        "strategy": service["strategy"],
        # Blue is what a service has without colours, so that a stack can go from rolling to blue_green and back with nothing restarted.
        "colours": colours,
        "instances": [one["instance"] for one in colours.values()] if colours else [name],
        "ports": [one["port"] for one in colours.values()] if colours else [service["port"]],
        "target_group": f"{prefix}-{name}" if service["exposure"] in ("public", "internal") else None,
        "clients": clients,
        "clients_fleets": list(dict.fromkeys(others[one]["fleet"] for one in clients)),
        "health": {**health, "path": health.get("path"), **({"codes": None} if tcp else {})} if health else None,
        "grace_seconds": service["grace_seconds"],
        "drain_seconds": service["drain_seconds"] if service.get("drain_seconds") is not None else service["grace_seconds"],
        "memory_mb": service["memory_mb"],
        "environment": {one: references.replace(value, known) for one, value in service["environment"].items()},
        "secrets": {one: secret for one, secret in secrets.items() if one[0].islower()},
        "secret_environment": {one: secret for one, secret in secrets.items() if one[0].isupper()},
        "user": service["user"],
        "tmpfs": list(service["tmpfs"]),
        "writable": [],
        "media": {"path": service["media"], "mount": f"/srv/flotilla/media/{name}"} if service.get("media") else None,
        "volumes": [
            {**volume, "mount": f"/srv/flotilla/volumes/{name}/{volume['name']}", "tag": f"{prefix}-{name}-{volume['name']}"} for volume in service["volumes"]
        ],
        "migration": service["migration"],
        "console": {program: list(command) for program, command in service["console"].items()},
        "uses_database": references.uses(service, "database"),
        "uses_cache": references.uses(service, "cache"),
        "release": {**release, "canary": release["batches"][0]},
    }
