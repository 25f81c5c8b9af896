"""CloudWatch's metric alarms on what the cloud measures itself: target groups and instances.

States and missing data: "Using Amazon CloudWatch alarms" and "Configuring how CloudWatch alarms treat missing data" (User Guide). A state that
was set by hand stands until the next look, as on AWS, where the figures are those of minutes. Left out: alarms on other metrics, which stay as
SetAlarmState has them, metric math, anomaly detection, composite alarms, actions.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from operator import ge, gt, le, lt
from typing import TYPE_CHECKING, Any

from .base import Plane

if TYPE_CHECKING:
    from ..cloud import Cloud

log = logging.getLogger(__name__)

MEASURED = ("AWS/ApplicationELB", "AWS/EC2")
LOOK_SECONDS = 2.0
COMPARISONS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanThreshold": (gt, "greater than"),
    "GreaterThanOrEqualToThreshold": (ge, "greater than or equal to"),
    "LessThanThreshold": (lt, "less than"),
    "LessThanOrEqualToThreshold": (le, "less than or equal to"),
}


def state_of(values: list[float | None], alarm: Any) -> tuple[str, str]:
    """(state, reason) of an alarm with one value, or None where there is no datum, for each of its evaluation periods, oldest first."""
    breaches, words = COMPARISONS[alarm.comparison_operator]
    known = [value for value in values if value is not None]
    missing = len(values) - len(known)
    treat = alarm.treat_missing_data or "missing"
    if not known and treat == "ignore":
        return str(alarm.state_value), str(alarm.state_reason)
    if not known and treat == "missing":
        return "INSUFFICIENT_DATA", f"Insufficient Data: {len(values)} datapoint{'s were' if len(values) > 1 else ' was'} unknown."
    beyond = [value for value in known if breaches(value, alarm.threshold)]
    enough = min(int(alarm.datapoints_to_alarm or alarm.evaluation_periods), int(alarm.evaluation_periods))
    rings = len(beyond) + (missing if treat == "breaching" else 0) >= enough
    shown = (beyond if rings else known)[-enough:]
    count = f"{len(shown)} datapoint{'s' if len(shown) != 1 else ''} [{', '.join(map(str, shown))}] {'were' if len(shown) != 1 else 'was'}"
    reason = f"Threshold Crossed: {count} {'' if rings else 'not '}{words} the threshold ({alarm.threshold})."
    return ("ALARM" if rings else "OK"), reason


def values_of(backend: Any, alarm: Any, now: datetime) -> list[float | None]:
    """The alarm's figures of its last evaluation periods. The running one counts where more of it can only make the alarm ring."""
    period = int(alarm.period)
    begun = datetime.fromtimestamp(now.timestamp() // period * period, UTC).replace(tzinfo=None)
    end = begun + timedelta(seconds=period if alarm.comparison_operator.startswith("Greater") else 0)
    start = end - timedelta(seconds=period * int(alarm.evaluation_periods))
    statistic = alarm.statistic or alarm.extended_statistic
    dimensions = [{"Name": one.name, "Value": one.value} for one in alarm.dimensions]
    rows = backend.get_metric_statistics(alarm.namespace, alarm.metric_name, start, end, period, [statistic], dimensions)
    found = {int((row.timestamp - start).total_seconds()) // period: row.get_statistics_for_type(statistic) for row in rows}
    return [found.get(number) for number in range(int(alarm.evaluation_periods))]


class AlarmsPlane(Plane):
    """Looks at the alarms every two seconds."""

    name = "alarms"

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.ended = threading.Event()

    def start(self) -> None:
        self.ended.clear()
        threading.Thread(target=self._run, daemon=True, name="alarms").start()

    def stop(self) -> None:
        self.ended.set()

    def _run(self) -> None:
        while not self.ended.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception:  # one alarm that cannot be understood must not end the others
                log.exception("alarms")

    def look(self) -> None:
        """Give each alarm on what is measured here its state."""
        backend, now = self.cloud.backend("cloudwatch"), datetime.fromtimestamp(time.time(), UTC)
        for alarm in list(backend.alarms.values()):
            if alarm.namespace not in MEASURED or alarm.metric_data_queries or alarm.comparison_operator not in COMPARISONS:
                continue
            state, reason = state_of(values_of(backend, alarm, now), alarm)
            if state != alarm.state_value:
                alarm.update_state(reason, "{}", state)
