# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which processes of an Auto Scaling group are suspended for a release, and which of them are ours to resume.

ReplaceUnhealthy would end a host that is out of service, AZRebalance move one, AlarmNotification and ScheduledActions change their number;
HealthCheck would mark one, which nothing but an API call takes back, so that it is ended once the release is over (Amazon EC2 Auto Scaling
user guide, "Suspend-resume processes" and "Health checks for instances in an Auto Scaling group").
"""

from __future__ import annotations

from typing import Any

FIGHTING = ["AZRebalance", "AlarmNotification", "HealthCheck", "ReplaceUnhealthy", "ScheduledActions"]


def to_suspend(suspended: list[str], wanted: list[str] | None = None) -> list[str]:
    """What runs and should not: what somebody else has suspended before us stays theirs."""
    return sorted(set(FIGHTING if wanted is None else wanted) - set(suspended))


def to_resume(suspended: list[str], ours: list[str]) -> list[str]:
    """What we had suspended and still is."""
    return sorted(set(suspended) & set(ours))


def newcomers(groups: dict[str, dict[str, Any]], known: list[str]) -> list[str]:
    """The instances of the groups (name → {instances: {id: lifecycle state}}) that are not known; those that are on their way out are none."""
    found = {host: state for group in groups.values() for host, state in group["instances"].items()}
    return sorted(host for host, state in found.items() if host not in known and not state.startswith(("Terminat", "Detach", "Warmed")))


def departed(groups: dict[str, dict[str, Any]], states: dict[str, str], known: list[str]) -> list[str]:
    """The known hosts that their group is ending, or that EC2 (id → state) has no more."""
    found = {host: state for group in groups.values() for host, state in group["instances"].items()}
    gone = {host for host in known if states.get(host, "terminated") in ("shutting-down", "terminated")}
    return sorted(host for host in known if host in gone or found.get(host, "").startswith("Terminat"))


def on_its_way_out(instance: str, scaling: tuple[str, bool]) -> str:
    """Why a host leaves or has left, from its instance's state and its lifecycle state and health in its group; an empty text for one that stays, and for
    one that EC2 does not know by this name (its state is an empty text)."""
    lifecycle, unhealthy = scaling
    if lifecycle.startswith("Terminat"):
        return f"its Auto Scaling group is ending it ({lifecycle})"
    if instance not in ("", "pending", "running"):
        return f"the instance is {instance}"
    return "its Auto Scaling group found it unhealthy and replaces it" if unhealthy else ""


def doubtful(seen: dict[str, dict[str, Any]], balanced: bool) -> list[str]:
    """The hosts of a plan that may be on their way out: what serves is not. Of a service without a load balancer that may be any."""
    return sorted(
        host
        for host, row in seen.items()
        if not balanced or not row.get("reachable") or not row.get("running") or (row.get("target") or {}).get("state") != "healthy"
    )


def merged(first: dict[str, list[str]], second: dict[str, list[str]]) -> dict[str, list[str]]:
    """Two notes {group: [processes]} as one."""
    together = {name: sorted({*first.get(name, []), *second.get(name, [])}) for name in {*first, *second}}
    return {name: processes for name, processes in sorted(together.items()) if processes}
