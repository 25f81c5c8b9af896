# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Taking one target out of its target group and putting it back, with waits that end when the load balancer says so.

States and reasons: Application Load Balancers user guide, "Health checks for your target groups". A deregistered target is C(draining) until
the deregistration delay is over and C(unused) (or not listed) after that; a draining target that is registered again is C(initial) at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document, ReleaseError

GUARD_SECONDS = 30.0
NOT_REGISTERED: Document = {"state": "unused", "reason": "Target.NotRegistered", "description": "Target is not registered to the target group", "port": None}


@dataclass
class Clock:
    """Time as it passes; tests put another in."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass
class Target:
    """One instance and port of one target group."""

    elbv2: Any
    group: str
    identifier: str
    port: int
    clock: Clock = field(default_factory=Clock)
    poll_seconds: float = 0.5

    def health(self) -> Document:
        """What the load balancer says of it now. An instance that is gone counts as not registered (DescribeTargetHealth: InvalidTarget)."""
        try:
            rows = api.target_health(self.elbv2, self.group, self.identifier)
        except self.elbv2.exceptions.InvalidTargetException:
            return dict(NOT_REGISTERED)
        except self.elbv2.exceptions.TargetGroupNotFoundException as error:
            raise ReleaseError(f"the target group {self.group} does not exist. Fix: run provision.yml.") from error
        return rows.get(self.identifier, dict(NOT_REGISTERED))

    @property
    def _target(self) -> Document:
        return {"Id": self.identifier, "Port": self.port}

    def guard(self, minimum: int, together: list[str]) -> str:
        """Why this target may not leave service now, or an empty text. Waits up to GUARD_SECONDS for others to become healthy.

        minimum targets must stay healthy besides those that leave together with this one. A target that is not healthy serves nobody and may go.
        """
        deadline = self.clock.now() + GUARD_SECONDS
        leaving = {self.identifier, *together}
        while True:
            rows = api.target_health(self.elbv2, self.group)
            staying = sorted(name for name, health in rows.items() if health["state"] == "healthy" and name not in leaving)
            if len(staying) >= minimum or rows.get(self.identifier, NOT_REGISTERED)["state"] != "healthy":
                return ""
            if self.clock.now() >= deadline:
                return (
                    f"{self.identifier} stays in service: without it {len(staying)} healthy hosts would be left, at least {minimum} must be. "
                    "Fix: mend the others first (status.yml shows why)"
                )
            self.clock.sleep(self.poll_seconds)

    def spared(self, minimum: int, together: list[str]) -> bool:
        """Whether this target may leave service now with those before it in together, so that minimum stay healthy. Each of them asks for itself, and
        the answers fit together: one that has left already is neither among the healthy ones nor among those before."""
        rows = api.target_health(self.elbv2, self.group)
        healthy = {name for name, health in rows.items() if health["state"] == "healthy"}
        if self.identifier not in healthy:
            return True
        order = [*together, self.identifier]
        before = [name for name in order[: order.index(self.identifier)] if name in healthy]
        return len(before) < len(healthy) - minimum

    def drain(self, timeout: float, *, check: bool = False, wait: bool = True) -> tuple[bool, Document]:
        """Deregister and wait until the target no longer drains. (changed, health before).

        ReleaseError when it still drains after timeout seconds.
        """
        before = self.health()
        registered = before["state"] != "draining" and in_group(before)
        if check:
            return registered, before
        if registered:
            self.elbv2.deregister_targets(TargetGroupArn=self.group, Targets=[self._target])
        deadline = self.clock.now() + timeout
        while wait:
            health = self.health()
            if not in_group(health):
                break
            if self.clock.now() >= deadline:
                raise ReleaseError(
                    f"{self.identifier} still is {sentence(health)} in its target group after {timeout:.0f} s of draining. "
                    "Fix: look for requests that never end, or lower the service's drain_seconds."
                )
            self.clock.sleep(self.poll_seconds)
        return registered, before

    def serve(self, deadline_seconds: float, healthy_seconds: float, *, check: bool = False, settle: bool = False) -> tuple[bool, Document]:
        """Register and wait until the target has been healthy for healthy_seconds on end. (changed, health at the end).

        settle: what has run behind the target was restarted while it was registered, so that being healthy before does not count.

        ReleaseError with the load balancer's last reason when that is not so after deadline_seconds.
        """
        before = self.health()
        missing = before["state"] == "draining" or not in_group(before)
        if check:
            return missing, before
        if missing:
            self.elbv2.register_targets(TargetGroupArn=self.group, Targets=[self._target])
        began = self.clock.now()
        since: float | None = began if before["state"] == "healthy" and not settle else None
        if not missing and since is not None:
            return False, before  # it has served all along
        seen = before
        while True:
            health = self.health()
            moment = self.clock.now()
            if health["state"] == "healthy":
                since = moment if since is None else since
                if moment - since >= healthy_seconds:
                    return missing, health
            else:
                since = None
                seen = health
            if moment - began >= deadline_seconds and since is None:
                raise ReleaseError(f"{self.identifier} did not become healthy in its target group within {deadline_seconds:.0f} s: {sentence(seen)}")
            self.clock.sleep(self.poll_seconds)


def in_group(health: Document) -> bool:
    """Whether the target is in the target group at all (healthy or not, draining included)."""
    return not (health["state"] == "unused" and health["reason"] in ("Target.NotRegistered", ""))


def sentence(health: Document) -> str:
    """State, reason and description as one text: C(unhealthy (Target.ResponseCodeMismatch: Health checks failed with these codes: [500]))."""
    why = ": ".join(text for text in (health.get("reason"), health.get("description")) if text)
    return f"{health['state']} ({why})" if why else str(health["state"])
