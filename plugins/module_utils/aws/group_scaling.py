# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What scales an Auto Scaling group: target tracking policies, scheduled actions and the hook that gives a leaving host time. Never its desired capacity.

Only what bears OWN belongs to this collection; policies, actions and hooks that people have made stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.aws.common import Step, code_of

OWN = "flotilla-"
CPU, REQUESTS, SCHEDULE, HOOK = f"{OWN}cpu", f"{OWN}requests", f"{OWN}schedule-", f"{OWN}leave"
LEAVING = "autoscaling:EC2_INSTANCE_TERMINATING"


def find(autoscaling: Any, group: str) -> dict[str, list[dict[str, Any]]]:
    """What scales a group now: {policies, actions, hooks}, those of the collection; of a group that does not exist, nothing."""
    if not autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]:
        return {"policies": [], "actions": [], "hooks": []}
    policies = [one for page in autoscaling.get_paginator("describe_policies").paginate(AutoScalingGroupName=group) for one in page["ScalingPolicies"]]
    pages = autoscaling.get_paginator("describe_scheduled_actions").paginate(AutoScalingGroupName=group)
    actions = [one for page in pages for one in page["ScheduledUpdateGroupActions"]]
    try:
        hooks = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"]
    except autoscaling.exceptions.ClientError as error:
        if code_of(error) != "ValidationError":  # the group has gone in between
            raise
        hooks = []
    return {
        "policies": [one for one in policies if one["PolicyName"].startswith(OWN)],
        "actions": [one for one in actions if one["ScheduledActionName"].startswith(OWN)],
        "hooks": [one for one in hooks if one["LifecycleHookName"].startswith(OWN)],
    }


def resource_label(load_balancer: str, target_group: str) -> str:
    """How ALBRequestCountPerTarget names what it counts: app/<name>/<id>/targetgroup/<name>/<id>, the ends of both ARNs."""
    return f"{load_balancer.partition(':loadbalancer/')[2]}/{target_group.rpartition(':')[2]}"


def policies(wanted: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Name → parameters of PutScalingPolicy, the group left out."""
    metrics: dict[str, tuple[float, dict[str, str]]] = {}
    if wanted.get("cpu_percent") is not None:
        metrics[CPU] = (float(wanted["cpu_percent"]), {"PredefinedMetricType": "ASGAverageCPUUtilization"})
    requests = wanted.get("requests")
    if requests:
        label = resource_label(requests["load_balancer_arn"], requests["target_group_arn"])
        metrics[REQUESTS] = (float(requests["per_minute"]), {"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": label})
    return {
        name: {
            "PolicyType": "TargetTrackingScaling",
            "EstimatedInstanceWarmup": int(wanted["warmup_seconds"]),
            "TargetTrackingConfiguration": {
                "PredefinedMetricSpecification": metric,
                "TargetValue": target,
                "DisableScaleIn": not wanted["scale_in"],
            },
        }
        for name, (target, metric) in metrics.items()
    }


def actions(schedule: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name → parameters of PutScheduledUpdateGroupAction, the group left out."""
    return {
        f"{SCHEDULE}{one['name']}": {
            "Recurrence": one["cron"],
            "TimeZone": one["time_zone"],
            "MinSize": int(one["min"]),
            **({"DesiredCapacity": int(one["desired"])} if one.get("desired") is not None else {}),
        }
        for one in schedule
    }


def hooks(seconds: int | None) -> dict[str, dict[str, Any]]:
    """Name → parameters of PutLifecycleHook, the group left out. A host that says nothing in time is ended all the same."""
    return {HOOK: {"LifecycleTransition": LEAVING, "HeartbeatTimeout": seconds, "DefaultResult": "CONTINUE"}} if seconds else {}


def _contains(now: Any, wanted: Any) -> bool:
    """Whether what the API answers says what was asked; it may say more."""
    if isinstance(wanted, Mapping):
        # DisableScaleIn is left out of answers, or false, when it is false.
        return isinstance(now, Mapping) and all(_contains(now.get(key, False if value is False else None), value) for key, value in wanted.items())
    return bool(now == wanted)


def _differ(now: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, dict[str, Any]]) -> list[str]:
    """The names whose thing is not there or says something else. What a schedule no longer sets must go, too: DesiredCapacity."""
    return [
        name
        for name, parameters in wanted.items()
        if name not in now or not _contains(now[name], parameters) or ("DesiredCapacity" in now[name]) != ("DesiredCapacity" in parameters)
    ]


def steps(group: str, current: Mapping[str, list[dict[str, Any]]], wanted: Mapping[str, Any] | None) -> list[Step]:
    """The calls that lead from what is there to what is wanted (None: nothing of ours)."""
    kinds: list[tuple[str, str, str, str, dict[str, dict[str, Any]]]] = [
        ("policies", "PolicyName", "put_scaling_policy", "delete_policy", policies(wanted) if wanted else {}),
        ("actions", "ScheduledActionName", "put_scheduled_update_group_action", "delete_scheduled_action", actions(wanted["schedule"]) if wanted else {}),
        ("hooks", "LifecycleHookName", "put_lifecycle_hook", "delete_lifecycle_hook", hooks(wanted["leave_seconds"]) if wanted else {}),
    ]
    found: list[Step] = []
    for kind, key, put, delete, asked in kinds:
        now = {one[key]: one for one in current[kind]}
        differing = _differ(now, asked)
        # A scheduled action that is put again keeps what is not named, so one that lost a value is made anew.
        gone = [name for name, one in now.items() if name not in asked or ("DesiredCapacity" in one and "DesiredCapacity" not in asked[name])]
        found += [(delete, {"AutoScalingGroupName": group, key: name}) for name in gone]
        found += [(put, {"AutoScalingGroupName": group, key: name, **asked[name]}) for name in differing]
    return found
