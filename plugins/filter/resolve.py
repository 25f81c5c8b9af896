# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters over the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.flotilla.ec2.plugins.module_utils.stack import references


def resolve(service: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a service of the model with its references replaced by the stack's outputs."""
    if "environment" not in service or "name" not in service:
        raise AnsibleFilterError("flotilla.ec2.resolve: give a service of the model, e.g. ansible_facts['flotilla'].services[0]")
    try:
        return references.resolve(service["environment"], outputs, service["name"])
    except references.UnknownReference as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Registered as flotilla.ec2.resolve."""

    def filters(self) -> dict[str, Any]:
        return {"resolve": resolve}
