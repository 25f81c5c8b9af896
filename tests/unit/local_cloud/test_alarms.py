"""CloudWatch's alarms on what the cloud measures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from local_cloud.planes import alarms, elb_metrics

from .edge_support import client, paper_cloud

NOON = datetime(2026, 1, 2, 12, 0, 10, tzinfo=UTC)
BALANCER, GROUP = "app/shop/50dc6c495c0c9188", "shop-web-73e2d6bc24d8a067"
DIMENSIONS = [{"Name": "LoadBalancer", "Value": BALANCER}, {"Name": "TargetGroup", "Value": "targetgroup/shop-web/73e2d6bc24d8a067"}]


def alarm(**more: Any) -> Any:
    known = {"comparison_operator": "GreaterThanThreshold", "threshold": 3.0, "evaluation_periods": 3, "datapoints_to_alarm": 2}
    return SimpleNamespace(**{**known, "treat_missing_data": None, "state_value": "OK", "state_reason": "before", **more})


@pytest.mark.parametrize(
    ("values", "more", "state"),
    [
        ([1.0, 4.0, 5.0], {}, "ALARM"),
        ([1.0, 3.0, 5.0], {}, "OK"),
        ([None, 4.0, 5.0], {}, "ALARM"),
        ([None, None, 5.0], {}, "OK"),
        ([None, None, 5.0], {"treat_missing_data": "breaching"}, "ALARM"),
        ([None, None, None], {}, "INSUFFICIENT_DATA"),
        ([None, None, None], {"treat_missing_data": "notBreaching"}, "OK"),
        ([None, None, None], {"treat_missing_data": "ignore", "state_value": "ALARM"}, "ALARM"),
        ([2.0, 4.0, 2.0], {"comparison_operator": "LessThanThreshold"}, "ALARM"),
        ([4.0, 5.0, 5.0], {"datapoints_to_alarm": None}, "ALARM"),
    ],
)
def test_the_state_of_an_alarm(values: list[float | None], more: dict[str, Any], state: str) -> None:
    assert alarms.state_of(values, alarm(**more))[0] == state


def test_the_reason_is_as_aws_words_it() -> None:
    assert alarms.state_of([1.0, 4.0, 5.0], alarm())[1] == "Threshold Crossed: 2 datapoints [4.0, 5.0] were greater than the threshold (3.0)."
    assert alarms.state_of([1.0], alarm(evaluation_periods=1, datapoints_to_alarm=None))[1] == (
        "Threshold Crossed: 1 datapoint [1.0] was not greater than the threshold (3.0)."
    )


class Cloud:
    """moto's CloudWatch alone."""

    @staticmethod
    def backend(service: str) -> Any:
        from moto.backends import get_backend

        return get_backend(service)["123456789012"]["eu-central-1"]  # type: ignore[call-overload]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    moment = [NOON.timestamp()]
    monkeypatch.setattr(alarms, "time", SimpleNamespace(time=lambda: moment[0]))
    with paper_cloud():
        yield moment


def test_an_alarm_on_a_target_group_rings_and_ceases(now: list[float]) -> None:
    """On answers with 5xx, of which nothing is reported as long as there are none; one on another metric stays as it was set by hand."""
    metrics = elb_metrics.Metrics(lambda: now[0])
    elb_metrics.install(metrics)
    cloudwatch = client("cloudwatch")
    common: dict[str, Any] = {"ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 1, "Period": 60, "Statistic": "Sum", "Threshold": 1.0}
    errors = {"Namespace": "AWS/ApplicationELB", "MetricName": "HTTPCode_Target_5XX_Count", "Dimensions": DIMENSIONS, "TreatMissingData": "notBreaching"}
    cloudwatch.put_metric_alarm(AlarmName="errors", **errors, **common)
    cloudwatch.put_metric_alarm(AlarmName="carts", Namespace="Shop", MetricName="LostCarts", **common)
    cloudwatch.set_alarm_state(AlarmName="carts", StateValue="ALARM", StateReason="by hand")
    plane = alarms.AlarmsPlane(Cloud())  # type: ignore[arg-type]

    def states() -> dict[str, tuple[str, str]]:
        plane.look()
        return {row["AlarmName"]: (row["StateValue"], row["StateReason"]) for row in cloudwatch.describe_alarms()["MetricAlarms"]}

    metrics.count(BALANCER, GROUP, 10, 0, {10: 10})
    assert states()["errors"][0] == "OK"
    metrics.count(BALANCER, GROUP, 10, 2, {10: 10})
    found = states()
    assert found["errors"][0] == "ALARM" and "greater than the threshold (1.0)" in found["errors"][1]
    assert found["carts"] == ("ALARM", "by hand")
    now[0] += 60
    assert states()["errors"][0] == "OK"


def test_what_shall_not_fall_is_judged_by_whole_minutes(now: list[float]) -> None:
    metrics = elb_metrics.Metrics(lambda: now[0])
    elb_metrics.install(metrics)
    few = {"Namespace": "AWS/ApplicationELB", "MetricName": "RequestCount", "Dimensions": DIMENSIONS, "Statistic": "Sum", "Period": 60}
    client("cloudwatch").put_metric_alarm(AlarmName="few", ComparisonOperator="LessThanThreshold", EvaluationPeriods=1, Threshold=50.0, **few)
    plane = alarms.AlarmsPlane(Cloud())  # type: ignore[arg-type]
    metrics.count(BALANCER, GROUP, 100, 0, {10: 100})
    now[0] += 60
    metrics.count(BALANCER, GROUP, 1, 0, {10: 1})
    plane.look()
    (row,) = client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert row["StateValue"] == "OK", "of a minute that has begun less is known"
