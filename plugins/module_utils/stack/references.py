# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""References in a stack file, `${database.host}`: what can be named, and their values once the stack is provisioned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

REFERENCE = re.compile(r"\$\{([^}]*)\}")
CERTIFICATES = "/run/flotilla/certificates"  # where a container finds the authorities of what it connects to
DATABASE = ("host", "port", "name", "user", "certificate_authority")
CACHE = ("host", "port", "certificate_authority")
SERVICE = {"http": ("url", "host", "port"), "tcp": ("host", "port")}  # by protocol
FIXED = ("stack.name", "environment.name")
SECRETS = {"database.password": "password", "cache.token": None}  # reference → field of its secret; None: the secret as a whole


class UnknownReference(ValueError):
    """A reference names nothing; the text lists what exists."""


def named(text: str) -> list[str]:
    """The references in a text, in order: ["database.host"]."""
    return REFERENCE.findall(text)


def of(service: Mapping[str, Any]) -> Iterator[str]:
    """Every reference of a service, in its environment and its secrets."""
    for text in (*(service.get("environment") or {}).values(), *(service.get("secrets") or {}).values()):
        yield from named(str(text or ""))


def uses(service: Mapping[str, Any], what: str) -> bool:
    """Whether a service refers to `database`, `cache`, `service.api` …"""
    return any(one.startswith(f"{what}.") for one in of(service))


def available(stack: Mapping[str, Any], name: str) -> list[str]:
    """What the environment of the service `name` may refer to. No service refers to itself."""
    found = [f"database.{one}" for one in DATABASE] if stack.get("database") else []
    found += [f"cache.{one}" for one in CACHE] if stack.get("cache") else []
    for other, service in (stack.get("services") or {}).items():
        if other != name and service and service.get("exposure") == "internal":
            found += [f"service.{other}.{one}" for one in SERVICE[service.get("protocol") or "http"]]
    if ((stack.get("services") or {}).get(name) or {}).get("media"):
        found.append("media.path")
    return [*found, *FIXED]


def secrets(stack: Mapping[str, Any]) -> list[str]:
    """What the secrets of a service may refer to."""
    found = [one for one in SECRETS if stack.get(one.split(".")[0])]
    return found + [f"secret.{one}" for one in stack.get("secrets") or {}]


def is_secret(name: str) -> bool:
    """Whether a reference leads to a secret, whether or not the stack has it."""
    return name in SECRETS or name.startswith("secret.")


def values(outputs: Mapping[str, Any], service: str) -> dict[str, str]:
    """Reference → value, from the outputs of a provisioned stack, for one service."""
    found: dict[str, Any] = {}
    database, cache = outputs.get("database"), outputs.get("cache")
    if database:
        found |= {
            "database.host": database["host"],
            "database.port": database["port"],
            "database.name": (database.get("schemas") or {}).get(service, database["name"]),
            "database.user": database["users"].get(service, ""),
            "database.certificate_authority": f"{CERTIFICATES}/database.pem",
        }
    if cache:
        found |= {"cache.host": cache["host"], "cache.port": cache["port"], "cache.certificate_authority": f"{CERTIFICATES}/cache.pem"}
    for other, address in (outputs.get("services") or {}).items():
        found |= {f"service.{other}.{key}": value for key, value in address.items() if value is not None}
    return {name: str(value) for name, value in found.items()}


def replace(text: str, known: Mapping[str, str]) -> str:
    """A text with the references that are known replaced; the others stay."""
    return REFERENCE.sub(lambda match: known.get(match.group(1), match.group(0)), text)


def resolve(environment: Mapping[str, str], outputs: Mapping[str, Any], service: str) -> dict[str, str]:
    """An environment with its references replaced. UnknownReference for one that the outputs do not have."""
    known = values(outputs, service)

    def value(match: re.Match[str]) -> str:
        if match.group(1) not in known:
            raise UnknownReference(f"${{{match.group(1)}}} is not among the stack's outputs ({', '.join(sorted(known)) or 'none'}); run provision.yml first")
        return known[match.group(1)]

    return {name: REFERENCE.sub(value, str(text)) for name, text in environment.items()}
