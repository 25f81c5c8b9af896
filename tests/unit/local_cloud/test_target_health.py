"""Target health against the Application Load Balancers User Guide ("Health checks for your target groups", "Deregistration delay")."""

from __future__ import annotations

from typing import Any

import pytest

from local_cloud.planes.target_health import Group, Outcome, code_matches

OK = Outcome("response", 200)
BAD = Outcome("response", 503)
LIMITS: dict[str, Any] = {"matcher": "200", "healthy_threshold": 3, "unhealthy_threshold": 2}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def group(clock: Clock) -> Group:
    group = Group(clock)
    group.register("i-1", 8080)
    return group


def state(group: Group, identifier: str = "i-1", **facts: bool) -> tuple[str, str | None]:
    health = group.health(identifier, **facts)
    return health.state, health.reason


def observe(group: Group, *outcomes: Outcome) -> list[bool]:
    return [group.targets["i-1"].observe(outcome, **LIMITS) for outcome in outcomes]


def test_a_new_target_registers_then_is_checked_then_needs_one_passed_check(group: Group) -> None:
    assert state(group) == ("initial", "Elb.RegistrationInProgress")
    group.targets["i-1"].start_checking()
    assert state(group) == ("initial", "Elb.InitialHealthChecking")
    assert observe(group, OK) == [True]
    assert state(group) == ("healthy", None)


def test_a_new_target_that_fails_becomes_unhealthy_at_the_threshold(group: Group) -> None:
    observe(group, BAD)
    assert state(group) == ("initial", "Elb.InitialHealthChecking")
    observe(group, BAD)
    assert state(group) == ("unhealthy", "Target.ResponseCodeMismatch")


def test_a_failure_then_a_pass_makes_a_new_target_healthy(group: Group) -> None:
    observe(group, BAD, OK)
    assert state(group) == ("healthy", None)


def test_an_unhealthy_target_needs_the_whole_healthy_threshold(group: Group) -> None:
    observe(group, OK, BAD, BAD, OK, OK)
    assert state(group)[0] == "unhealthy"
    assert observe(group, OK) == [True]
    assert state(group)[0] == "healthy"


def test_single_failures_between_passes_never_count_up(group: Group) -> None:
    observe(group, OK, BAD, OK, BAD, OK, BAD)
    assert state(group)[0] == "healthy"


@pytest.mark.parametrize(
    ("outcome", "reason", "description"),
    [
        (BAD, "Target.ResponseCodeMismatch", "Health checks failed with these codes: [503]"),
        (Outcome("timeout"), "Target.Timeout", "Request timed out"),
        (Outcome("failed"), "Target.FailedHealthChecks", "Health checks failed"),
    ],
)
def test_reasons_of_unhealthy(group: Group, outcome: Outcome, reason: str, description: str) -> None:
    observe(group, OK, outcome, outcome)
    health = group.health("i-1")
    assert (health.state, health.reason, health.description) == ("unhealthy", reason, description)


def test_the_reason_follows_the_latest_failure(group: Group) -> None:
    observe(group, BAD, BAD)
    assert observe(group, Outcome("failed")) == [True]
    assert state(group) == ("unhealthy", "Target.FailedHealthChecks")


def test_unused_reasons(group: Group) -> None:
    assert state(group, "i-9") == ("unused", "Target.NotRegistered")
    assert state(group, in_use=False) == ("unused", "Target.NotInUse")
    assert state(group, stopped=True) == ("unused", "Target.InvalidState")
    assert state(group, zone_enabled=False) == ("unused", "Target.NotInUse")


def test_draining_lasts_the_whole_delay_then_unused(group: Group, clock: Clock) -> None:
    observe(group, OK)
    assert group.deregister("i-1", 30)
    clock.now += 29.9
    assert state(group) == ("draining", "Target.DeregistrationInProgress")
    assert group.expire() == []
    clock.now += 0.1
    assert state(group) == ("unused", "Target.NotRegistered")
    assert [(one.identifier, one.port) for one in group.expire()] == [("i-1", 8080)]
    assert group.expire() == []


def test_no_draining_without_delay_or_load_balancer(group: Group) -> None:
    group.deregister("i-1", 0)
    assert state(group) == ("unused", "Target.NotRegistered")
    group.register("i-1", 8080)
    group.deregister("i-1", 300, in_use=False)
    assert state(group) == ("unused", "Target.NotRegistered")


def test_deregistering_twice_neither_fails_nor_prolongs(group: Group, clock: Clock) -> None:
    group.deregister("i-1", 10)
    clock.now += 6
    assert not group.deregister("i-1", 10)
    clock.now += 4
    assert state(group)[0] == "unused"


def test_registering_a_draining_target_makes_it_initial(group: Group) -> None:
    observe(group, OK)
    group.deregister("i-1", 30)
    assert group.register("i-1", 8080)
    assert state(group) == ("initial", "Elb.RegistrationInProgress")
    assert not group.draining


def test_registering_a_registered_target_keeps_its_health(group: Group) -> None:
    observe(group, OK)
    assert not group.register("i-1", 8080)
    assert state(group)[0] == "healthy"
    assert group.register("i-1", 9090)
    assert state(group)[0] == "initial"


def test_requests_go_to_the_healthy_and_to_all_when_none_is(group: Group) -> None:
    group.register("i-2", 8080)
    assert group.routable() == {"i-1", "i-2"}
    observe(group, OK)
    assert group.routable() == {"i-1"}
    observe(group, BAD, BAD)
    assert group.routable() == {"i-1", "i-2"}
    assert group.routable(lambda identifier: identifier != "i-2") == {"i-1"}


def test_a_draining_target_gets_no_request_even_when_it_is_the_last(group: Group) -> None:
    group.deregister("i-1", 30)
    assert group.routable() == set()


@pytest.mark.parametrize(
    ("matcher", "code", "good"), [("200", 200, True), ("200", 204, False), ("200-299", 204, True), ("200,302", 302, True), ("200-204,301", 300, False)]
)
def test_matcher(matcher: str, code: int, good: bool) -> None:
    assert code_matches(matcher, code) is good
