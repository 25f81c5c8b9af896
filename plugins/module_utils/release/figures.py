# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the load balancer's metrics say of a release: requests, errors and latency over its time, for its report.

An Application Load Balancer reports in intervals of 60 seconds, some time after their end ("CloudWatch metrics for your Application Load
Balancer"): a short release has a point or two. A report does without what is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document

PERIOD = 60
BEFORE_SECONDS = 300
METRICS = (
    ("requests", "Requests a second", "/s", "RequestCount", "Sum", 1 / PERIOD),
    ("errors", "5xx answers a second", "/s", "HTTPCode_Target_5XX_Count", "Sum", 1 / PERIOD),
    ("latency", "Latency, 95 % are faster", "ms", "TargetResponseTime", "p95", 1000),
)


def dimension(arn: str) -> str:
    """A load balancer or target group as CloudWatch names it."""
    return arn.split(":", 5)[5].removeprefix("loadbalancer/")


def queries(balancer: str, groups: Mapping[str, str]) -> list[Document]:
    """GetMetricData's queries; groups is label → target group."""
    return [
        {
            "Id": f"{key}_{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/ApplicationELB",
                    "MetricName": name,
                    "Dimensions": [{"Name": "LoadBalancer", "Value": dimension(balancer)}, {"Name": "TargetGroup", "Value": dimension(arn)}],
                },
                "Period": PERIOD,
                "Stat": statistic,
            },
        }
        for number, arn in enumerate(groups.values())
        for key, _title, _unit, name, statistic, _factor in METRICS
    ]


def collect(elbv2: Any, cloudwatch: Any, groups: Mapping[str, str], start: float, end: float) -> list[Document]:
    """The figures of target groups from some minutes before start until end; [] where nothing is balanced or known."""
    if not groups:
        return []
    balancers = elbv2.describe_target_groups(TargetGroupArns=list(groups.values())[:1])["TargetGroups"][0].get("LoadBalancerArns") or []
    if not balancers:
        return []
    span = {"StartTime": datetime.fromtimestamp(start - BEFORE_SECONDS, UTC), "EndTime": datetime.fromtimestamp(end, UTC)}
    answer = cloudwatch.get_metric_data(MetricDataQueries=queries(balancers[0], groups), **span)["MetricDataResults"]
    return shaped(answer, list(groups))


def shaped(results: list[Document], labels: list[str]) -> list[Document]:
    """GetMetricData's results as figures of a report."""
    found = []
    for key, title, unit, _name, _statistic, factor in METRICS:
        lines: dict[str, list[list[float]]] = {}
        for row in results:
            kind, _, number = row["Id"].rpartition("_")
            if kind == key:
                pairs = zip(row["Timestamps"], row["Values"], strict=True)
                lines[labels[int(number)]] = sorted([moment.timestamp(), value * factor] for moment, value in pairs)
        if any(lines.values()):
            found.append({"title": title, "unit": unit, "lines": lines})
    return found
