"""The lease, on a Parameter Store as moto has it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest
from ansible_collections.flotilla.ec2.plugins.action.deploy_lock import give_back, keep
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, keeper, lock
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import Clock
from moto import mock_aws

NAME = "/flotilla/local/hello/lock"


@pytest.fixture
def ssm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with mock_aws():
        yield boto3.client("ssm", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")


def elsewhere(seconds: int = 60) -> dict[str, Any]:
    return lock.lease("theirs", os.getpid(), seconds) | {"machine": "another", "owner": "ann@ci"}


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_second_is_refused_naming_the_first(ssm: Any) -> None:
    lock.acquire(ssm, NAME, elsewhere())
    with pytest.raises(ReleaseError) as refused:
        lock.acquire(ssm, NAME, lock.lease("mine", os.getpid(), 60))
    for word in ("ann@ci", "theirs", "release_break_lock=true", NAME):
        assert word in str(refused.value)


def test_a_living_owner_on_this_machine_keeps_it_past_its_expiry(ssm: Any) -> None:
    lock.acquire(ssm, NAME, lock.lease("first", os.getpid(), 60))
    with pytest.raises(ReleaseError, match="another release holds the lock"):
        lock.acquire(ssm, NAME, lock.lease("second", os.getpid(), 60), at=lock.now() + timedelta(hours=1))


def test_a_dead_owner_on_this_machine_loses_it_at_once_and_hands_its_note_over(ssm: Any) -> None:
    pid = ended_process()
    first = lock.acquire(ssm, NAME, lock.lease("first", pid, 3600) | {"started": "1"})
    lock.note(ssm, NAME, first["token"], suspended={"hello-local-web": ["ReplaceUnhealthy"]})
    second = lock.acquire(ssm, NAME, lock.lease("second", os.getpid(), 60))
    assert second["suspended"] == {"hello-local-web": ["ReplaceUnhealthy"]}
    assert second["taken_from"]["message"] == "first" and "has ended" in second["taken_from"]["reason"]
    assert lock.held_by(ssm, NAME, second["token"])["message"] == "second"
    with pytest.raises(ReleaseError, match="taken by another"):
        lock.held_by(ssm, NAME, first["token"])


def test_a_process_number_used_again_is_not_the_owner(ssm: Any) -> None:
    lock.acquire(ssm, NAME, lock.lease("first", os.getpid(), 3600) | {"started": "1"})
    assert lock.acquire(ssm, NAME, lock.lease("second", os.getpid(), 60))["taken_from"]["message"] == "first"


def test_another_machines_lease_must_expire(ssm: Any) -> None:
    lock.acquire(ssm, NAME, elsewhere(60))
    mine = lock.lease("mine", os.getpid(), 60)
    taken = lock.acquire(ssm, NAME, mine, at=lock.now() + timedelta(seconds=61))
    assert "expired" in taken["taken_from"]["reason"]


def test_breaking_is_recorded(ssm: Any) -> None:
    lock.acquire(ssm, NAME, elsewhere())
    taken = lock.acquire(ssm, NAME, lock.lease("mine", os.getpid(), 60), force=True)
    assert taken["taken_from"]["owner"] == "ann@ci" and "broken" in taken["taken_from"]["reason"]


def test_of_two_that_take_over_one_wins_and_its_text_stays(ssm: Any) -> None:
    lock.acquire(ssm, NAME, elsewhere())
    read = api.read_parameter(ssm, NAME)
    assert read
    assert api.replace_parameter(ssm, NAME, {"token": "first"}, read[1])
    assert not api.replace_parameter(ssm, NAME, {"token": "second"}, read[1])
    now = api.read_parameter(ssm, NAME)
    assert now and now[0]["token"] == "first"


def test_giving_back_removes_only_ones_own(ssm: Any) -> None:
    held = lock.acquire(ssm, NAME, elsewhere())
    assert not lock.release(ssm, NAME, "other")
    assert lock.release(ssm, NAME, held["token"])
    assert api.read_parameter(ssm, NAME) is None
    assert not lock.release(ssm, NAME, held["token"])


def test_what_the_note_names_is_resumed_before_the_lock_goes(ssm: Any) -> None:
    """A verb that suspends nothing itself may have taken the lock over from one that was killed."""
    resumed: list[tuple[str, list[str]]] = []

    class AutoScaling:
        """One group, of which somebody else has suspended AZRebalance."""

        def get_paginator(self, _method: str) -> Any:
            return self

        def paginate(self, AutoScalingGroupNames: list[str]) -> list[dict[str, Any]]:  # noqa: N803
            rows = [{"ProcessName": "AZRebalance"}, {"ProcessName": "HealthCheck"}]
            return [{"AutoScalingGroups": [{"AutoScalingGroupName": name, "SuspendedProcesses": rows} for name in AutoScalingGroupNames]}]

        def resume_processes(self, AutoScalingGroupName: str, ScalingProcesses: list[str]) -> None:  # noqa: N803
            resumed.append((AutoScalingGroupName, ScalingProcesses))

    lock.acquire(ssm, NAME, lock.lease("patch", ended_process(), 60) | {"started": "1", "suspended": {"g": ["HealthCheck", "ReplaceUnhealthy"]}})
    mine = lock.acquire(ssm, NAME, lock.lease("scale", os.getpid(), 60))
    give_back(ssm, NAME, "another's", AutoScaling)
    assert resumed == [] and api.read_parameter(ssm, NAME) is not None
    give_back(ssm, NAME, mine["token"], AutoScaling)
    assert resumed == [("g", ["HealthCheck"])] and api.read_parameter(ssm, NAME) is None


def test_the_keeper_renews_its_own_lease_only(ssm: Any) -> None:
    held = lock.acquire(ssm, NAME, elsewhere())
    api.replace_parameter(ssm, NAME, {**held, "expires": "2020-01-01T00:00:00+00:00"})
    assert keeper.renew(ssm, NAME, held["token"])
    assert lock.moment(lock.held_by(ssm, NAME, held["token"])["expires"]) > lock.now()
    assert not keeper.renew(ssm, NAME, "other")
    lock.release(ssm, NAME, held["token"])
    assert not keeper.renew(ssm, NAME, held["token"])
    assert api.read_parameter(ssm, NAME) is None


def test_the_keeper_sees_that_a_process_has_ended() -> None:
    started = lock.process_started(os.getpid())
    assert started is not None and keeper.lives(os.getpid(), started)
    assert not keeper.lives(ended_process(), "1")


def test_one_that_waits_has_the_lock_when_the_other_ends(ssm: Any) -> None:
    first = lock.acquire(ssm, NAME, elsewhere())
    moments, told = [0.0], list[str]()

    def sleep(seconds: float) -> None:
        moments[0] += seconds
        if moments[0] > 5:
            lock.release(ssm, NAME, first["token"])

    mine = lock.acquire_within(ssm, NAME, lock.lease("mine", os.getpid(), 60), 60, tell=told.append, clock=Clock(lambda: moments[0], sleep))
    assert mine["message"] == "mine" and 5 < moments[0] < 10
    assert len(told) == 1 and "ann@ci" in told[0]


def test_waiting_ends_in_the_refusal(ssm: Any) -> None:
    lock.acquire(ssm, NAME, elsewhere())
    moments = [0.0]
    clock = Clock(lambda: moments[0], lambda seconds: moments.__setitem__(0, moments[0] + seconds))
    with pytest.raises(ReleaseError, match="ann@ci"):
        lock.acquire_within(ssm, NAME, lock.lease("mine", os.getpid(), 60), 10, clock=clock)
    assert moments[0] >= 10


def test_the_keeper_renews_beside_one_long_task_and_leaves_the_lease_of_a_release_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the action starts it, for a process that does nothing but wait: three times the lease on, the lease stands; killed, nobody renews it any more."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    _host, port = server.get_host_and_port()
    for name, value in {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)
    release = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        store = boto3.client("ssm", region_name="eu-central-1", endpoint_url=f"http://127.0.0.1:{port}", aws_access_key_id="a", aws_secret_access_key="b")
        held = lock.acquire(store, NAME, lock.lease("a long pull", release.pid, 4) | {"machine": "another"})
        keep(held, NAME, "eu-central-1")
        deadline = time.monotonic() + 30
        while lock.moment(lock.held_by(store, NAME, held["token"])["heartbeat"]) < lock.moment(held["heartbeat"]) + timedelta(seconds=6):
            assert time.monotonic() < deadline, "it was not renewed"
            time.sleep(0.2)
        with pytest.raises(ReleaseError, match="a long pull"):
            lock.acquire(store, NAME, lock.lease("mine", os.getpid(), 60))
        release.kill()
        release.wait()
        time.sleep(3)
        last = lock.held_by(store, NAME, held["token"])["heartbeat"]
        time.sleep(3)
        assert lock.held_by(store, NAME, held["token"])["heartbeat"] == last
        assert "expired" in lock.acquire(store, NAME, lock.lease("mine", os.getpid(), 60))["taken_from"]["reason"]
    finally:
        release.kill()
        release.wait()
        server.stop()
