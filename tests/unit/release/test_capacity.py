"""A change of a fleet's size by hand: within the guard rails, or refused with the way out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest
from ansible_collections.flotilla.ec2.plugins.action import fleet_capacity
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, capacity
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from botocore.stub import Stubber

MORNING = {"name": "morning", "cron": "0 7 * * 1-5", "time_zone": "Etc/UTC", "min": 3, "desired": None}
SCALING = {"cpu_percent": 60, "requests": None, "schedule": [MORNING]}
API: dict[str, Any] = {"name": "api", "group": "sums-local-api", "min": 2, "max": 6, "scaling": SCALING}
CLIENT: dict[str, Any] = {"name": "client", "group": "sums-local-client", "min": 2, "max": 4, "scaling": None}
MODEL = {"stack": {"name": "sums"}, "environment": {"name": "local"}, "fleets": [API, CLIENT]}
GROUP = {"min": 2, "max": 6, "desired": 2, "in_service": 2}


@pytest.mark.parametrize(
    ("count", "group", "texts"),
    [
        (7, GROUP, ("7 is more than the fleet's max (6)", "raise fleets.api.max", "provision.yml")),
        (5, {**GROUP, "max": 4}, ("5 is more than the group sums-local-api may have in AWS (4; the stack says 6)", "run provision.yml")),
        (1, GROUP, ("1 is less than the fleet's min (2)", "lower fleets.api.min")),
        (2, {**GROUP, "min": 3}, ("2 is less than the group sums-local-api must have (3 since morning of its schedule)", "next time")),
        (2, {**GROUP, "min": 4}, ("must have (4 in AWS; the stack says 2)", "run provision.yml")),
    ],
)
def test_what_lies_beyond_the_rails_is_refused_with_the_way_out(count: int, group: dict[str, Any], texts: tuple[str, ...]) -> None:
    message = capacity.refusal(API, group, count)
    for text in (*texts, "Nothing was changed. Fix:"):
        assert text in message


@pytest.mark.parametrize("count", [2, 3, 6])
def test_what_lies_within_them_is_not(count: int) -> None:
    assert capacity.refusal(API, GROUP, count) == ""


def test_the_fleet_and_the_number_are_named_or_asked_for() -> None:
    assert capacity.fleet_of({**MODEL, "fleets": [API]}, "") == API
    for name, text in (
        ("apo", "did you mean 'api'? Nothing was changed."),
        ("", "give -e fleet=api or client. Nothing was changed."),
        ("x", "'x' is no fleet of sums"),
    ):
        with pytest.raises(ReleaseError, match=text.replace("?", r"\?")):
            capacity.fleet_of(MODEL, name)
    assert capacity.number("3") == 3
    for given, text in (("", "count: missing"), ("-1", "'-1' is not a number of hosts"), ("three", "give it with -e count=3")):
        with pytest.raises(ReleaseError, match=text):
            capacity.number(given)


def test_before_and_after_are_shown_with_what_may_change_them_again() -> None:
    text = "\n".join(capacity.shown(MODEL, API, GROUP, 3, check=False))
    for part in ("Fleet api of sums in local", "2 → 3", "min 2 and max 6", "2 now", "CPU at 60 %; morning (0 7 * * 1-5 Etc/UTC: 3 at least)", "status.yml"):
        assert part in text
    text = "\n".join(capacity.shown(MODEL, CLIENT, {**GROUP, "desired": 3}, 2, check=True))
    assert "3 → 2" in text and "check mode" in text and "scaled by" not in text and "leaving" in text
    assert "2, as before" in "\n".join(capacity.shown(MODEL, CLIENT, GROUP, 2, check=False))


REGION = {**MODEL, "environment": {"name": "local", "region": "eu-central-1"}}
ROW = {"AutoScalingGroupName": "sums-local-api", "MinSize": 2, "MaxSize": 6, "DesiredCapacity": 2, "DefaultCooldown": 300, "AvailabilityZones": ["z"]}
ROW |= {"HealthCheckType": "EC2", "CreatedTime": 0}


@pytest.mark.parametrize(
    ("count", "check", "found", "asked", "outcome"),
    [
        pytest.param(3, False, [ROW], True, (True, 2, 3), id="more"),
        pytest.param(3, True, [ROW], False, (True, 2, 3), id="planned"),
        pytest.param(2, False, [ROW], False, (False, 2, 2), id="as before"),
        pytest.param(7, False, [ROW], False, "7 is more than the fleet's max", id="beyond max"),
        pytest.param(3, False, [], False, "sums-local-api does not exist in local. Nothing was changed. Fix: run provision.yml", id="no group"),
    ],
)
def test_the_group_is_asked_for_another_number_and_for_nothing_else(
    monkeypatch: pytest.MonkeyPatch, count: int, check: bool, found: list[Any], asked: bool, outcome: Any
) -> None:
    client = botocore.session.get_session().create_client("autoscaling", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
    monkeypatch.setattr(api, "client", lambda _service, _region: client)
    action = object.__new__(fleet_capacity.ActionModule)
    action._task = SimpleNamespace(check_mode=check)
    with Stubber(client) as stub:
        stub.add_response("describe_auto_scaling_groups", {"AutoScalingGroups": found}, {"AutoScalingGroupNames": ["sums-local-api"]})
        if asked:
            wanted = {"AutoScalingGroupName": "sums-local-api", "DesiredCapacity": count, "HonorCooldown": False}
            stub.add_response("set_desired_capacity", {}, wanted)
        arguments = {"model": REGION, "fleet": "api", "count": str(count)}
        if isinstance(outcome, str):
            with pytest.raises(ReleaseError, match=outcome):
                action.act(arguments, {})
        else:
            done = action.act(arguments, {})
            assert (done["changed"], done["before"], done["after"]) == outcome
        stub.assert_no_pending_responses()
