# Copyright: the flotilla.ec2 contributors
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
    if given is not None:
        contradictions.stack(given, problems)
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
    public = [name for name, service in stack["services"].items() if service["exposure"] == "public"]
    balancer, certificate = environment["load_balancer"], environment["certificate"]
    return {
        "stack": {"name": stack["name"]},
        "environment": {"name": environment["name"], "region": environment["region"], "protected": protected},
        "prefix": prefix,
        "tags": tags,
        "parameter_root": f"/flotilla/{root}",
        "secret_root": f"flotilla/{root}",
        "network": {
            "cidr": environment["network"]["cidr"],
            "nat": environment["network"]["nat"],
            "zones": subnets(environment["network"], environment["zones"]),
        },
        "ssh": {key: environment["ssh"].get(key) for key in ("user", "public_key_file", "private_key_file", "sources", "jump")},
        "hosts": {
            "image": {key: environment["hosts"]["image"].get(key) for key in ("id", "name", "owner")},
            "aws_endpoint_url": environment["hosts"].get("aws_endpoint_url"),
            "root_volume_gb": environment["hosts"]["root_volume_gb"],
        },
        "registry": {
            "repositories": sorted({service["image"] for service in stack["services"].values()}),
            "certificate_authority_file": environment["registry"].get("certificate_authority_file"),
            "keep_images": environment["registry"]["keep_images"],
        },
        "database": _database(stack, environment, prefix, f"flotilla/{root}", protected),
        "certificate": {"domain": certificate.get("domain") or f"{stack['name']}.{environment['name']}.internal", "arn": certificate.get("arn")},
        "load_balancer": {
            "name": prefix,
            "sources": balancer["sources"],
            "idle_timeout_seconds": balancer["idle_timeout_seconds"],
            "deletion_protection": balancer["deletion_protection"],
            "ports": {"http": 80, "https": 443},
            "default_service": public[0],
        }
        if public
        else None,
        "bucket": {"prefix": prefix},
        "fleets": [
            {
                "name": name,
                "group": f"{prefix}-{name}",
                "instance_type": fleet["instance_type"],
                "min": fleet["min"],
                "max": fleet["max"] or fleet["min"],
                "services": [one for one, service in stack["services"].items() if service["fleet"] == name],
                "tags": {**tags, "flotilla:fleet": name, "Name": f"{prefix}-{name}"},
            }
            for name, fleet in stack["fleets"].items()
        ],
        "services": [_service(name, service, prefix, f"flotilla/{root}") for name, service in stack["services"].items()],
        "releases": {"keep": environment["releases"]["keep"]},
    }


def user_of(stack: str, service: str) -> str:
    """A service's database user; MySQL allows 32 characters."""
    return re.sub(r"[^a-z0-9]", "_", f"{stack}_{service}")[:32]


def _database(stack: dict[str, Any], environment: dict[str, Any], prefix: str, secret_root: str, protected: bool) -> dict[str, Any] | None:
    database, size = stack.get("database"), environment.get("database")
    if not database or not size:
        return None
    users = [
        {
            "name": user_of(stack["name"], name),
            "service": name,
            "secret": f"{secret_root}/database-{user_of(stack['name'], name)}",
            "privileges": list(database["privileges"]),
        }
        for name, service in stack["services"].items()
        if uses_database(service)
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
        "name": database.get("name") or re.sub(r"[^a-z0-9]", "_", stack["name"]),
        "master": {"username": "flotilla_admin", "secret": f"{secret_root}/database-master"},
        "users": users,
        "certificate_authority_file": size["certificate_authority_file"],
    }


def uses_database(service: dict[str, Any]) -> bool:
    """Whether a service refers to the database."""
    texts = [*service["environment"].values(), *service["secrets"].values()]
    return any(one.startswith("database.") for text in texts for one in references.named(text))


def _service(name: str, service: dict[str, Any], prefix: str, secret_root: str) -> dict[str, Any]:
    health = service.get("health")
    stack_name = secret_root.rsplit("/", 1)[1]
    release = service.get("release") or check({}, STACK.keys["services"].items.keys["release"], "release", Problems())  # type: ignore[union-attr]
    secrets = {
        secret: {"secret": f"{secret_root}/database-{user_of(stack_name, name)}", "field": references.SECRETS[references.named(value)[0]]}
        for secret, value in service["secrets"].items()
    }
    return {
        "name": name,
        "fleet": service["fleet"],
        "image": service["image"],
        "port": service["port"],
        "container_port": service.get("container_port") or service["port"],
        "exposure": service["exposure"],
        "strategy": service["strategy"],
        "target_group": f"{prefix}-{name}" if service["exposure"] == "public" else None,
        "health": {**health, "path": health.get("path")} if health else None,
        "grace_seconds": service["grace_seconds"],
        "drain_seconds": service["drain_seconds"] if service.get("drain_seconds") is not None else service["grace_seconds"],
        "memory_mb": service["memory_mb"],
        "environment": dict(service["environment"]),
        "secrets": secrets,
        "user": service["user"],
        "tmpfs": list(service["tmpfs"]),
        "writable": [],
        "uses_database": uses_database(service),
        "release": {**release, "canary": release["batches"][0]},
    }
