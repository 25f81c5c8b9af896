"""CloudWatch's metrics of target groups, as GetMetricData answers with them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local_cloud.planes import elb_metrics

from .edge_support import client, paper_cloud

NOON = datetime(2026, 1, 2, 12, 0, 10, tzinfo=UTC)
BALANCER, GROUP = "app/shop/50dc6c495c0c9188", "shop-web-73e2d6bc24d8a067"


@pytest.fixture
def metrics() -> Iterator[elb_metrics.Metrics]:
    """Two minutes of traffic."""
    now = [NOON.timestamp()]
    with paper_cloud():
        made = elb_metrics.Metrics(lambda: now[0])
        elb_metrics.install(made)
        made.count(BALANCER, GROUP, 95, 0, {10: 95})
        made.count(BALANCER, GROUP, 5, 2, {200: 5})
        made.hosts(BALANCER, GROUP, 2, 0)
        made.hosts(BALANCER, GROUP, 1, 1)
        now[0] += 60
        made.count(BALANCER, GROUP, 10, 0, {20: 10})
        yield made


def asked(name: str, stat: str) -> dict[datetime, Any]:
    dimensions = [{"Name": "LoadBalancer", "Value": BALANCER}, {"Name": "TargetGroup", "Value": "targetgroup/shop-web/73e2d6bc24d8a067"}]
    metric = {"Namespace": "AWS/ApplicationELB", "MetricName": name, "Dimensions": dimensions}
    query = [{"Id": "a", "MetricStat": {"Metric": metric, "Period": 60, "Stat": stat}}]
    start = NOON.replace(second=0) - timedelta(minutes=5)
    (row,) = client("cloudwatch").get_metric_data(MetricDataQueries=query, StartTime=start, EndTime=NOON + timedelta(minutes=5))["MetricDataResults"]
    return dict(zip(row["Timestamps"], row["Values"], strict=True))


@pytest.mark.parametrize(
    ("name", "stat", "values"),
    [
        ("RequestCount", "Sum", [100, 10]),
        ("HTTPCode_Target_5XX_Count", "Sum", [2]),
        ("TargetResponseTime", "Average", [(0.95 + 1.0) / 100, 0.02]),
        ("TargetResponseTime", "p95", [0.01, 0.02]),
        ("TargetResponseTime", "p99", [0.2, 0.02]),
        ("UnHealthyHostCount", "Maximum", [1]),
        ("HealthyHostCount", "Minimum", [1]),
    ],
)
def test_each_minute_has_its_figures(metrics: elb_metrics.Metrics, name: str, stat: str, values: list[float]) -> None:
    first = NOON.replace(second=0)
    found = asked(name, stat)
    assert {moment: pytest.approx(value) for moment, value in found.items()} == dict(zip([first, first + timedelta(minutes=1)], values, strict=False))


def test_metrics_are_listed(metrics: elb_metrics.Metrics) -> None:
    names = {one["MetricName"] for one in client("cloudwatch").list_metrics(Namespace="AWS/ApplicationELB")["Metrics"]}
    assert {"RequestCount", "TargetResponseTime"} <= names


def test_the_agent_counts_what_targets_answered() -> None:
    path = Path(__file__).resolve().parents[3] / "local_cloud/images/edge/agent.py"
    specification = importlib.util.spec_from_file_location("edge_agent", path)
    assert specification and specification.loader
    agent = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(agent)
    line = '10.0.0.9:41 [02/Jan/2026:12:00:00.001] listener-443~ {} 0/0/1/{}/+14 {} 312 - - ---- 2/1/0/0/0 0/0 "GET / HTTP/1.1"'
    rows = [("web/s1", 12, 200), ("web/s2", 12, 500), ("web/s1", -1, 502), ("web/<NOSRV>", -1, 503), ("listener-80/<NOSRV>", -1, 301)]
    assert agent.counted([line.format(*row) for row in rows] + ["Proxy web started."]) == {"web": {"requests": 3, "errors": 1, "times": {"12": 2}}}
