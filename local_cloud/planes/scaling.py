"""What changes the desired capacity of Auto Scaling groups by itself: target tracking on measured figures, and scheduled actions.

CPUUtilization is what a guest's cgroup has used, of all of this machine's cores; ALBRequestCountPerTarget comes from HAProxy's log. AWS looks once in a
minute and wants three minutes above the target, or fifteen well below it. Here such a minute has PERIOD seconds, so that a growth is seen in a test's
time; warm-up and cron are in real time. Sources: EC2 Auto Scaling User Guide, "Target tracking scaling policies", "Set the default instance warmup",
"Scheduled scaling"; EC2 User Guide, "CloudWatch metrics that are available for your instances".
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from moto.cloudwatch import models as cloudwatch

from .base import Plane
from .elb_metrics import sampled

log = logging.getLogger(__name__)
PERIOD = 5.0  # seconds that stand for one minute of AWS's
HIGH, LOW = 3, 15  # periods in a row that make the alarms of a target tracking policy ring
LOW_SHARE = 0.9  # "… when the metric is below 90 % of the target value": AlarmLow's threshold
KEPT_MINUTES = 180


# ---- decisions, as functions of plain data


def grown(ready: int, value: float, target: float) -> int:
    """How many hosts would bring the average down to the target: "scales out proportionally to the metric"."""
    return math.ceil(ready * value / target - 1e-9)


@dataclass
class Tracker:
    """One target tracking policy with the figures of its last periods."""

    target: float
    identity: str = field(default_factory=lambda: str(uuid.uuid4()))
    values: deque[float | None] = field(default_factory=lambda: deque(maxlen=LOW))

    def see(self, value: float | None) -> None:
        """The figure of the period that has ended; None when nothing is known of it."""
        self.values.append(value)

    def high(self) -> bool:
        last = list(self.values)[-HIGH:]
        return len(last) == HIGH and all(one is not None and one > self.target for one in last)

    def low(self) -> bool:
        return len(self.values) == LOW and all(one is not None and one < self.target * LOW_SHARE for one in self.values)


def decide(policies: Sequence[tuple[Tracker, bool]], ready: int, warming: int, desired: int, floor: int, ceiling: int) -> tuple[int, Tracker | None]:
    """The desired capacity that the policies (tracker, may it scale in?) ask for, and the one that asks.

    Outwards the largest wins; instances that are warming up count as being there. Inwards all must agree, one host at a time ("scales in more
    gradually"), and nothing goes while something is warming up.
    """
    out = [(min(ceiling, grown(ready, tracker.values[-1] or 0.0, tracker.target)), tracker) for tracker, _inwards in policies if tracker.high()]
    if out:
        wanted, tracker = max(out, key=lambda one: one[0])
        if wanted > desired:
            return wanted, tracker
        return desired, None
    inwards = [tracker for tracker, allowed in policies if allowed]
    # Never so that the average would be above the target again.
    calm = all(tracker.low() and grown(ready, tracker.values[-1] or 0.0, tracker.target) < desired for tracker in inwards)
    if inwards and calm and not warming and desired > floor:
        return desired - 1, inwards[0]
    return desired, None


NAMES = {
    3: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    4: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
}
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def _numbers(text: str, position: int) -> set[int]:
    """The numbers that one field of a cron expression means."""
    low, high = BOUNDS[position]
    found: set[int] = set()
    for part in text.lower().split(","):
        span, _, step = part.partition("/")
        begin, _, end = span.partition("-")
        words = {name: number + (position == 3) for number, name in enumerate(NAMES.get(position, []))}
        first = low if begin == "*" else words.get(begin, -1) if begin in words else int(begin)
        last = high if begin == "*" or (step and not end) else first if not end else words[end] if end in words else int(end)
        found |= set(range(first, last + 1, int(step or 1)))
    return {one % 7 for one in found} if position == 4 else found


def falls_on(cron: str, moment: datetime) -> bool:
    """Whether a cron expression means this minute. Day of the month and of the week: when both are given, one of them is enough, as in crontab(5)."""
    fields = cron.split()
    minute, hour, day, month, weekday = (_numbers(text, position) for position, text in enumerate(fields))
    on_day, on_weekday = moment.day in day, moment.isoweekday() % 7 in weekday
    either = on_day or on_weekday if fields[2] != "*" and fields[4] != "*" else on_day and on_weekday
    return moment.minute in minute and moment.hour in hour and moment.month in month and either


def due(cron: str, zone: str | None, since: datetime, until: datetime) -> bool:
    """Whether a time of the cron expression lies in (since, until]; an hour at most is looked back."""
    try:
        local = ZoneInfo(zone or "Etc/UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return False
    moment = max(since, until - timedelta(hours=1)).replace(second=0, microsecond=0) + timedelta(minutes=1)
    while moment <= until:
        if falls_on(cron, moment.astimezone(local)):
            return True
        moment += timedelta(minutes=1)
    return False


# ---- figures


class Cpu:
    """CPU of guests: measured as differences of what they have used in all, kept by the minute for CloudWatch."""

    def __init__(self, cores: int, today: Callable[[], float] = time.time) -> None:
        self.cores, self.today = cores, today
        self.lock = threading.Lock()
        self.used: dict[str, tuple[float, float]] = {}  # instance → when, seconds used by then
        self.percent: dict[str, float] = {}  # instance → of the last period
        self.minutes: dict[tuple[str, str], dict[int, list[float]]] = {}  # dimension → minute → [minimum, maximum, count, sum]

    def measure(self, used: Mapping[str, tuple[float, float]], groups: Mapping[str, str]) -> None:
        """Instance → when it was looked at, and its CPU seconds by then; instance → its Auto Scaling group."""
        with self.lock:
            self.percent = {
                one: max(0.0, min(100.0, (seconds - self.used[one][1]) / (when - self.used[one][0]) / self.cores * 100))
                for one, (when, seconds) in used.items()
                if one in self.used and when > self.used[one][0]
            }
            self.used = dict(used)
            number = int(self.today() // 60)
            for one, percent in self.percent.items():
                for dimension in (("InstanceId", one), *((("AutoScalingGroupName", groups[one]),) if one in groups else ())):
                    known = self.minutes.setdefault(dimension, {})
                    sampled(known.setdefault(number, [0.0, 0.0, 0.0, 0.0]), percent)
                    for old in [minute for minute in known if minute < number - KEPT_MINUTES]:
                        del known[old]

    def data(self) -> Iterator[Any]:
        """AWS/EC2 CPUUtilization as moto keeps metrics."""
        with self.lock:
            rows = [(dimension, minute, list(kept)) for dimension, known in self.minutes.items() for minute, kept in known.items()]
        for (name, value), minute, (low, high, count, total) in rows:
            moment = datetime.fromtimestamp(minute * 60, UTC).replace(tzinfo=None)
            dimensions = [{"Name": name, "Value": value}]
            yield cloudwatch.MetricAggregatedDatum("AWS/EC2", "CPUUtilization", low, high, count, total, dimensions, moment, "Percent")


class ScalingPlane(Plane):
    """See the module."""

    name = "scaling"

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.stopping = threading.Event()
        self.cpu = Cpu(os.cpu_count() or 1)
        self.trackers: dict[tuple[str, str], Tracker] = {}  # (group, policy)
        self.requests: dict[tuple[str, str], int] = {}  # (load balancer, target group) → requests seen by the last period
        self.served: dict[tuple[str, str], float] = {}  # the same → requests in a minute, of the last period
        self.looked: datetime | None = None

    def install(self) -> None:
        plane, everything = self, cloudwatch.CloudWatchBackend.get_all_metrics

        def get_all_metrics(self: Any) -> list[Any]:
            return [*everything(self), *plane.cpu.data()]

        cloudwatch.CloudWatchBackend.get_all_metrics = get_all_metrics

    def start(self) -> None:
        self.stopping.clear()
        threading.Thread(target=self._run, daemon=True, name="scaling").start()

    def stop(self) -> None:
        self.stopping.set()

    def _run(self) -> None:
        following = time.monotonic() + PERIOD
        while not self.stopping.wait(max(0.0, following - time.monotonic())):
            following = max(following + PERIOD, time.monotonic())
            try:
                self.step(time.monotonic(), datetime.now(UTC))
            except Exception:
                log.exception("scaling")

    def step(self, now: float, moment: datetime) -> None:
        """One period: measure, then have each group's policies and schedule decide."""
        groups = list(self.cloud.backend("autoscaling").autoscaling_groups.values())
        self.measure(groups, now)
        since, self.looked = self.looked or moment, moment
        autoscaling = self.cloud.planes["autoscaling"]
        with autoscaling.lock:  # type: ignore[attr-defined]
            for group in groups:
                suspended = {one["ProcessName"] for one in group.suspended_processes}
                if "ScheduledActions" not in suspended:
                    self.follow_schedule(group, since, moment)
                self.follow_targets(group, now, acting="AlarmNotification" not in suspended)
        known = {group.name for group in groups}
        self.trackers = {key: one for key, one in self.trackers.items() if key[0] in known}

    # ---- figures

    def measure(self, groups: Sequence[Any], now: float) -> None:
        owners = {state.instance.id: group.name for group in groups for state in group.instance_states}
        running = [one.id for one in self.cloud.planes["vpc"].instances() if one.state == "running"]  # type: ignore[attr-defined]
        began = time.monotonic()

        def look(identifier: str) -> tuple[float, float | None]:
            seconds = self.cloud.engine.cpu_seconds(self.cloud.container_name(identifier))
            return now + time.monotonic() - began, seconds

        # Side by side: the engine answers each when it has collected anew, up to a second later.
        with ThreadPoolExecutor(max(1, len(running))) as pool:
            seen = dict(zip(running, pool.map(look, running), strict=True))
        self.cpu.measure({one: (when, seconds) for one, (when, seconds) in seen.items() if seconds is not None}, owners)
        totals = self.cloud.planes["elbv2"].metrics.totals()  # type: ignore[attr-defined]
        self.served = {key: (count - self.requests.get(key, count)) * 60 / PERIOD for key, count in totals.items()}
        self.requests = totals

    def figure(self, group: Any, metric: Mapping[str, str], ready: Sequence[str]) -> float | None:
        """What a predefined metric says of the instances that count."""
        kind = metric.get("PredefinedMetricType")
        if not ready:
            return None
        if kind == "ASGAverageCPUUtilization":
            known = [self.cpu.percent[one] for one in ready if one in self.cpu.percent]
            return sum(known) / len(known) if known else None
        if kind == "ALBRequestCountPerTarget":
            balancer, _, target_group = str(metric.get("ResourceLabel", "")).partition("/targetgroup/")
            return self.served.get((balancer, target_group.replace("/", "-")), 0.0) / len(ready)
        return None

    # ---- decisions

    def follow_targets(self, group: Any, now: float, acting: bool) -> None:
        """Show the group's target tracking policies the period's figures, and do what they ask for."""
        autoscaling = self.cloud.planes["autoscaling"]
        policies = [one for one in self.cloud.backend("autoscaling").describe_policies(group.name) if one.policy_type == "TargetTrackingScaling"]
        serving = [
            state.instance.id for state in group.instance_states if state.lifecycle_state == "InService" and state.instance.id not in autoscaling.leaving
        ]  # type: ignore[attr-defined]
        asked: list[tuple[Tracker, bool]] = []
        names: dict[str, str] = {}
        ready: list[str] = []
        for policy in policies:
            settings = vars(policy.target_tracking_configuration)
            warmup = float(policy.estimated_instance_warmup or 0)
            ready = [one for one in serving if now - autoscaling.launched.get(one, 0.0) >= warmup]  # type: ignore[attr-defined]
            target = float(settings["TargetValue"])
            tracker = self.trackers.get((group.name, policy.name))
            if tracker is None or tracker.target != target:
                tracker = self.trackers[group.name, policy.name] = Tracker(target)
            tracker.see(self.figure(group, settings.get("PredefinedMetricSpecification") or {}, ready))
            names[tracker.identity] = policy.name
            asked.append((tracker, str(settings.get("DisableScaleIn", "false")).lower() != "true"))
        if not asked or not acting:
            return
        desired = int(group.desired_capacity or 0)
        warming = desired - len(ready)
        wanted, tracker = decide(asked, len(ready), warming, desired, int(group.min_size), int(group.max_size))
        if tracker is None or wanted == desired:
            return
        alarm = f"TargetTracking-{group.name}-Alarm{'High' if wanted > desired else 'Low'}-{tracker.identity}"
        policy_name = names[tracker.identity]
        log.info("group %s: policy %s at %.1f of %.1f: %d to %d", group.name, policy_name, tracker.values[-1], tracker.target, desired, wanted)
        autoscaling.change(  # type: ignore[attr-defined]
            group, wanted, f"a monitor alarm {alarm} in state ALARM triggered policy {policy_name} changing the desired capacity from {desired} to {wanted}."
        )

    def follow_schedule(self, group: Any, since: datetime, until: datetime) -> None:
        """Carry out the group's scheduled actions whose time has come."""
        for action in self.cloud.backend("autoscaling").describe_scheduled_actions(group.name):
            if not action.recurrence or not due(action.recurrence, action.time_zone, since, until):
                continue
            for key in ("min_size", "max_size"):
                value = getattr(action, key)
                if value is not None:
                    setattr(group, key, int(value))
            before = int(group.desired_capacity or 0)
            asked = int(action.desired_capacity) if action.desired_capacity is not None else before
            wanted = max(int(group.min_size), min(int(group.max_size), asked))
            text = f"a scheduled action update of AutoScalingGroup constraints to min: {group.min_size}, max: {group.max_size}, desired: {wanted}"
            log.info("group %s: %s (%s)", group.name, text, action.scheduled_action_name)
            self.cloud.planes["autoscaling"].change(group, wanted, f"{text} changing the desired capacity from {before} to {wanted}.")  # type: ignore[attr-defined]
