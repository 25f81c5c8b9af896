"""Auto Scaling groups: a loop that brings each group's instances to its desired capacity, as the service does.

It launches, registers with target groups, marks and replaces unhealthy instances, drains and terminates on scale-in; each step only while its process
is not suspended (EC2 Auto Scaling User Guide, "Suspend and resume Amazon EC2 Auto Scaling processes"). What changes the desired capacity by itself is in
scaling.py, what replaces instances by newer ones in instance_refresh.py, a step of the same loop. Pure decisions are functions of plain data.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from moto.autoscaling import models
from moto.autoscaling.exceptions import AutoscalingClientError
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import EC2ClientError

from .base import Plane
from .ec2 import NO_CAPACITY
from .instance_refresh import Refresher

log = logging.getLogger(__name__)
TICK = 1.0  # seconds between two looks; changes wake the loop at once
ENDED = ("stopping", "stopped", "shutting-down", "terminated")
KEPT = 100  # activities of a group that are kept; AWS keeps six weeks of them
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"


def zone_for_launch(zones: Sequence[str], present: Iterable[str], remaining: Iterable[str] = ()) -> str:
    """The zone (or subnet) with the fewest instances; the first of equals ("Amazon EC2 Auto Scaling attempts to maintain equivalent numbers").

    remaining: of an instance refresh, the zones of those that are new already, which count before the others that are still to go.
    """
    counts, staying = Counter(present), Counter(remaining)
    return min(zones, key=lambda zone: (staying[zone], counts[zone]))


def victims(members: Sequence[Mapping[str, Any]], surplus: int) -> list[str]:
    """Whom scale-in ends (default termination policy): in the zone with the most instances, the oldest one that is not protected.

    A member: {id, zone, launched, protected, healthy}; unhealthy ones go first.
    """
    left, chosen = [dict(one) for one in members], []
    for _ in range(surplus):
        free = [one for one in left if not one["protected"]]
        if not free:
            break
        counts = Counter(one["zone"] for one in left)
        victim = min(free, key=lambda one: (one["healthy"], -counts[one["zone"]], one["launched"], one["id"]))
        left.remove(victim)
        chosen.append(str(victim["id"]))
    return chosen


def unhealthy_reason(instance_state: str, health_check_type: str, target_states: Sequence[str], age: float, grace: float, impaired: bool = False) -> str | None:
    """Why the group's health check finds an instance unhealthy, or None.

    "EC2": any state but running ("stopping, stopped, shutting-down, terminated"), or impaired by its status checks. "ELB": unhealthy in any target group
    too, once the grace period is over, which is for such optional checks only.
    """
    if instance_state in ENDED:
        return f"EC2 instance status checks failure: the instance is {instance_state}"
    if impaired:
        return "EC2 instance status checks failure: the instance is impaired"
    if health_check_type == "ELB" and age > grace and "unhealthy" in target_states:
        return "ELB health check failure"
    return None


class ResourceInUse(AutoscalingClientError):
    """DeleteAutoScalingGroup without ForceDelete while it has instances (API reference, DeleteAutoScalingGroup, Errors)."""

    def __init__(self, group: str) -> None:
        text = f"You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group. ({group})"
        super().__init__("ResourceInUse", text)


class Activity:
    """One entry of DescribeScalingActivities. `progress` 0–100, `status` one of the service's ScalingActivityStatusCode."""

    def __init__(self, group: str, description: str, cause: str, subnet: str, zone: str) -> None:
        self.facts: dict[str, Any] = {
            "ActivityId": str(uuid.uuid4()),
            "AutoScalingGroupName": group,
            "Description": description,
            "Cause": f"At {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {cause}",
            "StartTime": datetime.now(UTC),
            "Details": json.dumps({"Subnet ID": subnet, "Availability Zone": zone}),
        }
        self.show("InProgress", 30)

    def show(self, status: str, progress: int, message: str | None = None) -> None:
        self.facts |= {"StatusCode": status, "Progress": progress}
        if message:
            self.facts["StatusMessage"] = message
        if status in ("Successful", "Failed", "Cancelled"):
            self.facts["EndTime"] = datetime.now(UTC)


class AutoScalingPlane(Plane):
    """See the module."""

    name = "autoscaling"

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.wake = threading.Event()
        self.stopping = threading.Event()
        self.lock = threading.RLock()
        self.registered: dict[str, set[str]] = {}  # instance → target groups that it was added to
        self.leaving: dict[str, float] = {}  # instance → when its draining ends at the latest
        self.launched: dict[str, float] = {}
        self.activities: dict[str, list[Activity]] = {}  # group → newest first
        self.under_way: dict[str, Activity] = {}  # instance → the activity that it is in
        self.waiting: dict[str, dict[str, float]] = {}  # leaving instance → lifecycle hook → when it has had its time
        self.reasons: dict[str, str] = {}  # group → why its desired capacity is what it is, until that is reached
        self.refresher = Refresher(self)

    # ---- the API's side

    def install(self) -> None:
        plane, backend = self, models.AutoScalingBackend

        def set_desired_capacity(self: Any, new_capacity: int | None) -> None:
            self.desired_capacity = self.min_size if new_capacity is None else new_capacity
            plane.reasons.pop(self.name, None)
            plane.wake.set()

        def delete_auto_scaling_group(self: Any, group_name: str, force: bool = True) -> None:
            with plane.lock:
                group = self.autoscaling_groups.get(group_name)
                if group is None:
                    raise models.ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{group_name}' not found")
                if group.instance_states and not force:
                    raise ResourceInUse(group_name)
                self.autoscaling_groups.pop(group_name)
                for state in list(group.instance_states):
                    plane.deregister(group, state.instance.id)
                    if state.instance.state not in ("shutting-down", "terminated"):
                        state.instance.terminate()
                    plane.forget(state.instance.id)
                plane.activities.pop(group_name, None)
                plane.refresher.known.pop(group_name, None)
                # "If the group has policies, deleting the group deletes the policies, the underlying alarm actions, and any alarm that no longer has an
                # associated action" (API reference, DeleteAutoScalingGroup); likewise its scheduled actions and hooks.
                for kept in (self.policies, self.scheduled_actions, self.lifecycle_hooks):
                    for name in [name for name, one in kept.items() if one.auto_scaling_group_name == group_name]:
                        del kept[name]

        def terminate_instance(self: Any, instance_id: str, should_decrement: bool) -> Any:
            with plane.lock:
                found = [(group, one) for group in self.autoscaling_groups.values() for one in group.instance_states if one.instance.id == instance_id]
                if not found:
                    raise models.ValidationError(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")
                group, state = found[0]
                if should_decrement and group.desired_capacity - 1 < group.min_size:
                    text = f"Currently, desiredSize equals minSize ({group.min_size}). Terminating instance without replacement will violate group's"
                    raise models.ValidationError(f"{text} min size constraint. Could not terminate instance {instance_id}")
                before = group.desired_capacity
                group.desired_capacity -= 1 if should_decrement else 0
                plane.leave(group, instance_id, "instance was taken out of service in response to a user request.")
            plane.wake.set()
            return models.TerminateInstanceActivity(state.instance, before)

        def delete_group(self: Any) -> EmptyResult:
            self.autoscaling_backend.delete_auto_scaling_group(self._get_param("AutoScalingGroupName"), self._get_bool_param("ForceDelete", False))
            return EmptyResult()

        def describe_scaling_activities(self: Any) -> ActionResult:
            return ActionResult({"Activities": plane.described(self._get_param("AutoScalingGroupName"), self._get_param("ActivityIds"))})

        def complete_lifecycle_action(self: Any) -> EmptyResult:
            plane.proceed(self._get_param("AutoScalingGroupName"), self._get_param("LifecycleHookName"), self._get_param("InstanceId"))
            return EmptyResult()

        def record_lifecycle_action_heartbeat(self: Any) -> EmptyResult:
            plane.proceed(self._get_param("AutoScalingGroupName"), self._get_param("LifecycleHookName"), self._get_param("InstanceId"), again=True)
            return EmptyResult()

        AutoScalingResponse.complete_lifecycle_action = complete_lifecycle_action
        AutoScalingResponse.record_lifecycle_action_heartbeat = record_lifecycle_action_heartbeat
        AutoScalingResponse.delete_auto_scaling_group = delete_group
        AutoScalingResponse.describe_scaling_activities = describe_scaling_activities
        backend.terminate_instance = terminate_instance
        models.FakeAutoScalingGroup.set_desired_capacity = set_desired_capacity
        backend.delete_auto_scaling_group = delete_auto_scaling_group
        # The loop sees a terminated instance by itself, and registers each instance with a target group once: moto registers all of a group at every
        # change, which would put a host that a release has drained back into service.
        backend.notify_terminate_instances = lambda self, instance_ids: plane.wake.set()
        backend.update_attached_target_groups = lambda self, group_name: plane.wake.set()
        self.refresher.install()
        for name in ("suspend_processes", "resume_processes", "set_instance_health", "attach_instances", "detach_instances"):
            setattr(backend, name, self._waking(getattr(backend, name)))

    def _waking(self, original: Any) -> Any:
        def method(backend: Any, *args: Any, **options: Any) -> Any:
            answer = original(backend, *args, **options)
            self.wake.set()
            return answer

        return method

    # ---- the loop

    def start(self) -> None:
        self.stopping.clear()
        threading.Thread(target=self._run, daemon=True, name="autoscaling").start()

    def stop(self) -> None:
        self.stopping.set()
        self.wake.set()

    def _run(self) -> None:
        while not self.stopping.is_set():
            self.wake.wait(TICK)
            self.wake.clear()
            groups = self.cloud.backend("autoscaling").autoscaling_groups
            for name in list(groups):
                if self.stopping.is_set():
                    return
                try:
                    with self.lock:
                        if name in groups:
                            self.reconcile(groups[name])
                except Exception:
                    log.exception("group %s", name)

    def reconcile(self, group: Any) -> None:
        """One step of one group."""
        suspended = {one["ProcessName"] for one in group.suspended_processes}
        self.enter_service(group)
        if "HealthCheck" not in suspended:
            self.check_health(group)
        if not suspended & {"ReplaceUnhealthy", "Terminate"}:
            self.end_unhealthy(group)
        self.finish_leaving(group, force="ReplaceUnhealthy" not in suspended)
        self.register(group, adding="AddToLoadBalancer" not in suspended)
        staying = [state for state in group.instance_states if state.instance.id not in self.leaving]
        if self.refresher.step(group, staying, suspended):
            return
        missing = int(group.desired_capacity or 0) - len(staying)
        if not missing:
            self.reasons.pop(group.name, None)
        if missing > 0 and "Launch" not in suspended:
            for _ in range(missing):
                self.launch(group)
        elif missing < 0 and "Terminate" not in suspended:
            members = [
                {
                    "id": state.instance.id,
                    "zone": state.instance.subnet_id,
                    "launched": self.launched.get(state.instance.id, 0.0),
                    "protected": state.protected_from_scale_in,
                    "healthy": state.health_status == "Healthy",
                }
                for state in staying
            ]
            for number, identifier in enumerate(victims(members, -missing)):
                cause = "an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the capacity"
                self.leave(group, identifier, self.because(group) + f"{cause} from {len(staying) - number} to {len(staying) - number - 1}.")

    def check_health(self, group: Any) -> None:
        for state in group.instance_states:
            instance = state.instance
            age = time.monotonic() - self.launched.get(instance.id, 0.0)
            targets = [self.target_state(arn, instance.id) for arn in group.target_group_arns] if group.health_check_type == "ELB" else []
            impaired = self.cloud.planes["status_checks"].impaired(instance.id)  # type: ignore[attr-defined]
            reason = unhealthy_reason(instance.state, group.health_check_type, targets, age, float(group.health_check_grace_period or 0), impaired)
            if reason and state.health_status == "Healthy" and instance.id not in self.leaving:
                log.info("group %s: %s is unhealthy: %s", group.name, instance.id, reason)
                state.health_status = "Unhealthy"

    def enter_service(self, group: Any) -> None:
        """What runs is in service; what ended before it ran has failed to launch."""
        for state in group.instance_states:
            instance = state.instance
            if state.lifecycle_state == "Pending" and instance.state == "running":
                state.lifecycle_state = "InService"
                self.show(instance.id, "Successful", 100)
            elif state.lifecycle_state == "Pending" and instance.state != "pending":
                self.show(instance.id, "Failed", 100, f"The instance ended before it was in service: {instance.state}")

    def end_unhealthy(self, group: Any) -> None:
        for state in list(group.instance_states):
            if state.health_status == "Unhealthy" and state.instance.id not in self.leaving:
                ended, impaired = state.instance.state in ENDED, self.cloud.planes["status_checks"].impaired(state.instance.id)  # type: ignore[attr-defined]
                other = "EC2 instance status checks failure." if impaired else "ELB system health check failure."
                cause = "EC2 health check indicating it has been terminated or stopped." if ended else other
                self.leave(group, state.instance.id, f"an instance was taken out of service in response to an {cause}")

    def launch(self, group: Any, cause: str = "") -> None:
        """One more instance, in the zone that has the fewest; for another cause than the desired capacity, when it is given."""
        configured = group.launch_template_version
        group.launch_template_version = str(self.refresher.version_for(group.name) or configured)
        try:
            self._launch(group, cause)
        finally:
            group.launch_template_version = configured

    def _launch(self, group: Any, cause: str) -> None:
        present = len([state for state in group.instance_states if state.instance.id not in self.leaving])
        subnets = (group.vpc_zone_identifier or "").split(",")
        members = [state.instance for state in group.instance_states if state.instance.id not in self.leaving]
        version = self.refresher.version_for(group.name)
        new = [one.subnet_id for one in members if version and getattr(one, "launched_from", None) == version]
        tags = {**group.get_propagated_tags(), **group.instance_tags, models.ASG_NAME_TAG: group.name}
        template = {"LaunchTemplateId": group.ec2_launch_template.id, "Version": group.launch_template_version} if group.ec2_launch_template else None
        difference = "an instance was started in response to a difference between desired and actual capacity, increasing the capacity"
        why = cause or self.because(group) + f"{difference} from {present} to {present + 1}."
        # "… attempts to launch new instances in the Availability Zone with the fewest instances. If the attempt fails, however, Amazon EC2 Auto Scaling
        # attempts to launch the instances in another Availability Zone until it succeeds" (User Guide, "Auto Scaling group Availability Zone distribution").
        while subnets:
            subnet = zone_for_launch(subnets, [one.subnet_id for one in members], new)
            try:
                reservation = group.ec2_backend.run_instances(
                    group.image_id,
                    1,
                    group.user_data,
                    group.security_groups,
                    instance_type=group.instance_type,
                    tags={"instance": tags},
                    launch_template=template,
                    launch_config=group.launch_config,
                    is_instance_type_default=False,
                    associate_public_ip=None,
                    region_name=group.region,
                    subnet_id=subnet,
                )
                break
            except EC2ClientError as error:
                if error.code != NO_CAPACITY:
                    raise
                subnets.remove(subnet)
                self.not_launched(group, subnet, why, str(error.message))
        else:
            return
        for instance in reservation.instances:
            instance.autoscaling_group = group
            self.launched[instance.id] = time.monotonic()
            protected = group.new_instances_protected_from_scale_in
            group.instance_states.append(models.InstanceState(instance, "Pending", protected_from_scale_in=protected, autoscaling_group=group))
            if group.ec2_launch_template:
                instance.launched_from = int(group.ec2_launch_template.get_version(group.launch_template_version).number)
            self.record(group, instance, f"Launching a new EC2 instance: {instance.id}", why)
            log.info("group %s: launched %s in %s", group.name, instance.id, instance.placement.zone)

    def register(self, group: Any, adding: bool = True) -> None:
        """Add running instances to the group's target groups, each to each once.

        "It does not add the instances that were launched while this process was suspended" (AddToLoadBalancer): those are only written down.
        """
        backend = self.cloud.backend("elbv2")
        for state in group.instance_states:
            instance = state.instance
            if instance.state != "running" or instance.id in self.leaving:
                continue
            known = self.registered.setdefault(instance.id, set())
            known.intersection_update(group.target_group_arns)
            for arn in group.target_group_arns:
                if arn not in known and not adding:
                    known.add(arn)
                elif arn not in known and arn in backend.target_groups:
                    backend.register_targets(arn, [{"Id": instance.id, "Port": backend.target_groups[arn].port}])
                    known.add(arn)

    def deregister(self, group: Any, identifier: str) -> float:
        """Take an instance out of the target groups it is in; returns the longest deregistration delay in seconds."""
        backend, longest = self.cloud.backend("elbv2"), 0.0
        for arn in group.target_group_arns:
            target_group = backend.target_groups.get(arn)
            if target_group is not None and identifier in target_group.targets:
                target_group.deregister([{"Id": identifier}])
                longest = max(longest, float(target_group.attributes["deregistration_delay.timeout_seconds"]))
        return longest

    def leave(self, group: Any, identifier: str, cause: str) -> None:
        """Begin to end an instance: out of the load balancer first; it is terminated when its requests have had their time."""
        state = next(one for one in group.instance_states if one.instance.id == identifier)
        delay = self.deregister(group, identifier) if state.instance.state == "running" else 0.0
        state.lifecycle_state = "Terminating"
        self.leaving[identifier] = time.monotonic() + delay
        self.record(group, state.instance, f"Terminating EC2 instance: {identifier}", cause)
        if delay:
            self.show(identifier, "WaitingForELBConnectionDraining", 50)
        log.info("group %s: %s leaves, %.0f s for its requests", group.name, identifier, delay)

    def kept(self, group: Any, state: Any) -> bool:
        """Whether a termination lifecycle hook still keeps an instance: "either until you complete the lifecycle action, or until the timeout
        period ends"."""
        identifier, now = state.instance.id, time.monotonic()
        if state.instance.state != "running":
            return False
        if identifier not in self.waiting:
            hooks = [one for one in self.cloud.backend("autoscaling").describe_lifecycle_hooks(group.name) if one.lifecycle_transition == TERMINATING]
            self.waiting[identifier] = {one.name: now + float(one.heartbeat_timeout) for one in hooks}
            if hooks:
                state.lifecycle_state = "Terminating:Wait"
                self.show(identifier, "MidLifecycleAction", 60)
                log.info("group %s: %s waits for %s", group.name, identifier, ", ".join(self.waiting[identifier]))
        if any(until > now for until in self.waiting[identifier].values()):
            return True
        state.lifecycle_state = "Terminating:Proceed"
        return False

    def proceed(self, group: str, hook: str, identifier: str, again: bool = False) -> None:
        """CompleteLifecycleAction, or (again) RecordLifecycleActionHeartbeat: the hook lets the instance go, or keeps it as long once more."""
        with self.lock:
            if hook not in self.waiting.get(identifier, {}):
                raise models.ValidationError(f"No active Lifecycle Action found with instance ID {identifier}")
            if again:
                (known,) = self.cloud.backend("autoscaling").describe_lifecycle_hooks(group, [hook])
                self.waiting[identifier][hook] = time.monotonic() + float(known.heartbeat_timeout)
            else:
                del self.waiting[identifier][hook]
        self.wake.set()

    def finish_leaving(self, group: Any, force: bool) -> None:
        """Terminate what has drained and is not kept by a lifecycle hook, and forget what is terminated."""
        for state in list(group.instance_states):
            instance = state.instance
            if instance.id in self.leaving and time.monotonic() >= self.leaving[instance.id] and instance.state not in ("shutting-down", "terminated"):
                if self.kept(group, state):
                    continue
                group.ec2_backend.terminate_instances([instance.id])
                elbv2 = self.cloud.backend("elbv2")
                elbv2.notify_terminate_instances([instance.id])
            if instance.state in ("shutting-down", "terminated") and (instance.id in self.leaving or force):
                group.instance_states = [one for one in group.instance_states if one is not state]
                self.show(instance.id, "Successful", 100)
                self.forget(instance.id)

    def forget(self, identifier: str) -> None:
        for memory in (self.leaving, self.registered, self.launched, self.under_way, self.waiting):
            memory.pop(identifier, None)

    def change(self, group: Any, wanted: int, reason: str) -> None:
        """Set the desired capacity for a reason that the activities tell. Hold the lock."""
        if wanted != group.desired_capacity:
            group.desired_capacity = wanted
            self.reasons[group.name] = f"{reason} "
            self.wake.set()

    def because(self, group: Any) -> str:
        """Why the desired capacity is not what there is, as the beginning of an activity's cause."""
        reason = self.reasons.get(group.name)
        return f"{reason}At {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} " if reason else ""

    def lifecycle_of(self, identifier: str) -> str | None:
        """What the metadata call autoscaling/target-lifecycle-state; None outside of a group."""
        groups = self.cloud.backend("autoscaling").autoscaling_groups.values()
        if not any(state.instance.id == identifier for group in list(groups) for state in group.instance_states):
            return None
        return "Terminated" if identifier in self.leaving else "InService"

    # ---- activities

    def record(self, group: Any, instance: Any, description: str, cause: str) -> None:
        activity = Activity(group.name, description, cause, instance.subnet_id, instance.placement.zone)
        self.under_way[instance.id] = activity
        self.activities[group.name] = [activity, *self.activities.get(group.name, [])][:KEPT]

    def not_launched(self, group: Any, subnet: str, cause: str, message: str) -> None:
        """Write down a launch that EC2 has refused; of many in a row, the first."""
        zone = group.ec2_backend.get_subnet(subnet).availability_zone
        activity = Activity(group.name, f"Launching a new EC2 instance.  Status Reason: {message}", cause, subnet, zone)
        activity.show("Failed", 100, message)
        known = self.activities.get(group.name, [])
        if activity.facts["Description"] not in [one.facts["Description"] for one in known[:4]]:
            log.info("group %s: nothing can be launched in %s", group.name, zone)
            self.activities[group.name] = [activity, *known][:KEPT]

    def show(self, identifier: str, status: str, progress: int, message: str | None = None) -> None:
        """Say how far an instance's activity is."""
        activity = self.under_way.get(identifier)
        if activity is None:
            return
        activity.show(status, progress, message)
        if "EndTime" in activity.facts:
            del self.under_way[identifier]

    def described(self, group: str | None, identifiers: Sequence[str] | None) -> list[dict[str, Any]]:
        """DescribeScalingActivities, newest first."""
        with self.lock:
            known = [one.facts for name, some in self.activities.items() if group in (None, name) for one in some]
        chosen = [dict(one) for one in known if not identifiers or one["ActivityId"] in identifiers]
        return sorted(chosen, key=lambda one: one["StartTime"], reverse=True)

    def target_state(self, arn: str, identifier: str) -> str:
        elbv2 = self.cloud.backend("elbv2")
        target_group = elbv2.target_groups.get(arn)
        return str(target_group.health_for({"Id": identifier}, elbv2.ec2_backend).status) if target_group else "unused"

    def status(self) -> list[dict[str, str]]:
        rows = []
        for group in list(self.cloud.backend("autoscaling").autoscaling_groups.values()):
            suspended = sorted(one["ProcessName"] for one in group.suspended_processes)
            note = f"suspended: {', '.join(suspended)}" if suspended else ""
            rows.append({"kind": "group", "name": group.name, "state": f"{len(group.instance_states)}/{group.desired_capacity}", "address": "", "url": note})
        return rows
