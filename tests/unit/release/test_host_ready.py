"""Waiting for a host that may leave meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.flotilla.ec2.plugins.action.host_ready import LEAVE_SECONDS, STILL_BOOTING, ready
from ansible_collections.flotilla.ec2.plugins.module_utils.release import processes
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import Clock

Look = tuple[int, str] | None  # None: no answer


class Waited:
    """One wait: what each look sees, the last for ever; from when on the host is known to leave; how many seconds it took."""

    def __init__(self, looks: list[Look], leaves_at: float | None = None, timeout: float = 300) -> None:
        self.now, self.questions, rest = 1000.0, 0, list(looks)

        def look() -> tuple[int, str]:
            seen = rest.pop(0) if len(rest) > 1 else rest[0]
            self.now += 20 if seen and seen[0] == STILL_BOOTING else 0.1
            if seen is None:
                raise AnsibleConnectionFailure("no route to host")
            return seen

        def gone() -> str:
            self.questions += 1
            return "it leaves" if leaves_at is not None and self.now - 1000 >= leaves_at else ""

        self.run: Callable[[], str] = lambda: ready(look, gone, timeout, Clock(lambda: self.now, lambda seconds: setattr(self, "now", self.now + seconds)))

    @property
    def seconds(self) -> float:
        return self.now - 1000


@pytest.mark.parametrize("looks", [[(0, "status: done")], [(2, "status: done, degraded")], [None, None, (0, "status: done")], [(STILL_BOOTING, ""), (0, "")]])
def test_a_host_is_ready_when_its_boot_is_over(looks: list[Look]) -> None:
    assert Waited(looks).run() == ""


@pytest.mark.parametrize("look", [None, (STILL_BOOTING, "status: running")])
def test_a_host_that_leaves_is_not_waited_for(look: Look) -> None:
    waited = Waited([look], leaves_at=30)
    assert waited.run() == "it leaves"
    assert 30 <= waited.seconds <= 55


def test_a_host_whose_boot_failed_is_left_out_when_its_group_replaces_it() -> None:
    waited = Waited([(1, "status: error")], leaves_at=6)
    assert waited.run() == "it leaves"
    assert waited.seconds <= LEAVE_SECONDS


@pytest.mark.parametrize(
    ("look", "seconds", "words"),
    [
        (None, 300, "it does not answer ssh within 300 s: no route to host. Fix: see that the instance runs"),
        ((STILL_BOOTING, "status: running"), 300, "its first boot is not over after 300 s: status: running. Fix: see /var/log/cloud-init-output.log"),
        ((1, "status: error"), LEAVE_SECONDS, "its first boot has failed: status: error. Fix: see /var/log/cloud-init-output.log"),
    ],
)
def test_a_host_that_stays_and_is_not_ready_is_an_error(look: Look, seconds: float, words: str) -> None:
    waited = Waited([look])
    with pytest.raises(ReleaseError, match=words):
        waited.run()
    assert seconds <= waited.seconds <= seconds + 25


def test_a_silent_host_is_asked_about_every_few_seconds_only() -> None:
    waited = Waited([None], timeout=60)
    with pytest.raises(ReleaseError):
        waited.run()
    assert 5 <= waited.questions <= 15


@pytest.mark.parametrize(
    ("instance", "scaling", "reason"),
    [
        ("running", ("InService", False), ""),
        ("pending", ("Pending", False), ""),
        ("running", ("", False), ""),
        ("", ("", False), ""),
        ("running", ("Terminating:Wait", False), "its Auto Scaling group is ending it (Terminating:Wait)"),
        ("running", ("InService", True), "its Auto Scaling group found it unhealthy and replaces it"),
        ("terminated", ("", False), "the instance is terminated"),
        ("stopped", ("InService", False), "the instance is stopped"),
    ],
)
def test_who_is_on_the_way_out(instance: str, scaling: tuple[str, bool], reason: str) -> None:
    assert processes.on_its_way_out(instance, scaling) == reason
