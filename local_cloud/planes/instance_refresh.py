"""Instance refresh: a step of the Auto Scaling loop that replaces the instances of a group by such of another version of its launch template.

Sources: Amazon EC2 Auto Scaling User Guide, "How an instance refresh works", "Add checkpoints to an instance refresh", "Undo changes with a manual or auto
rollback"; API Reference, StartInstanceRefresh, RefreshPreferences, InstanceRefresh. Decisions are functions of plain data.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from moto.autoscaling import models
from moto.autoscaling.exceptions import AutoscalingClientError
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult

log = logging.getLogger(__name__)
KEPT = 20  # refreshes of a group that are kept; AWS keeps six weeks of them
PATIENCE = 3600.0  # seconds without a replacement after which a refresh has failed
ACTIVE = ("Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking")
DEFAULTS: dict[str, Any] = {
    "MinHealthyPercentage": 90,
    "SkipMatching": False,
    "AutoRollback": False,
    "ScaleInProtectedInstances": "Wait",
    "StandbyInstances": "Wait",
}


def bounds(desired: int, minimum: int, maximum: int | None) -> tuple[int, int]:
    """How many instances must be ready, and how many there may be.

    With a maximum that leaves no room, one is launched "before terminating an old one (temporarily exceeding the desired capacity)"; without any "Auto
    Scaling terminates an instance and launches its replacement simultaneously" (RefreshPreferences, MaxHealthyPercentage).
    """
    floor = math.ceil(desired * minimum / 100)
    if maximum is None:
        return min(floor, desired - 1), desired
    return floor, max(desired * maximum // 100, desired + 1 if floor >= desired else desired)


def next_step(members: Sequence[Mapping[str, Any]], desired: int, floor: int, ceiling: int, goal: int) -> tuple[int, list[str]]:
    """How many instances to launch, and which to end now, so that goal of the desired ones are new.

    A member: {id, zone, new, ready, launched}; ready is what is healthy, in service and, when it is new, warmed up. The oldest of the fullest zone goes first.
    """
    new = [one for one in members if one["new"]]
    zones = Counter(one["zone"] for one in members)
    old = sorted((one for one in members if not one["new"]), key=lambda one: (one["ready"], -zones[one["zone"]], one["launched"], one["id"]))
    launch = max(min(ceiling - len(members), goal - len(new)), desired - len(members), 0)
    spare = sum(bool(one["ready"]) for one in members) - floor
    ending: list[str] = []
    for one in old[: max(0, len(old) - (desired - goal))]:
        if one["ready"] and spare <= 0:
            continue
        spare -= bool(one["ready"])
        ending.append(str(one["id"]))
    # Fewer are wanted than when the surplus was launched.
    beyond = len(members) - len(ending) - ceiling
    ending += [str(one["id"]) for one in [*old, *sorted(new, key=lambda one: one["launched"])] if one["id"] not in ending][: max(0, beyond)]
    return launch, ending


def reached(members: Sequence[Mapping[str, Any]], desired: int, goal: int) -> bool:
    """Whether goal of the desired instances are new and ready, and no more than the rest are old."""
    return sum(one["new"] and one["ready"] for one in members) >= goal and sum(not one["new"] for one in members) <= desired - goal


class Refresh:
    """One instance refresh: what DescribeInstanceRefreshes shows of it, and how far it is."""

    def __init__(self, group: Any, template: str, version: int, preferences: dict[str, Any], configuration: dict[str, Any] | None) -> None:
        self.template, self.version, self.before = template, version, group.launch_template_version
        self.present = {state.instance.id for state in group.instance_states}
        self.preferences = DEFAULTS | preferences
        if "CheckpointPercentages" in preferences:
            self.preferences.setdefault("CheckpointDelay", 3600)
        self.checkpoints = list(preferences.get("CheckpointPercentages") or [100])
        self.since: dict[str, float] = {}  # new instance → when it was in service
        self.until = 0.0  # of the pause at a checkpoint, or of the bake time
        self.progressed = time.monotonic()
        self.facts: dict[str, Any] = {
            "InstanceRefreshId": str(uuid.uuid4()),
            "AutoScalingGroupName": group.name,
            "Strategy": "Rolling",
            "Status": "Pending",
            "StartTime": datetime.now(UTC),
            "PercentageComplete": 0,
            "InstancesToUpdate": len(group.instance_states),
            "Preferences": self.preferences,
        }
        if configuration:
            self.facts["DesiredConfiguration"] = configuration

    @property
    def status(self) -> str:
        return str(self.facts["Status"])

    def show(self, status: str, reason: str = "") -> None:
        if status != self.status:
            log.info("group %s: instance refresh %s: %s %s", self.facts["AutoScalingGroupName"], self.facts["InstanceRefreshId"], status, reason)
        self.facts |= {"Status": status, "StatusReason": reason}
        if status not in ACTIVE:
            self.facts["EndTime"] = datetime.now(UTC)

    def is_new(self, identifier: str, version: int | None) -> bool:
        """ "Skips replacing instances that match the desired configuration" (SkipMatching); otherwise what was there is old, whatever it is."""
        return version == self.version and bool(self.preferences["SkipMatching"] or identifier not in self.present)

    def progress(self, ready: int, desired: int) -> None:
        """Note how many instances have been replaced by ones that are ready."""
        percent = min(100, 100 * ready // desired) if desired else 100
        if percent != self.facts["PercentageComplete"]:
            self.progressed = time.monotonic()
        self.facts |= {"PercentageComplete": percent, "InstancesToUpdate": max(0, desired - ready)}

    def roll_back(self, reason: str, version: int) -> None:
        """ "Replaces any instances that were replaced during the instance refresh": what is of the older version stays."""
        percent, left = self.facts["PercentageComplete"], self.facts["InstancesToUpdate"]
        self.facts["RollbackDetails"] = {
            "RollbackReason": reason,
            "RollbackStartTime": datetime.now(UTC),
            "PercentageCompleteOnRollback": percent,
            "InstancesToUpdateOnRollback": left,
        }
        self.version, self.checkpoints, self.since, self.until = version, [100], {}, 0.0
        self.preferences = self.preferences | {"SkipMatching": True}
        self.progressed = time.monotonic()
        self.show("RollbackInProgress", reason)


class Refresher:
    """The instance refreshes of all groups, for the Auto Scaling plane."""

    def __init__(self, plane: Any) -> None:
        self.plane = plane
        self.known: dict[str, list[Refresh]] = {}  # group → newest first

    def install(self) -> None:
        refresher = self

        def start_instance_refresh(self: Any) -> ActionResult:
            given = self._get_params()
            made = refresher.start(given["AutoScalingGroupName"], given.get("Preferences") or {}, given.get("DesiredConfiguration") or {})
            return ActionResult({"InstanceRefreshId": made})

        def describe_instance_refreshes(self: Any) -> ActionResult:
            given = self._get_params()
            wanted = given.get("InstanceRefreshIds") or []
            rows = [one.facts for one in refresher.known.get(refresher.group(given["AutoScalingGroupName"]).name, [])]
            return ActionResult({"InstanceRefreshes": [row for row in rows if not wanted or row["InstanceRefreshId"] in wanted]})

        def cancel_instance_refresh(self: Any) -> ActionResult:
            found = refresher.of(self._get_params()["AutoScalingGroupName"])
            found.show("Cancelling", "The instance refresh was cancelled by the user.")
            refresher.plane.wake.set()
            return ActionResult({"InstanceRefreshId": found.facts["InstanceRefreshId"]})

        def rollback_instance_refresh(self: Any) -> ActionResult:
            name = self._get_params()["AutoScalingGroupName"]
            found = refresher.of(name)
            with refresher.plane.lock:
                refresher.roll_back(refresher.group(name), found, "The rollback was started by the user.")
            return ActionResult({"InstanceRefreshId": found.facts["InstanceRefreshId"]})

        AutoScalingResponse.start_instance_refresh = start_instance_refresh
        AutoScalingResponse.describe_instance_refreshes = describe_instance_refreshes
        AutoScalingResponse.cancel_instance_refresh = cancel_instance_refresh
        AutoScalingResponse.rollback_instance_refresh = rollback_instance_refresh

        # moto shows the template's default version of every instance; AWS the one that it was launched from.
        shown = models.InstanceState.launch_template

        def launch_template(self: Any) -> Any:
            found = shown.fget(self)  # type: ignore[attr-defined]
            version = getattr(self.instance, "launched_from", None)
            return found | {"Version": str(version)} if found and version else found

        models.InstanceState.launch_template = property(launch_template)

    # ---- the API's side

    def group(self, name: str) -> Any:
        group = self.plane.cloud.backend("autoscaling").autoscaling_groups.get(name)
        if group is None:
            raise models.ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
        return group

    def active(self, name: str) -> Refresh | None:
        return next((one for one in self.known.get(name, []) if one.status in ACTIVE), None)

    def of(self, name: str) -> Refresh:
        """The refresh that can be cancelled or rolled back."""
        found = self.active(self.group(name).name)
        if found is None:
            raise AutoscalingClientError("ActiveInstanceRefreshNotFound", "No in progress or pending Instance Refresh found for Auto Scaling group " + name)
        return found

    def start(self, name: str, preferences: dict[str, Any], configuration: dict[str, Any]) -> str:
        group = self.group(name)
        with self.plane.lock:
            if active := self.active(name):
                text = f"An Instance Refresh is already in progress and blocks the execution of this Instance Refresh. ({active.facts['InstanceRefreshId']})"
                raise AutoscalingClientError("InstanceRefreshInProgress", text)
            minimum, maximum = preferences.get("MinHealthyPercentage"), preferences.get("MaxHealthyPercentage")
            if maximum is not None and (minimum is None or maximum - minimum > 100):
                raise models.ValidationError("MaxHealthyPercentage needs MinHealthyPercentage, and the difference between them cannot be greater than 100.")
            percentages = preferences.get("CheckpointPercentages") or []
            if percentages != sorted(set(percentages)) or (preferences.get("CheckpointDelay") is not None and not percentages):
                raise models.ValidationError("CheckpointPercentages must be unique and in ascending order; CheckpointDelay needs them.")
            given = configuration.get("LaunchTemplate") or {}
            if preferences.get("AutoRollback") and not (given and self.can_roll_back(group)):
                raise models.ValidationError(
                    "AutoRollback needs a desired configuration, and a group that does not use its launch template's $Latest or $Default version."
                )
            missing = [one for one in (preferences.get("AlarmSpecification") or {}).get("Alarms") or [] if one not in self.alarms()]
            if missing:
                raise models.ValidationError(f"The following alarms do not exist: {', '.join(missing)}")
            template = group.ec2_launch_template
            if given:
                backend = group.ec2_backend
                by_id = given.get("LaunchTemplateId")
                template = backend.get_launch_template(by_id) if by_id else backend.get_launch_template_by_name(given["LaunchTemplateName"])
            wanted = given.get("Version") or "$Default" if given else group.launch_template_version
            if str(wanted).isdigit() and int(wanted) > len(template.versions):
                raise models.ValidationError("You must use a valid fully-formed launch template. The specified launch template version does not exist.")
            made = Refresh(group, template.id, int(template.get_version(wanted).number), preferences, configuration or None)
            self.known[name] = [made, *self.known.get(name, [])][:KEPT]
        self.plane.wake.set()
        return str(made.facts["InstanceRefreshId"])

    @staticmethod
    def can_roll_back(group: Any) -> bool:
        return bool(str(group.launch_template_version).isdigit())

    def roll_back(self, group: Any, refresh: Refresh, reason: str) -> None:
        if refresh.status == "RollbackInProgress" or "DesiredConfiguration" not in refresh.facts or not self.can_roll_back(group):
            raise AutoscalingClientError("IrreversibleInstanceRefresh", "The instance refresh cannot be rolled back.")
        refresh.roll_back(reason, int(group.launch_template_version))
        self.plane.wake.set()

    # ---- the loop's side

    def alarms(self) -> dict[str, str]:
        """Alarm → state."""
        return {name: str(one.state_value) for name, one in self.plane.cloud.backend("cloudwatch").alarms.items()}

    def version_for(self, name: str) -> int | None:
        """The version that new instances get while a refresh goes on."""
        found = self.active(name)
        return found.version if found else None

    def members(self, group: Any, refresh: Refresh, staying: Sequence[Any]) -> list[dict[str, Any]]:
        now, rows = time.monotonic(), []
        # "If you do not specify this property, the instance warmup by default is … the HealthCheckGracePeriod" (InstanceWarmup)
        warmup = float(refresh.preferences.get("InstanceWarmup", group.health_check_grace_period or 0))
        for state in staying:
            identifier = state.instance.id
            new = refresh.is_new(identifier, getattr(state.instance, "launched_from", None))
            ready = state.lifecycle_state == "InService" and state.health_status == "Healthy"
            if new and ready and identifier not in refresh.present:
                ready = now - refresh.since.setdefault(identifier, now) >= warmup
            launched = self.plane.launched.get(identifier, 0.0)
            rows.append({"id": identifier, "zone": state.instance.subnet_id, "new": new, "ready": ready, "launched": launched})
        return rows

    def fail(self, group: Any, refresh: Refresh, reason: str) -> None:
        if refresh.status == "RollbackInProgress":
            refresh.show("RollbackFailed", reason)
        elif refresh.preferences["AutoRollback"]:
            self.roll_back(group, refresh, reason)
        else:
            refresh.show("Failed", reason)

    def step(self, group: Any, staying: Sequence[Any], suspended: set[str]) -> bool:
        """One step of a group's refresh, which sees to the number of its instances meanwhile. False when there is none."""
        refresh = self.active(group.name)
        if refresh is None:
            return False
        if refresh.status == "Cancelling":
            refresh.show("Cancelled", str(refresh.facts["StatusReason"]))
            return False
        if refresh.status == "Pending":
            refresh.show("InProgress")
        if refresh.status != "RollbackInProgress":
            states = self.alarms()
            rings = [one for one in (refresh.preferences.get("AlarmSpecification") or {}).get("Alarms") or [] if states.get(one) == "ALARM"]
            if rings:
                self.fail(group, refresh, f"CloudWatch alarm(s) in ALARM state: {', '.join(rings)}.")
                return True
        desired, now = int(group.desired_capacity or 0), time.monotonic()
        members = self.members(group, refresh, staying)
        refresh.progress(sum(one["new"] and one["ready"] for one in members), desired)
        goal = math.ceil(desired * refresh.checkpoints[0] / 100) if refresh.checkpoints else desired
        if not reached(members, desired, goal):
            if now - refresh.progressed > PATIENCE:
                self.fail(group, refresh, "The instance refresh made no progress for an hour.")
                return True
            floor, ceiling = bounds(desired, int(refresh.preferences["MinHealthyPercentage"]), refresh.preferences.get("MaxHealthyPercentage"))
            self.replace(group, refresh, next_step(members, desired, floor, ceiling, goal), suspended)
            return True
        return self.pause_or_end(group, refresh, now)

    def replace(self, group: Any, refresh: Refresh, step: tuple[int, list[str]], suspended: set[str]) -> None:
        launch, ending = step
        refresh.until = 0.0
        if "Launch" not in suspended:
            for _ in range(launch):
                self.plane.launch(group, "an instance was launched as part of an instance refresh.")
        if "Terminate" not in suspended:
            for identifier in ending:
                self.plane.leave(group, identifier, "an instance was taken out of service as part of an instance refresh.")
        if refresh.status == "InProgress" and not launch and not ending:
            refresh.facts["StatusReason"] = "Waiting for instances to warm up before continuing."

    def pause_or_end(self, group: Any, refresh: Refresh, now: float) -> bool:
        """A checkpoint, or the last one, is reached. Whether the refresh goes on."""
        last = len(refresh.checkpoints) <= 1
        delay = float(refresh.preferences.get("BakeTime", 0) if last else refresh.preferences.get("CheckpointDelay", 0))
        if refresh.status == "RollbackInProgress":
            refresh.show("RollbackSuccessful", str(refresh.facts["StatusReason"]))
            return False
        refresh.until = refresh.until or now + delay
        if now < refresh.until:
            reason = "" if last else f"Waiting for {delay:.0f} s at the checkpoint of {refresh.checkpoints[0]} percent."
            refresh.show("Baking" if last else "InProgress", reason)
            return True
        if not last:
            refresh.checkpoints.pop(0)
            refresh.until, refresh.progressed = 0.0, now
            return True
        # "Once the instance refresh succeeds, Amazon EC2 Auto Scaling updates the settings of the Auto Scaling group to reflect the new desired configuration."
        if "DesiredConfiguration" in refresh.facts:
            group._set_launch_configuration(None, {"LaunchTemplateId": refresh.template, "Version": str(refresh.version)}, None)
        refresh.show("Successful")
        return False
