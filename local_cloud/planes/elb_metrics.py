"""CloudWatch's metrics of Application Load Balancers' target groups, from the requests that went through HAProxy.

Names, dimensions, units and statistics are those of "CloudWatch metrics for your Application Load Balancer" (User Guide). A minute's figures are there
while it still runs; AWS has them after it: "Elastic Load Balancing measures and sends its metrics in 60-second intervals".
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from moto.cloudwatch import models

NAMESPACE = "AWS/ApplicationELB"
Number = TypeVar("Number", int, float)
PERIOD = 60
KEPT_MINUTES = 180  # AWS keeps them for 15 days


@dataclass
class Minute:
    """What one target group did in one minute; `times` counts answers by their milliseconds, `healthy` and `unhealthy` are samples."""

    requests: int = 0
    errors: int = 0
    times: Counter[int] = field(default_factory=Counter)
    healthy: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    unhealthy: list[int] = field(default_factory=lambda: [0, 0, 0, 0])


def sampled(kept: list[Number], value: Number) -> None:
    """Add a sample to [minimum, maximum, count, sum]."""
    kept[:] = [min(kept[0], value) if kept[2] else value, max(kept[1], value), kept[2] + 1, kept[3] + value]


class Timed(models.MetricAggregatedDatum):
    """A datum that knows its distribution, for percentiles."""

    times: Mapping[int, int] = {}


class Metrics:
    """Figures by load balancer (app/name/id), backend (name-id of the target group) and minute."""

    def __init__(self, today: Callable[[], float] = time.time) -> None:
        self.today = today
        self.lock = threading.Lock()
        self.minutes: dict[tuple[str, str], dict[int, Minute]] = {}
        self.counted: Counter[tuple[str, str]] = Counter()  # requests since the start

    def _now(self, balancer: str, backend: str) -> Minute:
        """The running minute. Hold the lock."""
        number = int(self.today() // PERIOD)
        known = self.minutes.setdefault((balancer, backend), {})
        for old in [one for one in known if one < number - KEPT_MINUTES]:
            del known[old]
        return known.setdefault(number, Minute())

    def count(self, balancer: str, backend: str, requests: int, errors: int, times: Mapping[int, int]) -> None:
        """Requests that were answered."""
        with self.lock:
            minute = self._now(balancer, backend)
            minute.requests += requests
            self.counted[balancer, backend] += requests
            minute.errors += errors
            minute.times.update(times)

    def totals(self) -> dict[tuple[str, str], int]:
        """Requests since the start, by load balancer and backend."""
        with self.lock:
            return dict(self.counted)

    def hosts(self, balancer: str, backend: str, healthy: int, unhealthy: int) -> None:
        """How many targets are healthy, and not, just now."""
        with self.lock:
            minute = self._now(balancer, backend)
            sampled(minute.healthy, healthy)
            sampled(minute.unhealthy, unhealthy)

    def data(self) -> list[Any]:
        """All of it as moto keeps metrics."""
        with self.lock:
            return [datum for key, known in self.minutes.items() for number, minute in known.items() for datum in self._of(*key, number, minute)]

    @staticmethod
    def _of(balancer: str, backend: str, number: int, minute: Minute) -> Iterator[Any]:
        name, _, identifier = backend.rpartition("-")
        dimensions = [{"Name": "TargetGroup", "Value": f"targetgroup/{name}/{identifier}"}, {"Name": "LoadBalancer", "Value": balancer}]
        # moto compares with the naive UTC time of its own data.
        moment = datetime.fromtimestamp(number * PERIOD, UTC).replace(tzinfo=None)

        def datum(metric: str, kept: tuple[float, float, float, float], unit: str) -> Timed:
            low, high, count, total = kept
            return Timed(NAMESPACE, metric, low, high, count, total, dimensions, moment, unit)

        if minute.requests:
            yield datum("RequestCount", (1, 1, minute.requests, minute.requests), "Count")
            if minute.healthy[3]:
                # "The average number of requests received by each target in a target group"; its one valid statistic is Sum.
                each = minute.requests * minute.healthy[2] / minute.healthy[3]
                yield Timed(NAMESPACE, "RequestCountPerTarget", each, each, 1, each, dimensions[:1], moment, "Count")
        if minute.errors:  # "Reporting criteria: There is a nonzero value"
            yield datum("HTTPCode_Target_5XX_Count", (1, 1, minute.errors, minute.errors), "Count")
        if minute.times:
            seconds = [one / 1000 for one in minute.times]
            total = sum(one * count for one, count in minute.times.items()) / 1000
            timed = datum("TargetResponseTime", (min(seconds), max(seconds), sum(minute.times.values()), total), "Seconds")
            timed.times = dict(minute.times)
            yield timed
        for metric, kept in (("HealthyHostCount", minute.healthy), ("UnHealthyHostCount", minute.unhealthy)):
            if kept[2]:
                yield datum(metric, (kept[0], kept[1], kept[2], kept[3]), "Count")


def percentile(times: Mapping[int, int], share: float) -> float:
    """The seconds within which this share (0 to 100) of the answers came."""
    wanted, reached = math.ceil(sum(times.values()) * share / 100), 0
    for milliseconds in sorted(times):
        reached += times[milliseconds]
        if reached >= wanted:
            return milliseconds / 1000
    return 0.0


def install(metrics: Metrics) -> None:
    """Have moto's CloudWatch answer with these metrics too, and with percentiles (`p95`) of their times."""
    everything, statistic = models.CloudWatchBackend.get_all_metrics, models.Statistics.get_statistics_for_type

    def get_all_metrics(self: Any) -> list[Any]:
        return [*everything(self), *metrics.data()]

    def get_statistics_for_type(self: Any, stat: str) -> Any:
        if stat[:1] != "p" or not stat[1:].replace(".", "", 1).isdigit():
            return statistic(self, stat)
        times: Counter[int] = Counter()
        for datum in self.metric_data:
            times.update(getattr(datum, "times", {}))
        return percentile(times, float(stat[1:])) if times else None

    # moto compares a dimension's value with the other one's name, so that metrics with two dimensions are found in one order only.
    models.Dimension.__lt__ = lambda self, other: (self.name, self.value) < (other.name, other.value)
    models.CloudWatchBackend.get_all_metrics = get_all_metrics
    models.Statistics.get_statistics_for_type = get_statistics_for_type
