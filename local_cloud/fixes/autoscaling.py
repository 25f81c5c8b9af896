"""Where moto's Auto Scaling differs from AWS."""

from __future__ import annotations

from typing import Any

from moto.autoscaling import models
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import EmptyResult


def apply() -> None:
    """Correct moto, once, before it serves."""

    def disable_metrics_collection(self: Any) -> EmptyResult:
        parameters = self._get_params()
        group = self.autoscaling_backend.autoscaling_groups.get(parameters.get("AutoScalingGroupName"))
        if group is not None:
            named = parameters.get("Metrics")
            group.metrics = [one for one in group.metrics if named and one not in named]
        return EmptyResult()

    AutoScalingResponse.disable_metrics_collection = disable_metrics_collection

    # SuspendedProcess.SuspensionReason: "User suspended at <time>"; moto leaves it empty and in no order.
    def suspended(self: Any) -> list[dict[str, str]]:
        return [{"ProcessName": name, "SuspensionReason": "User suspended"} for name in sorted(self._suspended_processes)]

    models.FakeAutoScalingGroup.suspended_processes = property(suspended, models.FakeAutoScalingGroup.suspended_processes.fset)

    # "The name of the policy" and "of this scheduled action" are names within a group (API reference); moto has one of a name in all groups.
    backend = models.AutoScalingBackend
    put_policy, put_action = backend.put_scaling_policy, backend.put_scheduled_update_group_action

    def put_scaling_policy(self: Any, *args: Any, **options: Any) -> Any:
        known = dict(self.policies)
        policy = put_policy(self, *args, **options)
        self.policies = {**known, f"{policy.auto_scaling_group_name}/{policy.name}": policy}
        return policy

    def delete_policy(self: Any) -> EmptyResult:
        self.autoscaling_backend.policies.pop(f"{self._get_param('AutoScalingGroupName')}/{self._get_param('PolicyName')}", None)
        return EmptyResult()

    def execute_policy(self: Any) -> EmptyResult:
        self.autoscaling_backend.policies[f"{self._get_param('AutoScalingGroupName')}/{self._get_param('PolicyName')}"].execute()
        return EmptyResult()

    def put_scheduled_update_group_action(self: Any, *args: Any, **options: Any) -> Any:
        known = dict(self.scheduled_actions)
        action = put_action(self, *args, **options)
        self.scheduled_actions = {**known, f"{action.auto_scaling_group_name}/{action.scheduled_action_name}": action}
        return action

    def delete_scheduled_action(self: Any, auto_scaling_group_name: str, scheduled_action_name: str) -> None:
        if self.scheduled_actions.pop(f"{auto_scaling_group_name}/{scheduled_action_name}", None) is None:
            raise models.ValidationError("Scheduled action name not found")

    backend.put_scaling_policy = put_scaling_policy
    backend.put_scheduled_update_group_action = put_scheduled_update_group_action
    backend.delete_scheduled_action = delete_scheduled_action
    AutoScalingResponse.delete_policy = delete_policy
    AutoScalingResponse.execute_policy = execute_policy
