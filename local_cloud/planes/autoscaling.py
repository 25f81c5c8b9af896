"""Auto Scaling groups: a loop that brings each group's instances to its desired capacity, as the service does.

It launches, registers with target groups, marks and replaces unhealthy instances, drains and terminates on scale-in; each step only while its process
is not suspended (EC2 Auto Scaling User Guide, "Suspend and resume Amazon EC2 Auto Scaling processes"). Pure decisions are functions of plain data, so
that lifecycle hooks, scaling policies and instance refresh are further steps of the same loop.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from moto.autoscaling import models

from .base import Plane

log = logging.getLogger(__name__)
TICK = 1.0  # seconds between two looks; changes wake the loop at once


def zone_for_launch(zones: Sequence[str], present: Iterable[str]) -> str:
    """The zone (or subnet) with the fewest instances; the first of equals ("Amazon EC2 Auto Scaling attempts to maintain equivalent numbers")."""
    counts = Counter(present)
    return min(zones, key=lambda zone: counts[zone])


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


def unhealthy_reason(instance_state: str, health_check_type: str, target_states: Sequence[str], age: float, grace: float) -> str | None:
    """Why the group's health check finds an instance unhealthy, or None.

    "EC2": any state but running ("stopping, stopped, shutting-down, terminated"). "ELB": unhealthy in any target group too, once the grace period is over.
    """
    if instance_state in ("stopping", "stopped", "shutting-down", "terminated"):
        return f"EC2 instance status checks failure: the instance is {instance_state}"
    if health_check_type == "ELB" and age > grace and "unhealthy" in target_states:
        return "ELB health check failure"
    return None


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

    # ---- the API's side

    def install(self) -> None:
        plane, backend = self, models.AutoScalingBackend

        def set_desired_capacity(self: Any, new_capacity: int | None) -> None:
            self.desired_capacity = self.min_size if new_capacity is None else new_capacity
            plane.wake.set()

        def delete_auto_scaling_group(self: Any, group_name: str) -> None:
            group = self.autoscaling_groups.get(group_name)
            if group is None:
                raise models.ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{group_name}' not found")
            self.autoscaling_groups.pop(group_name)
            for state in list(group.instance_states):
                plane.deregister(group, state.instance.id)
                if state.instance.state not in ("shutting-down", "terminated"):
                    state.instance.terminate()

        models.FakeAutoScalingGroup.set_desired_capacity = set_desired_capacity
        backend.delete_auto_scaling_group = delete_auto_scaling_group
        # The loop sees a terminated instance by itself, and registers each instance with a target group once: moto registers all of a group at every
        # change, which would put a host that a release has drained back into service.
        backend.notify_terminate_instances = lambda self, instance_ids: plane.wake.set()
        backend.update_attached_target_groups = lambda self, group_name: plane.wake.set()
        for name in ("suspend_processes", "resume_processes", "set_instance_health"):
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
            for group in list(self.cloud.backend("autoscaling").autoscaling_groups.values()):
                if self.stopping.is_set():
                    return
                try:
                    with self.lock:
                        self.reconcile(group)
                except Exception:
                    log.exception("group %s", group.name)

    def reconcile(self, group: Any) -> None:
        """One step of one group."""
        suspended = {one["ProcessName"] for one in group.suspended_processes}
        if "HealthCheck" not in suspended:
            self.check_health(group)
        if not suspended & {"ReplaceUnhealthy", "Terminate"}:
            self.end_unhealthy(group)
        self.finish_leaving(group, force="ReplaceUnhealthy" not in suspended)
        if "AddToLoadBalancer" not in suspended:
            self.register(group)
        staying = [state for state in group.instance_states if state.instance.id not in self.leaving]
        missing = int(group.desired_capacity or 0) - len(staying)
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
            for identifier in victims(members, -missing):
                self.leave(group, identifier)

    def check_health(self, group: Any) -> None:
        for state in group.instance_states:
            instance = state.instance
            age = time.monotonic() - self.launched.get(instance.id, 0.0)
            targets = [self.target_state(arn, instance.id) for arn in group.target_group_arns] if group.health_check_type == "ELB" else []
            reason = unhealthy_reason(instance.state, group.health_check_type, targets, age, float(group.health_check_grace_period or 0))
            if reason and state.health_status == "Healthy" and instance.id not in self.leaving:
                log.info("group %s: %s is unhealthy: %s", group.name, instance.id, reason)
                state.health_status = "Unhealthy"
            if state.lifecycle_state == "Pending" and instance.state == "running":
                state.lifecycle_state = "InService"

    def end_unhealthy(self, group: Any) -> None:
        for state in list(group.instance_states):
            if state.health_status == "Unhealthy" and state.instance.id not in self.leaving:
                self.leave(group, state.instance.id)

    def launch(self, group: Any) -> None:
        """One more instance, in the zone that has the fewest."""
        subnets = (group.vpc_zone_identifier or "").split(",")
        subnet = zone_for_launch(subnets, [state.instance.subnet_id for state in group.instance_states if state.instance.id not in self.leaving])
        tags = {**group.get_propagated_tags(), **group.instance_tags, models.ASG_NAME_TAG: group.name}
        template = {"LaunchTemplateId": group.ec2_launch_template.id, "Version": group.launch_template_version} if group.ec2_launch_template else None
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
        for instance in reservation.instances:
            instance.autoscaling_group = group
            self.launched[instance.id] = time.monotonic()
            protected = group.new_instances_protected_from_scale_in
            group.instance_states.append(models.InstanceState(instance, "Pending", protected_from_scale_in=protected, autoscaling_group=group))
            log.info("group %s: launched %s in %s", group.name, instance.id, instance.placement.zone)

    def register(self, group: Any) -> None:
        """Add running instances to the group's target groups, each to each once."""
        backend = self.cloud.backend("elbv2")
        for state in group.instance_states:
            instance = state.instance
            if instance.state != "running" or instance.id in self.leaving:
                continue
            known = self.registered.setdefault(instance.id, set())
            for arn in group.target_group_arns:
                if arn not in known and arn in backend.target_groups:
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

    def leave(self, group: Any, identifier: str) -> None:
        """Begin to end an instance: out of the load balancer first; it is terminated when its requests have had their time."""
        state = next(one for one in group.instance_states if one.instance.id == identifier)
        delay = self.deregister(group, identifier) if state.instance.state == "running" else 0.0
        state.lifecycle_state = "Terminating"
        self.leaving[identifier] = time.monotonic() + delay
        log.info("group %s: %s leaves, %.0f s for its requests", group.name, identifier, delay)

    def finish_leaving(self, group: Any, force: bool) -> None:
        """Terminate what has drained, and forget what is terminated."""
        for state in list(group.instance_states):
            instance = state.instance
            if instance.id in self.leaving and time.monotonic() >= self.leaving[instance.id] and instance.state not in ("shutting-down", "terminated"):
                group.ec2_backend.terminate_instances([instance.id])
                elbv2 = self.cloud.backend("elbv2")
                elbv2.notify_terminate_instances([instance.id])
            if instance.state in ("shutting-down", "terminated") and (instance.id in self.leaving or force):
                group.instance_states = [one for one in group.instance_states if one is not state]
                for memory in (self.leaving, self.registered, self.launched):
                    memory.pop(instance.id, None)

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
