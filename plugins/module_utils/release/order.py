# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""In which order the services of a stack are released. No input or output, and nothing of Ansible."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

REFERENCE = re.compile(r"\$\{service\.([a-z0-9-]+)\.")


def in_order(after: Mapping[str, Iterable[str]], stateful: Iterable[str] = ()) -> list[str]:
    """The names of after, each behind all that it refers to; of those that could be next, the stateful ones first. A circle is cut where it begins."""
    waiting, first = list(after), set(stateful)
    found: list[str] = []
    while waiting:
        ready = [name for name in waiting if not (set(after[name]) & set(waiting)) - {name}] or waiting[:1]
        chosen = next((name for name in ready if name in first), ready[0])
        found.append(chosen)
        waiting.remove(chosen)
    return found


def of_model(services: list[dict[str, Any]]) -> list[str]:
    """The order of the services of a model."""
    after = {service["name"]: [one["name"] for one in services if service["name"] in (one.get("clients") or [])] for service in services}
    return in_order(after, [service["name"] for service in services if service.get("volumes") or service.get("strategy") == "recreate"])


def of_stack(services: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The order of the services of a stack file."""
    after = {name: REFERENCE.findall(" ".join(str(value) for value in (service.get("environment") or {}).values())) for name, service in services.items()}
    return in_order(after, [name for name, service in services.items() if service.get("volumes") or service.get("strategy") == "recreate"])
