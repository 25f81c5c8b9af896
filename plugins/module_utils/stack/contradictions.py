# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What no single key can tell: keys that contradict each other, AWS's limits on names that are made of several, blocks that overlap."""

from __future__ import annotations

import difflib
import ipaddress
import re
from typing import Any

from . import connections, references
from .validate import Problems, nearest, shown

PRIVATE = [ipaddress.IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15")]
NAME_LIMIT = 32  # target groups and load balancers: "must have a maximum of 32 characters"
CONDITION_LIMIT = 5  # values of the conditions of one rule of a listener
RESERVED = 5  # addresses of each subnet that AWS keeps for itself
GROUPS = ("lb", "int", "tcp", "database", "cache", "media")  # security groups <prefix>-<one of these>; a fleet's is <prefix>-<fleet>
SECRET_WORDS = ("PASSWORD", "SECRET", "TOKEN", "API_KEY", "PRIVATE_KEY", "CREDENTIALS", "PASSWD")
WELL_KNOWN = re.compile(
    r"(change[-_ ]?me.*|s[e3]cret|pass(word|wd)?|admin|root|default|test|demo|example|dev|let[-_]?me[-_]?in|qwerty|token|(my|super)[-_]?secret|1234)[0-9!]*",
    re.IGNORECASE,
)


def stack(given: dict[str, Any], problems: Problems, laid_over: dict[str, Any] | None = None) -> None:
    """Contradictions within a stack file (already checked key by key). `laid_over`: variables that come from the environment, by service."""
    fleets = given.get("fleets") or {}
    services = {name: service for name, service in (given.get("services") or {}).items() if service}
    ports: dict[tuple[str, int], str] = {}
    used: set[str] = set()
    for name, service in services.items():
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
        for key, port in _ports(service).items():
            if fleet:
                other = ports.setdefault((fleet, port), name)
                if other != name:
                    problems.add(f"{path}.{key}", f"{port} is taken on fleet {fleet} by service {other}; give each service of a fleet its own port")
            if port == 22:
                problems.add(f"{path}.{key}", "22 is the hosts' ssh port; give another, e.g. 8080")
        _colours(name, service, services, problems)
        _exposure(path, service, problems)
        _health(path, service, problems)
        _environment(name, service, given, (laid_over or {}).get(name) or {}, problems)
        _release(path, service, fleets.get(fleet) or {}, problems)
        _state(path, service, fleets.get(fleet) or {}, given, problems)
    _addresses(services, problems)
    for name in fleets:
        if name not in used:
            problems.add(f"fleets.{name}", "no service runs on this fleet; name it in a service's fleet or leave it out")
        if name in GROUPS:
            problems.add(f"fleets.{name}", f"the name is taken: a fleet's security group would be that of another part of the stack ({', '.join(GROUPS)})")
        _sizes(f"fleets.{name}", fleets[name] or {}, problems)
        _scaling(f"fleets.{name}", fleets[name] or {}, {one: service for one, service in services.items() if service.get("fleet") == name}, problems)
    _used(given, services, problems)
    adopted(given.get("network"), "network", problems)


def _ports(service: dict[str, Any]) -> dict[str, int]:
    """Key → port of the host; a blue_green service has two."""
    port = service.get("port")
    if not port:
        return {}
    return {"port": port, "green_port": green_port(service)} if service.get("strategy") == "blue_green" else {"port": port}


def green_port(service: dict[str, Any]) -> int:
    """The port that reaches the green colour."""
    return int(service.get("green_port") or service["port"] + 1)


def _colours(name: str, service: dict[str, Any], services: dict[str, Any], problems: Problems) -> None:
    """What strategy: blue_green asks for."""
    path, release = f"services.{name}", service.get("release") or {}
    if service.get("strategy") != "blue_green":
        if service.get("green_port"):
            problems.add(f"{path}.green_port", f"only strategy: blue_green has a second port, and this one is {service.get('strategy')}; leave it out")
        return
    if service.get("exposure") == "none" or service.get("protocol") == "tcp":
        kind = "exposure: none" if service.get("exposure") == "none" else "protocol: tcp"
        problems.add(f"{path}.strategy", f"blue_green shifts the requests of a load balancer, and this service has {kind}; use strategy: rolling")
    if service.get("port") and service.get("green_port") == service["port"]:
        problems.add(f"{path}.green_port", f"{service['port']} is port too; both colours run side by side, give each a port of its own")
    elif service.get("port") == 65535 and not service.get("green_port"):
        problems.add(f"{path}.green_port", "missing; port + 1 would be 65536, give a port that is free on the hosts")
    if f"{name}-green" in services:
        problems.add(f"services.{name}-green", f"{name}-green is the green colour of {name} on its hosts; give this service another name")
    for key, instead in (
        ("max_failures", "going back costs nothing here, so one host that fails keeps the traffic where it is"),
        ("pause_seconds", "set bake_seconds"),
    ):
        if release.get(key):
            problems.add(f"{path}.release.{key}", f"{release[key]} is for strategy: rolling, which goes host by host; leave it out: {instead}")
    weights = [one for one in release.get("weights") or [] if one]
    if weights and (weights != sorted(set(weights)) or weights[-1] != 100):
        problems.add(f"{path}.release.weights", f"{shown(weights)} must rise step by step and end with 100, e.g. [10, 50, 100]")


def _addresses(services: dict[str, Any], problems: Problems) -> None:
    """Services that share a load balancer must be told apart."""
    public = {name: service for name, service in services.items() if service.get("exposure") == "public"}
    default = [name for name, service in public.items() if not service.get("hosts") and not service.get("paths")]
    if len(default) > 1:
        problems.add(
            "services",
            f"{', '.join(default)} are all public and answer everything; one service may be the default, give the others hosts: or paths: "
            "(or exposure: internal or none)",
        )
    rules: dict[str, str] = {}
    for name, service in public.items():
        if not service.get("hosts") and not service.get("paths"):
            continue
        other = rules.setdefault(repr((sorted(map(str, service.get("hosts") or [])), sorted(map(str, service.get("paths") or [])))), name)
        if other != name:
            problems.add(f"services.{name}", f"its hosts and paths are those of {other}, which comes first and takes every request; give it others")
    listeners: dict[tuple[str, int], str] = {}
    for name, service in services.items():
        if service.get("exposure") != "internal":
            continue
        if service.get("port"):
            other = listeners.setdefault((service.get("protocol") or "http", service["port"]), name)
            if other != name:
                problems.add(
                    f"services.{name}.port",
                    f"{service['port']} is the internal load balancer's port for service {other} already; give each internal service a port of its own "
                    "(container_port may stay)",
                )
        if not any(references.uses(one, f"service.{name}") for other, one in services.items() if other != name):
            reference = f"service.{name}.{references.SERVICE[service.get('protocol') or 'http'][0]}"
            problems.add(
                f"services.{name}.exposure",
                f"internal, and no service refers to it, so nobody could reach it; use ${{{reference}}} in its clients' environment, or exposure: none",
            )


def _exposure(path: str, service: dict[str, Any], problems: Problems) -> None:
    exposure, rules = service.get("exposure"), [key for key in ("hosts", "paths") if service.get(key)]
    if service.get("protocol") == "tcp" and exposure != "internal":
        problems.add(f"{path}.protocol", f"tcp with exposure {exposure}; the {exposure} kind is http, tcp goes with exposure: internal")
    if exposure != "public":
        for key in rules:
            problems.add(f"{path}.{key}", f"only public services have {key}, and this one is {exposure}; leave it out or take exposure: public")
    elif sum(len(service[key]) for key in rules) > CONDITION_LIMIT:
        problems.add(path, f"hosts and paths have more than {CONDITION_LIMIT} values together, AWS's limit for a rule; use wildcards, or leave some out")


def _used(given: dict[str, Any], services: dict[str, Any], problems: Problems) -> None:
    """What a stack leans on must be used by a service, and the other way round."""
    for what in ("database", "cache"):
        if given.get(what) and not any(references.uses(service, what) for service in services.values()):
            problems.add(what, f"no service refers to it; use ${{{what}.host}} and its like in a service's environment, or leave it out")
    if given.get("media") is not None and not any(service.get("media") for service in services.values()):
        problems.add("media", "no service uses it; give one a media: path, or leave it out")
    for name in given.get("secrets") or {}:
        if not any(f"secret.{name}" in references.of(service) for service in services.values()):
            problems.add(f"secrets.{name}", f"no service takes it; give one secrets: {{{name}: ${{secret.{name}}}}}, or leave it out")
    database = given.get("database") or {}
    if database.get("name") and database.get("schemas"):
        problems.add("database.schemas", "both name and schemas; put the name first into schemas and leave name out")
    schemas = [one for one in database.get("schemas") or [] if one]
    for position, one in enumerate(schemas):
        if one in schemas[:position]:
            problems.add(f"database.schemas[{position}]", f"{shown(one)} is named twice; name each schema once")
    for name, service in services.items():
        schema, path = service.get("schema"), f"services.{name}.schema"
        if service.get("database_connections") and not references.uses(service, "database"):
            problems.add(f"services.{name}.database_connections", "given, and the service does not refer to the database; leave it out")
        if not schema:
            continue
        if not references.uses(service, "database"):
            problems.add(path, f"{shown(schema)}, and the service does not refer to the database; use ${{database.host}} and its like, or leave it out")
        elif schema not in (known := schemas or [database.get("name") or default_schema(given)]):
            problems.add(path, f"{shown(schema)} is no schema of the database; {nearest(schema, known)}")
    migrations: dict[str, str] = {}
    for name, service in services.items():
        if service.get("migration") and service.get("image"):
            other = migrations.setdefault(service["image"], name)
            if other != name:
                problems.add(f"services.{name}.migration", f"{other} has one for the same image, and both would run; leave one of them out")


def default_schema(given: dict[str, Any]) -> str:
    """The schema of a database that names none."""
    return re.sub(r"[^a-z0-9]", "_", str(given.get("name")))


def _health(path: str, service: dict[str, Any], problems: Problems) -> None:
    health, exposure = service.get("health"), service.get("exposure")
    if service.get("protocol") == "tcp":
        if health and health.get("path"):
            problems.add(f"{path}.health.path", "a tcp service is healthy when it takes connections; leave the path out")
    elif exposure in ("public", "internal") and not (health and health.get("path")):
        problems.add(
            f"{path}.health.path",
            f"missing; {'a public' if exposure == 'public' else 'an internal'} service needs a health path, e.g. health: {{path: /healthz}}",
        )
    if health and health.get("timeout_seconds") and health.get("interval_seconds") and health["timeout_seconds"] >= health["interval_seconds"]:
        problems.add(
            f"{path}.health.timeout_seconds",
            f"{health['timeout_seconds']} is not less than interval_seconds ({health['interval_seconds']}); a check must end before the next begins",
        )


def _state(path: str, service: dict[str, Any], fleet: dict[str, Any], given: dict[str, Any], problems: Problems) -> None:
    """What is kept on a host, and where directories of a container come from."""
    name = service.get("fleet")
    single = fleet.get("min") == 1 and fleet.get("max") in (1, None)
    if service.get("strategy") == "recreate" and fleet and not single:
        problems.add(
            f"{path}.strategy",
            f"recreate is for one host, and fleet {name} has {fleet.get('min')} to {fleet.get('max') or fleet.get('min')}; "
            f"set fleets.{name}: {{min: 1, max: 1}}, or strategy: rolling",
        )
    volumes = [one for one in service.get("volumes") or [] if one]
    if volumes and service.get("strategy") != "recreate":
        problems.add(f"{path}.volumes", "a volume is on one host at a time; set strategy: recreate and a fleet with min: 1 and max: 1, or use media")
    if service.get("media") and given.get("media") is None:
        problems.add(f"{path}.media", "the stack has no shared media; add media: {} to the stack, or leave it out")
    taken: dict[str, str] = {}
    places = [(f"tmpfs[{position}]", one) for position, one in enumerate(service.get("tmpfs") or [])] + [("media", service.get("media"))]
    for position, volume in enumerate(volumes):
        places.append((f"volumes[{position}].path", volume.get("path")))
        if volume.get("name") in [one.get("name") for one in volumes[:position]]:
            problems.add(f"{path}.volumes[{position}].name", f"{shown(volume['name'])} is named twice; name each volume once")
    for key, place in places:
        if place and (other := taken.setdefault(place.rstrip("/"), key)) != key:
            problems.add(f"{path}.{key}", f"{shown(place)} is taken by {other}; give each a directory of its own")


def _environment(name: str, service: dict[str, Any], given: dict[str, Any], laid_over: dict[str, Any], problems: Problems) -> None:
    known, hidden = references.available(given, name), references.secrets(given)
    for variable, value in (service.get("environment") or {}).items():
        place = f"environment: variables.{name}.{variable}" if variable in laid_over else f"services.{name}.environment.{variable}"
        if variable.startswith("FLOTILLA_"):
            problems.add(place, "names that begin with FLOTILLA_ are set by the release; choose another")
        for one in references.named(str(value)):
            if references.is_secret(one):
                problems.add(
                    place,
                    f"${{{one}}} is a secret and never stands in a plain environment; take it under secrets: as a file "
                    f"({{{one.replace('.', '_')}: ${{{one}}}}}) "
                    f"or as a variable ({{{variable}: ${{{one}}}}})",
                )
            elif one not in known:
                _unknown(place, one, known, name, given, problems)
        _literal_secret(place, variable, value, problems)
    for variable, value in (service.get("secrets") or {}).items():
        place = f"services.{name}.secrets.{variable}"
        if variable.startswith("FLOTILLA_"):
            problems.add(place, "names that begin with FLOTILLA_ are set by the release; choose another")
        if variable in (service.get("environment") or {}):
            problems.add(place, "the name stands in environment too; leave one of them out")
        for one in references.named(str(value or "")):
            if one not in hidden:
                _unknown(place, one, hidden, name, given, problems)


def _literal_secret(place: str, name: str, value: str | None, problems: Problems) -> None:
    """A secret in a stack file is in everybody's hands; a well-known one in the whole world's."""
    if value is None or references.named(str(value)) or not any(word in name for word in SECRET_WORDS) or name.endswith(("_FILE", "_PATH")):
        return
    fix = f"have it generated (secrets: {{{name.lower()}: {{}}}} in the stack) and take it in the service: secrets: {{{name}: ${{secret.{name.lower()}}}}}"
    if WELL_KNOWN.fullmatch(str(value)):
        problems.add(place, f"{shown(value)} is a well-known default and no secret; {fix}")
    else:
        problems.add(place, f"{name} looks like a secret, and a stack file is no place for one; {fix}")


def _unknown(place: str, reference: str, known: list[str], name: str, given: dict[str, Any], problems: Problems) -> None:
    """A reference that names nothing: what is missing, or what was meant, and all that there is."""
    kind, _dot, rest = reference.partition(".")
    other = rest.rpartition(".")[0]
    exposure = ((given.get("services") or {}).get(other) or {}).get("exposure")
    text = f"${{{reference}}} "
    if kind in ("database", "cache") and not given.get(kind):
        text += f"needs a {kind} and the stack has none; add {kind}: {{engine: {'mysql' if kind == 'database' else 'redis'}}}"
    elif reference == "media.path":
        text += "needs the service's place for media; add media: /path/in/the/container to it"
    elif kind == "service" and other == name:
        text += "is the service itself; it knows its own port, and its clients refer to it"
    elif kind == "service" and exposure not in (None, "internal"):
        text += f"leads to a service with exposure {exposure}; only internal ones can be referred to, give {other} exposure: internal"
    elif kind == "secret":
        text += f"names no secret of the stack; add secrets: {{{rest}: {{}}}}"
    else:
        near = difflib.get_close_matches(reference, known, n=1, cutoff=0.6)
        text += f"names nothing; did you mean {near[0]!r}?" if near else "names nothing"
    problems.add(place, f"{text}{'' if text.endswith('?') else '.'} There {'are ' + ', '.join(known) if known else 'is nothing to refer to'}")


def _release(path: str, service: dict[str, Any], fleet: dict[str, Any], problems: Problems) -> None:
    release = service.get("release") or {}
    for position, batch in enumerate(release.get("batches") or []):
        if batch and batch.endswith("%") and int(batch[:-1]) > 100:
            problems.add(f"{path}.release.batches[{position}]", f"{shown(batch)} is more than the whole fleet; give at most 100%")
    if service.get("strategy") == "rolling" and release.get("min_healthy") and fleet.get("min") and release["min_healthy"] >= fleet["min"]:
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


def countable(service: dict[str, Any]) -> bool:
    """Whether AWS counts the requests of a service for target tracking: they come through an http load balancer, and to one target group."""
    return service.get("exposure") in ("public", "internal") and service.get("protocol") == "http" and service.get("strategy") == "rolling"


def _scaling(path: str, fleet: dict[str, Any], services: dict[str, Any], problems: Problems) -> None:
    """What scaling asks of its fleet and the services on it."""
    scaling, here = fleet.get("scaling"), f"{path}.scaling"
    if not scaling:
        return
    targets = [key for key in ("cpu_percent", "requests_per_target") if scaling.get(key) is not None]
    if not targets and not scaling.get("schedule"):
        problems.add(here, "says nothing; give cpu_percent, requests_per_target or a schedule, or leave it out")
    highest = fleet.get("max") or fleet.get("min")
    if fleet.get("min") and highest == fleet["min"]:
        problems.add(here, f"min and max are both {highest}, so that nothing could be scaled; raise {path}.max, or leave scaling out")
    if scaling.get("requests_per_target") is not None:
        _counted(here, scaling.get("service"), services, problems)
    elif scaling.get("service"):
        problems.add(f"{here}.service", f"{shown(scaling['service'])}, and no requests are counted; give requests_per_target, or leave it out")
    if not targets and scaling.get("scale_in") is False:
        problems.add(f"{here}.scale_in", "false is about cpu_percent and requests_per_target, and neither is given; leave it out")
    names: list[str] = []
    for position, one in enumerate(one or {} for one in scaling.get("schedule") or []):
        place = f"{here}.schedule[{position}]"
        if one.get("name") in names:
            problems.add(f"{place}.name", f"{shown(one['name'])} is named twice; name each time once")
        names.append(one.get("name") or "")
        if one.get("min") and fleet.get("min") and highest and not fleet["min"] <= one["min"] <= highest:
            problems.add(f"{place}.min", f"{one['min']} does not lie between the fleet's min ({fleet['min']}) and max ({highest}); move one of them")
        problem = cron_problem(one.get("cron") or "")
        if problem:
            problems.add(f"{place}.cron", f"{shown(one['cron'])}: {problem}")


def _counted(here: str, name: str | None, services: dict[str, Any], problems: Problems) -> None:
    """The service whose requests are to be counted."""
    fit = [one for one, service in services.items() if countable(service)]
    if name and name not in services:
        problems.add(f"{here}.service", f"{shown(name)} does not run on this fleet; {nearest(name, list(services))}")
    elif name and name not in fit or not fit:
        why = name or ", ".join(services)
        coloured = any(one.get("strategy") == "blue_green" for one in ([services[name]] if name else services.values()))
        problems.add(
            f"{here}.requests_per_target",
            f"the requests of {why} are not counted as one: that takes an http service behind a load balancer"
            f"{' with strategy: rolling (with blue_green they come to two target groups)' if coloured else ''}; use cpu_percent",
        )
    elif not name and len(fit) > 1:
        problems.add(f"{here}.service", f"missing; {', '.join(fit)} answer requests on this fleet, name the one that is counted")


CRON_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))
CRON_NAMES = {
    "month": ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    "day of the week": ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
}


def cron_problem(text: str) -> str:
    """What is wrong with a cron expression that has the form of one; empty when nothing is."""
    for field, (what, lowest, highest) in zip(text.lower().split(), CRON_FIELDS, strict=False):
        for part in field.split(","):
            for word in part.partition("/")[0].split("-"):
                if word == "*" or word in CRON_NAMES.get(what, []):
                    continue
                if not word.isdigit() or not lowest <= int(word) <= highest:
                    return f"the {what} is {word}, and goes from {lowest} to {highest}"
    return ""


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
    logins = [one["name"] for one in given.get("developers") or [] if one and one.get("name")]
    for position, login in enumerate(logins):
        if login in logins[:position]:
            problems.add(f"developers[{position}].name", f"{shown(login)} is named twice; give each developer a login of their own")
    network = given.get("network") or {}
    adopted(network.get("adopt"), "network.adopt", problems)
    if network.get("adopt") and network.get("subnets"):
        problems.add("network.subnets", "given with adopt, and a VPC that is adopted keeps its subnets; leave one of them out")
    if network and not network.get("adopt") and not network.get("cidr"):
        problems.add("network.cidr", "missing; give the block of the VPC, e.g. 10.20.0.0/16, or a VPC to adopt: adopt: {vpc: {id: vpc-…}}")
    _blocks(given, len(zones), problems)


def adopted(network: dict[str, Any] | None, path: str, problems: Problems) -> None:
    """What is needed to find a VPC that exists."""
    if network is None:
        return
    for part, single in (("vpc", "id"), ("public_subnets", "ids"), ("private_subnets", "ids")):
        given = network.get(part) or {}
        example = "{id: vpc-0123456789abcdef0} or {tags: {Name: main}}" if part == "vpc" else "{ids: [subnet-…, subnet-…]} or {tags: {Tier: private}}"
        if given.get(single) and given.get("tags"):
            problems.add(f"{path}.{part}", f"both {single} and tags; give one of them")
        elif not given.get(single) and not given.get("tags"):
            problems.add(f"{path}.{part}", f"missing; give {example}")
        if part != "vpc" and given.get("ids") and len(set(given["ids"])) < 2:
            problems.add(f"{path}.{part}.ids", f"{shown(given['ids'])} is one subnet; two in different zones are needed at least")
    both = set((network.get("public_subnets") or {}).get("ids") or []) & set((network.get("private_subnets") or {}).get("ids") or [])
    if both - {None}:
        problems.add(path, f"{', '.join(sorted(both - {None}))} is named as public and as private; a subnet is one of them")


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
    services = {one: service for one, service in (given.get("services") or {}).items() if service}
    if name and place:
        prefix = f"{name}-{place}"
        for service, spec in services.items():
            group = f"{prefix}-{service}" + ("-green" if spec.get("strategy") == "blue_green" else "")
            if spec.get("exposure") in ("public", "internal") and len(group) > NAME_LIMIT:
                problems.add(
                    f"services.{service}",
                    f"its target group would be {group}, and AWS allows {NAME_LIMIT} characters; shorten the stack's, the environment's or its name",
                )
        if any(spec.get("exposure") == "internal" for spec in services.values()) and len(f"{prefix}-int") > NAME_LIMIT:
            problems.add(
                "name",
                f"the internal load balancer would be {prefix}-int, and AWS allows {NAME_LIMIT} characters; shorten the stack's or the environment's name",
            )
    fleets = list(given.get("fleets") or {})
    for fleet in around.get("fleets") or {}:
        if fleet not in fleets:
            problems.add(f"environment: fleets.{fleet}", f"the stack has no such fleet; {nearest(fleet, fleets)}")
    for service in around.get("variables") or {}:
        if service not in services:
            problems.add(f"environment: variables.{service}", f"the stack has no such service; {nearest(service, list(services))}")
    if given.get("database") and not around.get("database"):
        problems.add(
            "environment: database", "missing; the stack has a database, say how large: database: {instance_class: db.t4g.micro, certificate_authority_file: …}"
        )
    connections.check(given, around, problems)
    if given.get("cache") and not around.get("cache"):
        problems.add("environment: cache", "missing; the stack has a cache, say how large: cache: {node_type: cache.t4g.micro, certificate_authority_file: …}")
