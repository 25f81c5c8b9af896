# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the plays of a release hand on to one another, read from the hosts' variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.flotilla.ec2.plugins.module_utils.release import colours, console, hooks, order, report, verdict
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError


def release_seen(hosts: list[str], hostvars: Mapping[str, Mapping[str, Any]], service: str | None = None) -> dict[str, dict[str, Any]]:
    """Host → {reachable, message, zone, services} and, for one service, C(service)."""
    seen = {}
    for host in hosts:
        variables = hostvars[host]
        looked = variables.get("__release_looked") or {}
        reachable = bool(looked) and not looked.get("unreachable") and "services" in looked
        services = looked.get("services") or {}
        seen[host] = {
            "reachable": reachable,
            "message": "" if reachable else str(looked.get("msg") or "it was not asked"),
            "zone": (variables.get("ec2_placement") or {}).get("availability_zone") or "",
            "services": services,
        }
        if service:
            seen[host]["service"] = services.get(service) or {}
    return seen


def _laid(variables: Mapping[str, Any]) -> bool:
    """Whether the release lies ready on a host."""
    laid = variables.get("__release_laid") or {}
    return bool(laid) and not laid.get("failed") and not laid.get("unreachable")


def release_unprepared(plan: Mapping[str, Any], hostvars: Mapping[str, Mapping[str, Any]]) -> str:
    """Why a host could not be prepared, or an empty text."""
    ends = {}
    for host in plan["preparing"]:
        variables = hostvars[host]
        laid = variables.get("__release_laid") or {}
        ends[host] = {"prepared": _laid(variables), "message": variables.get("__release_unprepared") or laid.get("msg")}
    return verdict.unprepared(ends, int(plan.get("max_failures") or 0) - len(plan.get("lost") or {}))


def _seconds(variables: Mapping[str, Any]) -> float | None:
    """From the first to the last thing done with a host, in seconds. To have been left for later is nothing done."""
    rows = [variables.get(name) or {} for name in ("__release_drained", "__release_activated", "__release_served")]
    done = [row for row in rows if row.get("at") and not row.get("postponed")]
    return round(max(row["at"] for row in done) - min(row["at"] - row.get("seconds", 0) for row in done), 1) if done else None


def _steps(variables: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of the steps of a host that were done."""
    names = {"drain": "__release_drained", "start": "__release_activated", "healthy": "__release_served"}
    rows = {step: variables.get(name) or {} for step, name in names.items()}
    return {step: row["seconds"] for step, row in rows.items() if row.get("seconds") is not None}


def _served(plan: Mapping[str, Any], variables: Mapping[str, Any]) -> str | None:
    """C(released) for a host that was put back into service, where that is the last thing done with it: to note it takes a process for each host."""
    served = variables.get("__release_served") or {}
    good = served and not (served.get("failed") or served.get("skipped") or served.get("unreachable"))
    return "released" if plan.get("plain") and good and not variables.get("__release_failure") else None


def _ends(plan: Mapping[str, Any], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Host → how the release ended on it."""
    ends = {}
    for host in plan["rolling"]:
        variables = hostvars[host]
        # Two colours are looked at again when the host is told which of them serves.
        last = variables.get("__release_settled" if plan.get("traffic") else "__release_looked") or {}
        looked = (last.get("services") or {}).get(plan["instance"]) or {}
        logs = variables.get("__release_logs") or {}
        ends[host] = {
            "outcome": variables.get("__release_outcome") or _served(plan, variables),
            "failure": variables.get("__release_failure"),
            "stranded": variables.get("__release_stranded"),
            "gone": bool(variables.get("__release_gone")),
            "lock_lost": any((variables.get(name) or {}).get("lock_lost") for name in ("__release_drained", "__release_served")),
            "logs": [*logs.get("stdout_lines", []), *logs.get("stderr_lines", [])][-20:],
            "running": looked.get("release"),
            "seconds": _seconds(variables),
            "steps": _steps(variables),
        }
        if plan.get("traffic"):
            ends[host] |= {"failure": _failure(variables) if host in plan["starting"] else "", "stranded": _unsettled(variables)}
    return ends


def _marks(plan: Mapping[str, Any], control: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The phases of a release that were come to, each with its begin; the last has no name and is the end."""
    marks = [("look", "__release_held"), ("prepare", "__release_made"), ("roll", "__release_started"), ("", "__release_judged")]
    if plan.get("migrating"):
        marks[2:3] = [("migrate", "__release_started"), ("roll", "__release_migrated")]
    times = [(phase, (control.get(name) or {}).get("at")) for phase, name in marks]
    return [(phase, float(at)) for phase, at in times if at]


def release_verdict(plan: Mapping[str, Any], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What became of the release: C({outcome, reason, hosts, phases, revert, result})."""
    marks = _marks(plan, hostvars["localhost"])
    phases = {phase: round(after - at, 1) for (phase, at), (_next, after) in zip(marks, marks[1:], strict=False)}
    ends = _ends(plan, hostvars)
    if plan.get("traffic"):
        shifted = (hostvars["localhost"].get("__release_shifted") or {}).get("shift") or {}
        return verdict.accompanied(colours.judge(dict(plan), ends, shifted, phases), _joined(hostvars))
    return verdict.accompanied(verdict.judge(dict(plan), ends, phases), _joined(hostvars))


def _joined(hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, str | None]:
    """Host that was born during the release → why it has not got it, or None."""
    control = hostvars["localhost"]
    found = {}
    for host in (control.get("__release_newcomers") or {}).get("hosts") or []:
        variables = hostvars[host] if host in hostvars else {}  # noqa: SIM401 - of an unknown host hostvars gives something undefined
        reason = variables.get("__release_unjoined") or control.get("__release_unjoined") or "it does not answer"
        found[host] = None if variables.get("__release_joined") else str(reason)
    return found


DONE = {"drain": "__release_drained", "start": "__release_activated", "healthy": "__release_served", "back": "__release_restored"}


def release_story(plan: Mapping[str, Any], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What happened when, and what was decided: C({timeline, decisions}). A page must not keep a release from being written down: it may be empty."""
    try:
        return _story(plan, hostvars)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return {"timeline": [], "decisions": [f"what was done could not be put together: {error!r}"]}


def _story(plan: Mapping[str, Any], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    control = hostvars["localhost"]
    marks = _marks(plan, control)
    bars = [{"lane": "release", "what": phase, "from": at, "to": after} for (phase, at), (_next, after) in zip(marks, marks[1:], strict=False)]
    for host in plan["rolling"]:
        done = {step: dict(row) for step, name in DONE.items() if (row := hostvars[host].get(name)) and not row.get("skipped")}
        bars += report.bars_of(host, done)
    shifted = (control.get("__release_shifted") or {}).get("shift") or {}
    bars += report.shares_of(shifted)
    return {"timeline": bars, "decisions": report.decisions(dict(plan), _ends(plan, hostvars), dict(shifted))}


def release_unmigrated(plan: Mapping[str, Any], reason: str, seconds: float) -> dict[str, Any]:
    """What becomes of a release whose migration has failed: C({reason, hosts, result})."""
    return verdict.unmigrated(dict(plan), reason, round(float(seconds), 1))


def release_hook_problems(named: Any) -> list[str]:
    """What is wrong with the hooks of a release."""
    return hooks.problems(named)


def _failure(variables: Mapping[str, Any]) -> str:
    """Why a colour did not start on a host, or an empty text."""
    if reason := variables.get("__release_uncoloured"):
        return str(reason)
    started = variables.get("__release_activated")
    if started is None or started.get("unreachable"):
        return f"it has ceased to answer: {(started or {}).get('msg') or 'no reason known'}"
    return str(started.get("msg") or "")


def _unsettled(variables: Mapping[str, Any]) -> str:
    """What could not be done on a host after a shift, or an empty text."""
    rows = [variables.get(name) or {} for name in ("__release_settled", "__release_retired")]
    reasons = [str(row["msg"]) for row in rows if row.get("msg") and row.get("failed_when_result") is False]
    return "; ".join([*reasons, *([str(variables["__release_unsettled"])] if variables.get("__release_unsettled") else [])])


def release_failures(hosts: list[str], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Host → why the colour did not start there, of those on which it did not."""
    failures = {host: _failure(hostvars[host]) for host in hosts}
    return {host: reason for host, reason in failures.items() if reason}


def release_colouring(control: Mapping[str, Any], stage: str) -> list[str]:
    """The hosts that a play of a release with two colours is for, by what the control node has found out: C(start) or C(start_hooked) before the traffic
    goes over; after it C(settle) and C(hooked) when it has, else C(failed). A play for no host costs nothing, a skipped task a process for each host."""
    plan = (control.get("__release_made") or {}).get("plan") or {}
    hooked = set(plan.get("hooked") or [])
    if stage in ("start", "start_hooked"):
        own = not hooked.isdisjoint(("before_host", "before_traffic"))
        return list(plan.get("starting") or []) if own == (stage == "start_hooked") else []
    shifted = ((control.get("__release_shifted") or {}).get("shift") or {}).get("outcome") == "shifted"
    wanted = {"settle": shifted, "hooked": shifted and not hooked.isdisjoint(("after_traffic", "after_host")), "failed": not shifted}[stage]
    return list(plan.get("colouring") or []) if wanted else []


def release_batched(hostvars: Mapping[str, Mapping[str, Any]], stage: str) -> list[str]:
    """The hosts that a play of a release in batches is for: C(roll), or C(roll_hooked) where there is more to it, and after either C(postponed)."""
    control = hostvars["localhost"] if "localhost" in hostvars else {}  # noqa: SIM401 - of an unknown host hostvars gives something undefined
    plan = (control.get("__release_made") or {}).get("plan") or {}
    batched = list(plan.get("batched") or [])
    if stage == "postponed":
        return [host for host in batched if (hostvars[host].get("__release_drained") or {}).get("postponed")]
    return batched if bool(plan.get("plain")) == (stage == "roll") else []


def release_doomed(traffic: Mapping[str, Any], shifted: Mapping[str, Any], drain_seconds: int) -> dict[str, Any]:
    """The colour that is to be stopped, C({instance, after_seconds}), or nothing."""
    return colours.doomed(traffic, shifted, int(drain_seconds))


def release_instances(model: Mapping[str, Any]) -> list[str]:
    """The names of a model's services on the hosts, each colour for itself."""
    return [instance for service in model["services"] for instance in service["instances"]]


def release_order(model: Mapping[str, Any]) -> list[str]:
    """The names of a model's services in the order in which they are released."""
    return order.of_model(list(model["services"]))


def console_command(
    model: Mapping[str, Any],
    groups: Mapping[str, list[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
    program: str,
    service: str = "",
    host: str = "",
    new: bool = False,
    user: str = "",
    key: str = "",
) -> dict[str, Any]:
    """C({command}), the ssh command that opens a program of a service, or C({refusal})."""
    try:
        where, remote = console.command(dict(model), dict(groups), program, service=service, host=host)
    except ReleaseError as error:
        return {"command": [], "refusal": str(error)}
    variables = hostvars[where]
    address, options = variables.get("ansible_host") or where, str(variables.get("ansible_ssh_common_args") or "")
    return {"command": console.ssh(address, user, key, options, [*remote, "new"] if new else remote), "refusal": ""}


def certificate_for(pair: tuple[Mapping[str, Any], str]) -> dict[str, str]:
    """What a host is given of an authority, for one of its clients."""
    authority, service = pair
    return {"service": service, "name": authority["name"], "file": authority["file"]}


def user_to_rotate(users: list[dict[str, Any]], service: str = "") -> dict[str, Any]:
    """The database user of the service named, or the only one."""
    known = {user["service"]: user for user in users}
    if service in known:
        return known[service]
    if not known:
        raise AnsibleFilterError("no service of this stack has a database user, there is no password to rotate.")
    if not service and len(known) == 1:
        return next(iter(known.values()))
    asked = f"{service} has no database user" if service else "release_service is missing: whose password shall be rotated?"
    raise AnsibleFilterError(f"{asked} Services with one: {', '.join(known)}. Fix: -e release_service=<one of these>.")


def boot_collected(hostvars: Mapping[str, Mapping[str, Any]], fleet: str) -> dict[str, dict[str, Any]]:
    """Host → what M(flotilla.ec2.boot_files_info) has collected on it, of the hosts of a fleet that have been asked."""
    found = {}
    for host in hostvars:
        variables = hostvars[host]
        collected = (variables.get("__boot_collected") or {}).get("boot")
        if collected and (variables.get("ec2_tags") or {}).get("flotilla:fleet") == fleet:
            found[host] = collected
    return found


def boot_pattern(plan: Mapping[str, Any], hostvars: Mapping[str, Mapping[str, Any]]) -> str:
    """The host whose files new instances get: of those that the release was laid on, one with the most releases; empty for none."""
    prepared = [host for host in plan["preparing"] if _laid(hostvars[host])]

    def known(host: str) -> int:
        services = (hostvars[host].get("__release_looked") or {}).get("services") or {}
        return sum(len(one.get("prepared") or []) for one in services.values())

    return max(sorted(prepared), key=known) if prepared else ""


class FilterModule:
    """The filters of the release role."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "boot_collected": boot_collected,
            "boot_pattern": boot_pattern,
            "certificate_for": certificate_for,
            "console_command": console_command,
            "release_batched": release_batched,
            "release_colouring": release_colouring,
            "release_hook_problems": release_hook_problems,
            "release_doomed": release_doomed,
            "release_failures": release_failures,
            "release_instances": release_instances,
            "release_order": release_order,
            "release_seen": release_seen,
            "release_story": release_story,
            "release_unmigrated": release_unmigrated,
            "release_unprepared": release_unprepared,
            "release_verdict": release_verdict,
            "user_to_rotate": user_to_rotate,
        }
