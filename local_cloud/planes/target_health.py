"""The states of a load balancer's targets, as a machine without clock, network or thread of its own.

Held to the Application Load Balancers User Guide:

* "Health checks for your target groups" (target-group-health-checks.html): the states, their reason codes, and "after your target is
  registered, it must pass one health check to be considered healthy".
* "Edit target group attributes", Deregistration delay (edit-target-group-attributes.html): "The initial state of a deregistering target is
  draining. After the deregistration delay elapses, the deregistration process completes and the state of the target is unused." With no
  request in flight the deregistration is complete at once, but "the status of the target is displayed as draining until the
  deregistration delay timeout expires": what DescribeTargetHealth shows depends on the clock only.
* ``TargetHealth`` in the API reference: reason codes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

State = Literal["initial", "healthy", "unhealthy", "unused", "draining", "unavailable"]


@dataclass(frozen=True)
class Health:
    """What DescribeTargetHealth says of one target."""

    state: State
    reason: str | None = None
    description: str | None = None


REGISTERING = Health("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
CHECKING = Health("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
HEALTHY = Health("healthy")
DRAINING = Health("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
NOT_REGISTERED = Health("unused", "Target.NotRegistered", "Target is not registered to the target group")
NOT_IN_USE = Health("unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer")
ZONE_NOT_ENABLED = Health("unused", "Target.NotInUse", "Target is in an Availability Zone that is not enabled for the load balancer")
STOPPED = Health("unused", "Target.InvalidState", "Target is in the stopped state")


@dataclass(frozen=True)
class Outcome:
    """One health check's result.

    ``kind`` is ``response`` (an answer came; ``code`` is its status), ``connected`` (a TCP check's connection was made), ``timeout`` (nothing within
    the time-out) or ``failed`` (the connection was refused, reset or could not be made).
    """

    kind: Literal["response", "connected", "timeout", "failed"]
    code: int | None = None


def code_matches(matcher: str, code: int) -> bool:
    """Whether an HTTP status is one of the matcher's: ``200``, ``200,302`` or ``200-299`` and mixtures of them."""
    for part in str(matcher).split(","):
        bounds = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if bounds and int(bounds[1]) <= code <= int(bounds[2] or bounds[1]):
            return True
    return False


def failure(outcome: Outcome, matcher: str) -> Health | None:
    """The state that this outcome argues for, or None when the check has passed."""
    if outcome.kind == "connected":
        return None
    if outcome.kind == "response" and outcome.code is not None:
        if code_matches(matcher, outcome.code):
            return None
        return Health("unhealthy", "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{outcome.code}]")
    if outcome.kind == "timeout":
        return Health("unhealthy", "Target.Timeout", "Request timed out")
    return Health("unhealthy", "Target.FailedHealthChecks", "Health checks failed")


@dataclass
class Target:
    """A registered target: its state and the run of equal outcomes that may change it."""

    identifier: str
    port: int
    health: Health = REGISTERING
    passed: int = 0
    failed: int = 0
    serial: int = field(default_factory=itertools.count().__next__)  # a target that registers anew is another one

    def start_checking(self) -> None:
        """The load balancer knows the target now: its first checks are on their way."""
        if self.health == REGISTERING:
            self.health = CHECKING

    def observe(self, outcome: Outcome, *, matcher: str, healthy_threshold: int, unhealthy_threshold: int) -> bool:
        """Count one outcome; say whether the state (or its reason) changed by it."""
        before = self.health
        wrong = failure(outcome, matcher)
        self.start_checking()
        if wrong is None:
            self.passed, self.failed = self.passed + 1, 0
            if self.passed >= (1 if self.health.state == "initial" else healthy_threshold):
                self.health = HEALTHY
        else:
            self.passed, self.failed = 0, self.failed + 1
            if self.failed >= unhealthy_threshold or self.health.state == "unhealthy":
                self.health = wrong
        return self.health != before


@dataclass
class Draining:
    """A deregistered target until its delay has passed; ``until`` is in the clock's seconds."""

    identifier: str
    port: int
    until: float


@dataclass
class Group:
    """The targets of one target group. The clock is injected: any callable that gives seconds which never go back."""

    clock: Callable[[], float]
    targets: dict[str, Target] = field(default_factory=dict)
    draining: dict[str, Draining] = field(default_factory=dict)

    def register(self, identifier: str, port: int) -> bool:
        """Add a target; one that drains becomes ``initial`` again, one that is registered on that port already stays as it is.

        Says whether anything changed.
        """
        present = self.targets.get(identifier)
        if present and present.port == port:
            return False
        self.draining.pop(identifier, None)
        self.targets[identifier] = Target(identifier, port)
        return True

    def deregister(self, identifier: str, delay: float, *, in_use: bool = True) -> bool:
        """Remove a target: it drains for ``delay`` seconds, or is gone at once when no load balancer used it. Says whether it was registered."""
        target = self.targets.pop(identifier, None)
        if target is None:
            return False
        if in_use and delay > 0:
            self.draining[identifier] = Draining(identifier, target.port, self.clock() + delay)
        return True

    def expire(self) -> list[Draining]:
        """Forget the targets whose delay has passed and return them (what still runs on them is to be cut off)."""
        now = self.clock()
        over = [one for one in self.draining.values() if one.until <= now]
        for one in over:
            del self.draining[one.identifier]
        return over

    def health(self, identifier: str, *, in_use: bool = True, stopped: bool = False, zone_enabled: bool = True) -> Health:
        """The state to show for a target, given what is known of its instance and of the load balancer."""
        target = self.targets.get(identifier)
        if target is None:
            drain = self.draining.get(identifier)
            return DRAINING if drain and drain.until > self.clock() else NOT_REGISTERED
        if stopped:
            return STOPPED
        if not in_use:
            return NOT_IN_USE
        if not zone_enabled:
            return ZONE_NOT_ENABLED
        return target.health

    def routable(self, usable: Callable[[str], bool] = lambda _: True) -> set[str]:
        """The targets that get requests: the healthy ones, and all of them when none is ("fail open").

        User Guide, "Target group health": "If a target group contains only unhealthy registered targets, the load balancer routes requests to
        all those targets, regardless of their health status."
        """
        known = [one for one in self.targets.values() if usable(one.identifier)]
        healthy = {one.identifier for one in known if one.health.state == "healthy"}
        return healthy or {one.identifier for one in known}
