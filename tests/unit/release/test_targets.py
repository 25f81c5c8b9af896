"""Draining and serving against a target group whose states pass with time."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import Clock, Target


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class LoadBalancer:
    """An ELBv2 client with one target: draining lasts 5 s; after registering the states follow the script (second, state)."""

    exceptions = SimpleNamespace(InvalidTargetException=KeyError, TargetGroupNotFoundException=LookupError)

    def __init__(self, time: Time, state: str, script: list[tuple[float, str]], drain: float = 5.0) -> None:
        self.time, self.state, self.script, self.drain = time, state, script, drain
        self.registered_at = 0.0 if state == "initial" else None
        self.drained_at = time.seconds + drain if state == "draining" else None
        self.calls: list[str] = []

    def describe_target_health(self, **_arguments: Any) -> dict[str, Any]:
        state = self.state
        if self.registered_at is not None:
            state = [name for second, name in self.script if self.registered_at + second <= self.time.seconds][-1]
        elif self.drained_at is not None:
            state = "draining" if self.time.seconds < self.drained_at else "unused"
        reason = {"unused": "Target.NotRegistered", "unhealthy": "Target.ResponseCodeMismatch"}.get(state)
        health = {"State": state, **({"Reason": reason, "Description": "Health checks failed with these codes: [500]"} if reason else {})}
        return {"TargetHealthDescriptions": [{"Target": {"Id": "i-1", "Port": 8080}, "TargetHealth": health}]}

    def register_targets(self, **_arguments: Any) -> None:
        self.calls.append("register")
        self.registered_at = self.time.seconds

    def deregister_targets(self, **_arguments: Any) -> None:
        self.calls.append("deregister")
        self.registered_at, self.drained_at = None, self.time.seconds + self.drain


def target(state: str, *script: tuple[float, str], drain: float = 5.0) -> tuple[Target, LoadBalancer, Time]:
    time = Time()
    api = LoadBalancer(time, state, list(script) or [(0, "initial"), (2, "healthy")], drain)
    return Target(api, "arn", "i-1", 8080, Clock(time.now, time.sleep)), api, time


def test_draining_is_waited_for() -> None:
    one, api, time = target("healthy")
    changed, before = one.drain(60)
    assert changed and before["state"] == "healthy" and api.calls == ["deregister"] and time.seconds == 5


def test_one_that_drains_already_is_waited_for_too() -> None:
    one, api, time = target("draining")
    assert one.drain(60)[0] is False
    assert api.calls == [] and time.seconds == 5


def test_one_that_is_out_is_left_alone() -> None:
    one, api, time = target("unused")
    assert one.drain(60)[0] is False
    assert api.calls == [] and time.seconds == 0


def test_endless_draining_is_named() -> None:
    one, _api, _time = target("healthy", drain=500)
    with pytest.raises(ReleaseError, match=r"still is draining .* after 10 s.*Fix:"):
        one.drain(10)


@pytest.mark.parametrize("state", ["unused", "draining"])
def test_serving_registers_and_waits_until_healthy_for_so_long(state: str) -> None:
    one, api, time = target(state)
    changed, health = one.serve(60, healthy_seconds=5)
    assert changed and health["state"] == "healthy" and api.calls == ["register"] and time.seconds == 7


def test_one_that_serves_is_left_alone() -> None:
    one, api, time = target("healthy")
    assert one.serve(60, 5) == (False, {"state": "healthy", "reason": "", "description": "", "port": 8080})
    assert api.calls == [] and time.seconds == 0


def test_one_that_is_being_checked_is_waited_for_without_registering() -> None:
    one, api, time = target("initial", (0, "initial"), (3, "healthy"))
    assert one.serve(60, 0)[0] is False
    assert api.calls == [] and time.seconds == 3


def test_a_relapse_counts_from_the_start() -> None:
    one, _api, time = target("unused", (0, "healthy"), (3, "unhealthy"), (6, "healthy"))
    one.serve(60, healthy_seconds=5)
    assert time.seconds == 11


def test_never_healthy_ends_at_the_deadline_with_the_reason() -> None:
    one, _api, time = target("unused", (0, "initial"), (10, "unhealthy"))
    with pytest.raises(ReleaseError, match=r"unhealthy \(Target.ResponseCodeMismatch: Health checks failed with these codes: \[500\]\)"):
        one.serve(30, 5)
    assert time.seconds == 30


def test_check_mode_only_looks() -> None:
    one, api, _time = target("healthy")
    assert one.drain(60, check=True)[0] is True
    one, api, _time = target("draining")
    assert one.serve(60, 5, check=True)[0] is True
    assert api.calls == []


@pytest.mark.parametrize(
    ("others", "together", "minimum", "left_alone"),
    [
        ({"i-2": "healthy"}, [], 1, False),
        ({"i-2": "unhealthy"}, [], 1, True),
        ({"i-2": "healthy", "i-3": "healthy"}, ["i-2"], 1, False),
        ({"i-2": "healthy"}, ["i-2"], 1, True),
    ],
)
def test_the_last_healthy_targets_stay(others: dict[str, str], together: list[str], minimum: int, left_alone: bool) -> None:
    one, api, time = target("healthy")
    rows = [{"Target": {"Id": name, "Port": 8080}, "TargetHealth": {"State": state}} for name, state in {"i-1": "healthy", **others}.items()]
    api.describe_target_health = lambda **_arguments: {"TargetHealthDescriptions": rows}  # type: ignore[method-assign]
    refused = one.guard(minimum, together)
    assert bool(refused) is left_alone
    assert ("Fix:" in refused) is left_alone and time.seconds == (30 if left_alone else 0)


def test_a_sick_target_may_leave_whatever_the_others_do() -> None:
    one, _api, time = target("unhealthy")
    assert one.guard(1, []) == "" and time.seconds == 0


@pytest.mark.parametrize("order", list(itertools.permutations(["i-1", "i-2", "i-3"])))
@pytest.mark.parametrize(("outside", "minimum", "leaving"), [("healthy", 1, 3), ("draining", 1, 2), ("draining", 2, 1), ("draining", 3, 0)])
def test_as_many_of_a_batch_leave_as_can_be_spared(order: tuple[str, ...], outside: str, minimum: int, leaving: int) -> None:
    """Whoever of them asks first, and whether or not those that have left are seen to have."""
    states = dict.fromkeys(["i-1", "i-2", "i-3"], "healthy") | {"i-4": outside}
    one, api, _time = target("healthy")
    rows = lambda **_arguments: {  # noqa: E731
        "TargetHealthDescriptions": [{"Target": {"Id": name, "Port": 8080}, "TargetHealth": {"State": state}} for name, state in states.items()]
    }
    api.describe_target_health = rows  # type: ignore[method-assign]
    seen = []
    for name in order:
        one.identifier = name
        if one.spared(minimum, ["i-1", "i-2", "i-3"]):
            seen.append(name)
            states[name] = "draining"
    assert sorted(seen) == ["i-1", "i-2", "i-3"][:leaving]
    one.identifier = "i-4"
    assert one.spared(minimum, ["i-4", "i-1"]) is (outside == "draining" or minimum < 1 + 3 - leaving), "what serves nobody may go"
