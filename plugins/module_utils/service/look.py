# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the services of the host that a module runs on do now. Reads only."""

from __future__ import annotations

from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.service import host, state
from ansible_collections.flotilla.ec2.plugins.module_utils.service.layout import Layout


def services(layouts: list[Layout]) -> dict[str, dict[str, Any]]:
    """Service → what it does, as M(flotilla.ec2.service_info) returns it."""
    containers = host.inspect([one.container for one in layouts])
    units = host.units([name for one in layouts for name in (one.unit_name, one.retirement)])
    return {one.service: _seen(one, containers.get(one.container), units) for one in layouts}


def _seen(layout: Layout, container: dict[str, Any] | None, units: dict[str, dict[str, str]]) -> dict[str, Any]:
    unit, current = units.get(layout.unit_name), layout.current()
    wanted = layout.configuration(current) if current is not None else None
    retiring = units.get(layout.retirement, {}).get("ActiveState") == "active"
    found = state.described(container, unit, layout.prepared())
    return {**found, "current": current, "settled": state.settled(container, unit, wanted, layout.wanted.is_symlink(), retiring)}
