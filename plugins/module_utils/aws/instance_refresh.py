# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Another version of its launch template on every host of an Auto Scaling group, by instance refresh: what is asked for, and when it has failed.

AWS moves on when a new instance is in service and warmed up, whether it serves or not. So each new one is watched here: one that its group gives up, or
that does not serve when its warm-up ends, has the refresh rolled back while the hosts before it are still there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.aws.common import code_of
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import Clock

Document = dict[str, Any]
ACTIVE = ("Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking")
UNDER_WAY = ("Pending", "InProgress", "Baking")  # of these, what can be rolled back
LATEST, FLOATING = "$Latest", ("$Latest", "$Default")
EVIDENCE_LINES = 12
BOOT_SECONDS = 60  # of a launch until the instance is in service, for what is told of the minutes that it takes


class RefreshError(Exception):
    """What keeps a group from being refreshed, or has ended a refresh; the text names the fix."""


# ---- what there is


def look(autoscaling: Any, ec2: Any, name: str) -> Document:
    """The group with its template's newest version, its instances and its newest refresh. RefreshError when it does not exist or has no launch template."""
    found = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    if not found:
        raise RefreshError(f"the group {name} does not exist. Fix: run provision.yml.")
    group = found[0]
    template = group.get("LaunchTemplate")
    if not template:
        raise RefreshError(f"the group {name} has no launch template of its own. Fix: run provision.yml.")
    refreshes = autoscaling.describe_instance_refreshes(AutoScalingGroupName=name, MaxRecords=5)["InstanceRefreshes"]
    instances = members(group)
    wanted = sorted({one["version"] for one in instances.values() if one["version"] and one["template"] == template["LaunchTemplateId"]})
    rows = ec2.describe_launch_template_versions(LaunchTemplateId=template["LaunchTemplateId"], Versions=[LATEST, *wanted])["LaunchTemplateVersions"]
    return {
        "name": name,
        "desired": int(group["DesiredCapacity"]),
        "max": int(group["MaxSize"]),
        "template": template["LaunchTemplateId"],
        "version": str(template.get("Version") or "$Default"),
        "newest": str(max(int(row["VersionNumber"]) for row in rows)),
        "images": {str(row["VersionNumber"]): image_of(row["LaunchTemplateData"]) for row in rows},
        "instances": instances,
        "target_groups": list(group.get("TargetGroupARNs") or []),
        "suspended": sorted(one["ProcessName"] for one in group.get("SuspendedProcesses") or []),
        "refresh": next((one for one in refreshes if one["Status"] in ACTIVE), None),
    }


def image_of(data: Mapping[str, Any]) -> str:
    """Image and instance type of a launch template's version, in words."""
    return ", ".join(str(data[key]) for key in ("ImageId", "InstanceType") if data.get(key))


def members(group: Mapping[str, Any]) -> dict[str, Document]:
    """Instance → {template, version, state, healthy, protected} of a group as DescribeAutoScalingGroups shows it."""
    return {
        one["InstanceId"]: {
            "template": (one.get("LaunchTemplate") or {}).get("LaunchTemplateId"),
            "version": str((one.get("LaunchTemplate") or {}).get("Version") or ""),
            "state": one["LifecycleState"],
            "healthy": one["HealthStatus"].lower() == "healthy",
            "protected": bool(one.get("ProtectedFromScaleIn")),
        }
        for one in group.get("Instances") or []
    }


def staying(found: Mapping[str, Any]) -> dict[str, Document]:
    """The instances that the group is not ending."""
    return {name: one for name, one in found["instances"].items() if not one["state"].startswith(("Terminat", "Detach", "Warmed"))}


def outdated(found: Mapping[str, Any]) -> list[str]:
    """The instances that are not of the template's newest version."""
    return sorted(name for name, one in staying(found).items() if (one["template"], one["version"]) != (found["template"], found["newest"]))


def version_before(found: Mapping[str, Any]) -> str:
    """The version to which a rollback goes: the group's own, or that which most of its hosts have, the older one of equals."""
    if found["version"] not in FLOATING:
        return str(found["version"])
    counts = Counter(one["version"] for one in staying(found).values() if one["template"] == found["template"] and one["version"])
    if not counts:
        return str(found["newest"])
    return min(counts, key=lambda version: (-counts[version], int(version)))


# ---- what is asked for


def preferences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Document:
    """RefreshPreferences: so many more hosts than before at a time, none fewer, and back when something is wrong.

    wanted: {batch (hosts), warmup_seconds, checkpoints ([percent]), checkpoint_seconds, bake_seconds, alarms ([name])}.
    """
    more = math.ceil(100 * wanted["batch"] / max(1, found["desired"]))
    asked: Document = {
        "MinHealthyPercentage": 100,
        "MaxHealthyPercentage": 100 + min(100, more),
        "InstanceWarmup": wanted["warmup_seconds"],
        "SkipMatching": True,
        "AutoRollback": True,
    }
    if wanted["checkpoints"]:
        # "To replace all instances in the Auto Scaling group, the last number in the array must be 100" (CheckpointPercentages)
        asked |= {"CheckpointPercentages": [*[one for one in wanted["checkpoints"] if one < 100], 100], "CheckpointDelay": wanted["checkpoint_seconds"]}
    if wanted["bake_seconds"]:
        asked["BakeTime"] = wanted["bake_seconds"]
    if wanted["alarms"]:
        asked["AlarmSpecification"] = {"Alarms": list(wanted["alarms"])}
    return asked


def refusals(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Why the group cannot be refreshed, each with its fix."""
    problems = []
    points = wanted["checkpoints"]
    if points != sorted(set(points)) or any(not 1 <= one <= 100 for one in points):
        problems.append(f"checkpoints: {points} are not percentages in ascending order. Fix: for example [25, 50]")
    for name, low, high in (("batch", 1, 1000), ("warmup_seconds", 1, 3600), ("checkpoint_seconds", 0, 172800), ("bake_seconds", 0, 172800)):
        if not low <= wanted[name] <= high:
            problems.append(f"{name}: {wanted[name]} is not between {low} and {high}")
    if len(wanted["alarms"]) > 10:
        problems.append(f"alarms: {len(wanted['alarms'])} of them; an instance refresh watches 10 at most. Fix: name a composite alarm")
    if not staying(found):
        problems.append("the group has no host. Fix: scale.yml, or look at its scaling activities")
    held = sorted(set(found["suspended"]) & {"Launch", "Terminate", "AddToLoadBalancer"})
    if held:
        command = f"aws autoscaling resume-processes --auto-scaling-group-name {found['name']} --scaling-processes {' '.join(held)}"
        problems.append(f"{', '.join(held)} of {found['name']} are suspended, so that it cannot replace hosts. Fix: {command}")
    for word, members_so in (
        ("protected from scale-in", [name for name, one in staying(found).items() if one["protected"]]),
        ("on standby", [name for name, one in staying(found).items() if one["state"] == "Standby"]),
    ):
        if members_so:
            way = "aws autoscaling set-instance-protection --no-protected-from-scale-in" if word.startswith("prot") else "aws autoscaling exit-standby"
            problems.append(f"{', '.join(sorted(members_so))}: {word}; a refresh would wait for an hour and fail. Fix: {way}")
    return problems


def minutes(found: Mapping[str, Any], wanted: Mapping[str, Any], hosts: int) -> int:
    """About how long it takes: each batch boots and warms up, each checkpoint but the last pauses."""
    seconds = math.ceil(hosts / max(1, wanted["batch"])) * (BOOT_SECONDS + wanted["warmup_seconds"]) + wanted["bake_seconds"]
    seconds += len([one for one in wanted["checkpoints"] if one < 100]) * wanted["checkpoint_seconds"]
    return math.ceil(seconds / 60)


def shown(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What will be done, as rows of a page: (title, text)."""
    old = outdated(found)
    versions = sorted({found["instances"][one]["version"] for one in old}, key=lambda text: int(text or 0))
    rows = []
    if found["refresh"]:
        since = f"{found['refresh']['StartTime']:%H:%M:%S}" if isinstance(found["refresh"].get("StartTime"), datetime) else "before"
        rows.append(("unfinished", f"a refresh is {found['refresh']['Status']} since {since}: it is waited for, not begun twice"))
    rows += [("from", f"version {one} ({found['images'].get(one, 'its template is gone')})") for one in versions]
    rows.append(("to", f"version {found['newest']} ({found['images'].get(found['newest'], '')})"))
    rows += [("replaced", f"{one}  version {found['instances'][one]['version']} → {found['newest']}") for one in old]
    kept = len(staying(found)) - len(old)
    if kept:
        rows.append(("stay", f"{kept} of {len(staying(found))} hosts, which have it already"))
    if old:
        batch = min(wanted["batch"], found["desired"])
        rows.append(("in service", f"never fewer than {found['desired']}: {batch} more at a time, {wanted['warmup_seconds']} s to warm up"))
        if found["desired"] >= found["max"]:
            rows.append(("meanwhile", f"more hosts than max ({found['max']}), with what that means for the database's connections"))
        if wanted["checkpoints"]:
            marks = ", ".join(f"{one} %" for one in wanted["checkpoints"] if one < 100)
            rows.append(("checkpoints", f"{marks}, {wanted['checkpoint_seconds']} s each"))
        if wanted["bake_seconds"]:
            rows.append(("watched", f"{wanted['bake_seconds']} s after the last host"))
        alarms = f", alarm {', '.join(wanted['alarms'])}" if wanted["alarms"] else ""
        rows.append(("back if", f"a new host does not serve{alarms}; to version {version_before(found)}"))
        rows.append(("expected", f"about {minutes(found, wanted, len(old))} min"))
    elif found["version"] != LATEST and not found["refresh"]:
        rows.append(("group", f"version {found['version']} → {LATEST}: new hosts get what provision.yml makes"))
    return rows


def page(title: str, rows: Iterable[tuple[str, str]], check: bool) -> str:
    """A title and its rows."""
    return "\n".join([title + (" (check mode: nothing is changed)" if check else ""), "", *(f"  {name:<13} {text}" for name, text in rows)])


# ---- doing it


@dataclass
class Rollout:
    """One group on its way to a version. target_groups: those in which a new host must be healthy; services without one are not looked at."""

    autoscaling: Any
    ec2: Any
    elbv2: Any
    logs: Any
    group: str
    target_groups: list[str]
    log_group: str
    say: Callable[[str], None]
    clock: Clock = field(default_factory=Clock)
    poll_seconds: float = 2.0
    seen: dict[str, str] = field(default_factory=dict)  # new instance → what was told of it last
    pending: set[str] = field(default_factory=set)  # new instances that were seen before they were in service
    since: dict[str, float] = field(default_factory=dict)  # new instance → when it was in service
    served: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)

    def begin(self, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
        """Start the refresh; its id.

        "A rollback is not supported [when] the Auto Scaling group uses the launch template's $Latest or $Default version" (StartInstanceRefresh,
        AutoRollback): the group gets the version that its hosts have first, and so do the instances that it launches when the refresh has failed.
        """
        before = version_before(found)
        if found["version"] in FLOATING:
            self.pin(found, before)
        desired = {"LaunchTemplate": {"LaunchTemplateId": found["template"], "Version": found["newest"]}}
        asked = preferences(found, wanted)
        made = self.autoscaling.start_instance_refresh(AutoScalingGroupName=self.group, Strategy="Rolling", DesiredConfiguration=desired, Preferences=asked)
        return str(made["InstanceRefreshId"])

    def pin(self, found: Mapping[str, Any], version: str) -> None:
        """Have the group launch instances of this version."""
        template = {"LaunchTemplateId": found["template"], "Version": version}
        self.autoscaling.update_auto_scaling_group(AutoScalingGroupName=self.group, LaunchTemplate=template)

    def refresh(self, identifier: str) -> Document:
        rows = self.autoscaling.describe_instance_refreshes(AutoScalingGroupName=self.group, InstanceRefreshIds=[identifier])["InstanceRefreshes"]
        return dict(rows[0])

    def follow(self, identifier: str) -> Document:
        """Wait until a refresh has ended, telling how far it is; what DescribeInstanceRefreshes shows of it then."""
        told = ""
        while True:
            # The group first: an instance that is ended while the refresh is not yet rolled back is not ended by the rollback.
            group = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self.group])["AutoScalingGroups"][0]
            refresh = self.refresh(identifier)
            line = self.line(refresh)
            if line != told:
                self.say(line)
                told = line
            if refresh["Status"] not in ACTIVE:
                return refresh
            if refresh["Status"] in UNDER_WAY and self.ours(refresh):
                self.watch(members(group), refresh)
                if self.failures:
                    self.back(refresh)
            self.clock.sleep(self.poll_seconds)

    @staticmethod
    def ours(refresh: Mapping[str, Any]) -> bool:
        """Whether it can be rolled back."""
        return bool((refresh.get("Preferences") or {}).get("AutoRollback") and (refresh.get("DesiredConfiguration") or {}).get("LaunchTemplate"))

    @staticmethod
    def line(refresh: Mapping[str, Any]) -> str:
        left = refresh.get("InstancesToUpdate")
        reason = f": {refresh['StatusReason']}" if refresh.get("StatusReason") else ""
        return f"{refresh['Status']} {refresh.get('PercentageComplete', 0)} %" + (f", {left} to go" if left else "") + reason

    def watch(self, instances: Mapping[str, Document], refresh: Mapping[str, Any]) -> None:
        """Look at the hosts of the new version. What has failed is noted with its evidence."""
        version = str(refresh["DesiredConfiguration"]["LaunchTemplate"]["Version"])
        warmup = float(refresh["Preferences"].get("InstanceWarmup") or 0)
        healths = {arn: self.healths(arn) for arn in self.target_groups} if any(one["version"] == version for one in instances.values()) else {}
        for name, one in instances.items():
            if one["version"] != version:
                continue
            states = [rows.get(name, "unused") for rows in healths.values()]
            if one["state"].startswith("Pending"):
                self.pending.add(name)
            serves = one["state"] == "InService" and all(state == "healthy" for state in states)
            if serves and name not in self.served:
                self.served.add(name)
                self.tell(name, "serves")
            elif name not in self.served:
                self.tell(name, {"Pending": "is launched", "InService": "runs"}.get(str(one["state"]), str(one["state"])))
            if name in self.served:
                continue
            if one["state"] == "InService" and name not in self.since:
                # One that ran at the first look was launched by an earlier run.
                self.since[name] = self.clock.now() - (0.0 if name in self.pending else self.age(name))
            if not one["healthy"]:
                self.failed(name, f"{name} did not become a host: its group found it unhealthy")
            elif name in self.since and self.clock.now() - self.since[name] >= warmup - 2 * self.poll_seconds:
                missing = sorted({state for state in states if state != "healthy"})
                self.failed(name, f"{name} did not serve within the {warmup:.0f} s of its warm-up (in its target groups it is {', '.join(missing)})")
        for name in [name for name in self.seen if name not in instances and name not in self.served]:
            self.failed(name, f"{name} did not become a host: its group has ended it")

    def age(self, name: str) -> float:
        """Seconds since an instance was launched, for one that an earlier run has launched."""
        pages = self.ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": [name]}])["Reservations"]
        launched = [one["LaunchTime"] for row in pages for one in row["Instances"]]
        return (datetime.now(UTC) - launched[0]).total_seconds() if launched else 0.0

    def tell(self, name: str, what: str) -> None:
        if self.seen.get(name) != what:
            self.seen[name] = what
            self.say(f"{name} {what}")

    def healths(self, arn: str) -> dict[str, str]:
        rows = self.elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        return {row["Target"]["Id"]: row["TargetHealth"]["State"] for row in rows}

    def failed(self, name: str, reason: str) -> None:
        if any(one.startswith(name) for one in self.failures):
            return
        self.failures.append(reason)
        lines = self.boot_log(name)
        self.evidence += [f"Last lines of {name}:", *(f"  | {line}" for line in lines)] if lines else [f"{name} has left no log."]

    def boot_log(self, name: str) -> list[str]:
        """What an instance has said of its way to a host: in the log group, else on its console. A log must not keep a refresh from being rolled back."""
        try:
            rows = self.logs.get_log_events(logGroupName=self.log_group, logStreamName=name, limit=EVIDENCE_LINES, startFromHead=False)["events"]
            if rows:
                return [line for row in rows for line in row["message"].splitlines()][-EVIDENCE_LINES:]
        except Exception as error:
            if not code_of(error):
                raise
        try:
            text = str(self.ec2.get_console_output(InstanceId=name, Latest=True).get("Output") or "")
        except Exception as error:
            if not code_of(error):
                raise
            text = ""
        return text.strip().splitlines()[-EVIDENCE_LINES:]

    def back(self, refresh: Mapping[str, Any]) -> None:
        """Have AWS undo the refresh. One that has ended meanwhile is left to whoever follows it."""
        self.say(f"{self.failures[-1]}: back to the version before")
        try:
            self.autoscaling.rollback_instance_refresh(AutoScalingGroupName=self.group)
        except Exception as error:
            if code_of(error) not in ("ActiveInstanceRefreshNotFound", "ActiveInstanceRefreshNotFoundFault"):
                raise


def verdict(found: Mapping[str, Any], refresh: Mapping[str, Any], failures: list[str], evidence: list[str]) -> str:
    """Why a refresh that has ended is a failure, with what it left and the way out; an empty text for a success."""
    status = str(refresh["Status"])
    if status == "Successful":
        return ""
    counts = Counter(one["version"] for one in staying(found).values())
    stand = ", ".join(f"{count} on version {version}" for version, count in sorted(counts.items()))
    reason = failures[0] if failures else str((refresh.get("RollbackDetails") or {}).get("RollbackReason") or refresh.get("StatusReason") or "no reason given")
    told = str(refresh.get("StatusReason") or "")
    lines = [f"{reason}.".replace("..", "."), *evidence]
    if told and told != reason and not failures:
        lines.append(f"AWS says: {told}")
    ends = {
        "RollbackSuccessful": "The refresh was rolled back",
        "RollbackFailed": "The refresh could not be rolled back: AWS gave up",
        "Cancelled": "The refresh was cancelled, and what it had done stays",
        "Failed": "The refresh has failed, and what it had done stays",
    }
    lines.append(f"{ends.get(status, status)}. Hosts of {found['name']}: {stand}. New ones get version {found['version']}.")
    again = "run the same command again" if status in ("Cancelled", "Failed", "RollbackFailed") else "mend what is said above, provision.yml, then this again"
    lines.append(f"Fix: {again}.")
    return "\n".join(lines)
