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
