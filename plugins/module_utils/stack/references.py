# Copyright: the flotilla.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""References in a stack file, `${database.host}`: what can be named, and their values once the stack is provisioned."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

REFERENCE = re.compile(r"\$\{([^}]*)\}")
CERTIFICATES = "/run/flotilla/certificates"  # where a container finds the authorities of what it connects to
DATABASE = ("host", "port", "name", "user", "certificate_authority")
SECRETS = {"database.password": "password"}  # reference → field of the user's secret


class UnknownReference(ValueError):
    """A reference names nothing; the text lists what exists."""


def named(text: str) -> list[str]:
    """The references in a text, in order: ["database.host"]."""
    return REFERENCE.findall(text)


def available(database: bool) -> list[str]:
    """What an environment value may refer to."""
    return [f"database.{one}" for one in DATABASE] if database else []


def values(outputs: Mapping[str, Any], service: str) -> dict[str, str]:
    """Reference → value, from the outputs of a provisioned stack, for one service."""
    database = outputs.get("database")
    if not database:
        return {}
    return {
        "database.host": str(database["host"]),
        "database.port": str(database["port"]),
        "database.name": str(database["name"]),
        "database.user": str(database["users"].get(service, "")),
        "database.certificate_authority": f"{CERTIFICATES}/database.pem",
    }


def resolve(environment: Mapping[str, str], outputs: Mapping[str, Any], service: str) -> dict[str, str]:
    """An environment with its references replaced. UnknownReference for one that the outputs do not have."""
    known = values(outputs, service)

    def value(match: re.Match[str]) -> str:
        if match.group(1) not in known:
            raise UnknownReference(f"${{{match.group(1)}}} is not among the stack's outputs ({', '.join(sorted(known)) or 'none'}); run provision.yml first")
        return known[match.group(1)]

    return {name: REFERENCE.sub(value, str(text)) for name, text in environment.items()}
