"""Fleets that follow their load: sums, whose api burns CPU, grows to its maximum and comes back by its policy; a change by hand within guard rails.

The tests run in the order of this file. CPU is what the guests' cgroups have used, as a share of the whole machine: several busy guests share it, so the
target is low. A minute of AWS's evaluation has five seconds on the local cloud (docs/local-cloud.md).
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import docker
import pytest

from tests.e2e.system import System, say, wait_for

pytestmark = pytest.mark.e2e
# All systems together take longer than a test run should: `make test-e2e STACK=scaling`.
BY_NAME = True
MOST = 4
TARGET = 8  # per cent; hosts that have nothing to do use some 2
GROUP = "sums-local-api"
SCALING = {"cpu_percent": TARGET, "warmup_seconds": 30, "schedule": [{"name": "night", "cron": "0 3 * * *", "time_zone": "Europe/Berlin", "min": 2}]}
# From the moment at which the measured CPU is above the target, until a client has an answer of a host that there was not then.
SERVED_WITHIN_SECONDS = 60
LONG_SUM = 700_000_000  # some twenty seconds when three are added up at a time on two cores


def stack(system: System, scaling: dict[str, Any] | None) -> dict[str, Any]:
    """sums with one client and an api of two to MOST hosts, which give running requests the example's own grace."""
    facts = system.stack_facts()
    facts["fleets"]["client"] |= {"min": 1, "max": 1}
    facts["fleets"]["api"] |= {"min": 2, "max": MOST, **({"scaling": scaling} if scaling else {})}
    facts["services"]["api"]["grace_seconds"] = 40
    return dict(facts)


def group(system: System) -> dict[str, Any]:
    return dict(system.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])["AutoScalingGroups"][0])


def causes(system: System) -> list[str]:
    return [one["Cause"] for one in system.client("autoscaling").describe_scaling_activities(AutoScalingGroupName=GROUP)["Activities"]]


def running_sums(system: System, host: str) -> int:
    """How many long sums are added up on a host now: each is a process of low priority."""
    return int(system.on_host(host, f"docker top flotilla-{system.live('api')} -eo pid,ni | awk '$2 + 0 >= 10' | wc -l"))


def container_of(host: str) -> str:
    """The docker container that plays an instance."""
    names = subprocess.run(["docker", "ps", "--format", "{{.Names}}"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return next(name for name in names if host in name)


@contextmanager
def measured(system: System, hosts: set[str]) -> Iterator[list[float]]:
    """The moment (seconds since 1970) around a block from which the CPU of these hosts, on average, was above the target: that of the last look at or
    below it, so that the breach is not dated too late."""
    engine, containers, over = docker.from_env().api, [container_of(host) for host in hosts], threading.Event()
    breached: list[float] = []

    def used() -> float:
        return sum(float(engine.stats(one, stream=False, one_shot=True)["cpu_stats"]["cpu_usage"]["total_usage"]) for one in containers) / 1e9

    def watch() -> None:
        then, before = time.time(), used()
        while not breached and not over.wait(1):
            now, seconds = time.time(), used()
            percent = (seconds - before) / (now - then) / (os.cpu_count() or 1) / len(containers) * 100
            if percent > TARGET:
                breached.append(then)
            then, before = now, seconds

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield breached
    finally:
        over.set()
        watching.join()


def first_answer(system: System, host: str) -> float:
    """When a host's api gave its first good answer to a client (seconds since 1970), by its log, which leaves out health checks; 0.0 while there is none."""
    lines = system.on_host(host, "docker logs flotilla-api 2>/dev/null; docker logs flotilla-api-green 2>/dev/null", check=False).splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    given = [row["time"] for row in rows if row.get("message") == "request" and row["status"] == 200]
    return min((datetime.fromisoformat(moment).timestamp() for moment in given), default=0.0)


def boot_log(system: System, host: str, since: float) -> list[str]:
    """What an instance has said while it made itself a host, and when: seconds since a moment (seconds since 1970)."""
    events = system.client("logs").get_log_events(logGroupName="/flotilla/local/sums/boot", logStreamName=host)["events"]
    return [f"{row['timestamp'] / 1000 - since:.1f} s {row['message']}" for row in events]


@pytest.fixture(scope="session")
def released(system: System) -> System:
    """Provisioned without scaling, configured, and every service on its first release."""
    system.variables["flotilla_stack"] = stack(system, None)
    system.up()
    system.first = system.push("api", "v1")
    return system


@contextmanager
def burning(system: System, sums: int, number: int = 150_000_000) -> Iterator[list[int]]:
    """So many long sums at a time, one after the other, around a block; yields the status of each."""
    ended, statuses = threading.Event(), []

    def add_up() -> None:
        while not ended.is_set():
            statuses.append(system.get(f"/?n={number}", timeout=150).status_code)

    with ThreadPoolExecutor(sums) as pool:
        workers = [pool.submit(add_up) for _ in range(sums)]
        try:
            yield statuses
        finally:
            ended.set()
        for one in workers:
            one.result()


def test_a_change_by_hand_keeps_to_the_guard_rails(released: System) -> None:
    """scale.yml: beyond min and max it is refused with the way out, while a release holds the lock too; check mode changes nothing; 2 → 3 is shown."""
    released.play("scale", fleet="api", count=MOST + 1).refused(rf"{MOST + 1} is more than the fleet's max \({MOST}\)", "raise fleets.api.max", "provision.yml")
    released.play("scale", fleet="api", count=1).refused(r"1 is less than the fleet's min \(2\)", "lower fleets.api.min")
    released.play("scale", fleet="apo", count=3).refused("did you mean 'api'?")
    ssm, now = released.client("ssm"), datetime.now(UTC)
    lock = {"owner": "ann@ci", "message": "deploy of v9", "host": "ci", "machine": "ci", "pid": 1, "started": None, "lease_seconds": 600, "token": "theirs"}
    moments = {"since": now.isoformat(), "heartbeat": now.isoformat(), "expires": (now + timedelta(minutes=10)).isoformat(), "suspended": {}}
    ssm.put_parameter(Name="/flotilla/local/sums/lock", Value=json.dumps({**lock, **moments}), Type="String")
    try:
        released.play("scale", fleet="api", count=3).refused("deploy of v9", "ann@ci")
    finally:
        ssm.delete_parameter(Name="/flotilla/local/sums/lock")
    planned = released.play("scale", "--check", fleet="api", count=3).succeeded()
    assert planned.changed == 1 and "2 → 3" in planned.output and "check mode" in planned.output
    assert group(released)["DesiredCapacity"] == 2
    done = released.play("scale", fleet="api", count=3).succeeded()
    assert done.changed == 1 and "2 → 3" in done.output
    assert released.play("scale", fleet="api", count=3).succeeded().changed == 0
    released.healthy(3, "api")
    assert released.play("provision").succeeded().changed == 0, "what was changed by hand stays"
    assert group(released)["DesiredCapacity"] == 3


def test_requests_of_twenty_seconds_on_a_leaving_host_finish(released: System) -> None:
    """3 → 2 by hand while each api adds up for some twenty seconds: every sum is right, and short requests beside them are all answered."""
    hosts = set(released.instances("api"))
    with released.load("leaving", rate=10), ThreadPoolExecutor(9) as pool:
        began = time.monotonic()
        sums: list[Future[Any]] = []

        def on_each_host() -> bool:
            # A host that has a short request just then is passed over.
            lacking = [one for one in hosts if not running_sums(released, one)]
            sums.extend(pool.submit(released.get, f"/?n={LONG_SUM}", 150) for _ in lacking)
            return not lacking

        wait_for("a long sum on each host", on_each_host, 15, 1)
        released.client("autoscaling").set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=2)
        (leaving,) = wait_for("a leaving host", lambda: [one["InstanceId"] for one in group(released)["Instances"] if one["LifecycleState"] != "InService"])
        assert running_sums(released, leaving), "the leaving host adds up no longer"
        say(f"{leaving} leaves {time.monotonic() - began:.1f} s after its long sum began")
        answers = [one.result() for one in sums]
        say(f"{len(sums)} long sums ended well, the last one {time.monotonic() - began:.1f} s after its beginning")
    total = LONG_SUM * (LONG_SUM + 1) // 2
    assert [(answer.status_code, answer.text.strip()) for answer in answers] == [(200, f"Your sum was {total}")] * len(sums)
    wait_for("its end", lambda: set(released.instances("api")) == hosts - {leaving}, 120)
    released.healthy(2, "api")


def images(system: System) -> set[str]:
    """The images that the api's hosts serve with."""
    return {text.split()[-1] for text in system.containers(system.live("api"), "api").values()}


def test_a_release_that_begins_while_the_fleet_grows_is_on_every_host(released: System) -> None:
    """2 → 3 when the deploy of a service with two colours begins: the one that boots is waited for, its new colour serves with the others'."""
    tag, before = released.push("api", "v2"), images(released)
    with released.load("grows", rate=10):
        released.client("autoscaling").set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=3)
        wait_for("another instance", lambda: len(running(released)) == 3, 60, 0.1)
        released.play("deploy", release_service="api", release_tag=tag).succeeded()
        released.healthy(3, "api")
    after = images(released)
    assert len(released.instances("api")) == 3 and len(after) == 1 and after.isdisjoint(before)
    assert sorted(row["outcome"] for row in released.result()["hosts"].values()) == ["released"] * 3


def running(system: System) -> list[str]:
    return [host for host, facts in system.instances("api").items() if facts["State"]["Name"] == "running"]


def test_a_host_that_leaves_in_the_middle_of_a_release_does_not_fail_it(released: System) -> None:
    """3 → 2 once the first share of the traffic is with the new colour: it is not put back into service, the release ends on the others."""
    hosts, before = set(released.instances("api")), images(released)
    with released.load("leaves", rate=10):
        deploy = released.start("deploy", release_service="api", release_tag=released.first)
        log = sorted(released.build.glob("*-deploy-killed.log"))[-1]
        try:
            wait_for("the first share", lambda: "gets 10 %" in log.read_text(), 120, 0.1)
            released.client("autoscaling").set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=2)
            assert deploy.wait(300) == 0, log.read_text()[-6000:]
        finally:
            if deploy.poll() is None:
                os.killpg(deploy.pid, signal.SIGKILL)
                deploy.wait()
        wait_for("two hosts", lambda: len(released.instances("api")) == 2, 180)
        released.healthy(2, "api")
    (gone,) = hosts - set(released.instances("api"))
    say(f"{gone} left: { ({host: row['outcome'] for host, row in released.result()['hosts'].items()}) }")
    after = images(released)
    assert len(after) == 1 and after.isdisjoint(before)


def test_provision_makes_the_policy_once(released: System) -> None:
    """Planned as made, the second run changes nothing, and the plan after it is empty."""
    released.variables["flotilla_stack"] = stack(released, SCALING)
    planned = released.play("provision", "--check").succeeded().changed
    assert released.play("provision").succeeded().changed == planned > 0
    assert released.play("provision").succeeded().changed == 0
    assert released.play("provision", "--check").succeeded().changed == 0
    autoscaling = released.client("autoscaling")
    (policy,) = autoscaling.describe_policies(AutoScalingGroupName=GROUP)["ScalingPolicies"]
    (night,) = autoscaling.describe_scheduled_actions(AutoScalingGroupName=GROUP)["ScheduledUpdateGroupActions"]
    assert (night["ScheduledActionName"], night["MinSize"], night.get("DesiredCapacity")) == ("flotilla-schedule-night", 2, None)
    assert (policy["PolicyName"], policy["TargetTrackingConfiguration"]["TargetValue"]) == ("flotilla-cpu", TARGET)
    assert released.play("configure").succeeded().changed > 0, "hosts learn to leave in order"
    assert released.play("configure").succeeded().changed == 0


def test_the_fleet_grows_to_its_maximum_and_comes_back_by_its_policy(released: System) -> None:
    """Measured CPU above the target: as many hosts as the fleet may have, each of which serves; below it, back to two; no request failed on the way.

    No command is run for a new host, and the first one serves within a minute.
    """
    # What configure does on the hosts may be enough for the policy: two of them first, as in a quiet hour.
    wait_for("two hosts", lambda: group(released)["DesiredCapacity"] == 2 == len(released.instances("api")), 300)
    old = set(released.instances("api"))
    with released.load("scaling", rate=10), measured(released, old) as breached:
        with burning(released, 4) as statuses:
            began = time.time()
            wait_for("the maximum", lambda: group(released)["DesiredCapacity"] == MOST, 120)
            wanted = time.time()
            wait_for("new hosts", lambda: len(released.instances("api")) == MOST, 60)
            running, new = time.time(), set(released.instances("api")) - old
            assert any("triggered policy flotilla-cpu changing the desired capacity from 2 to" in one for one in causes(released))
            served = {one: wait_for(f"an answer of {one}", lambda host=one: first_answer(released, host), 120) for one in new}  # type: ignore[misc]
            first, breach = min(served.values()), breached[0]
            say(f"load began → CPU above {TARGET} %: {breach - began:.1f} s; → policy wants {MOST} hosts: {wanted - breach:.1f} s after the breach")
            say(f"→ they run: {running - breach:.1f} s; → answers of theirs: {', '.join(f'{one - breach:.1f} s' for one in sorted(served.values()))}")
            say(f"time from breach to the new host's first served request: {first - breach:.1f} s (at most {SERVED_WITHIN_SECONDS})")
            for host in sorted(new, key=lambda one: served[one]):
                say(f"{host}: {'; '.join(boot_log(released, host, breach))}")
                console = released.client("ec2").get_console_output(InstanceId=host, Latest=True).get("Output", "")
                (released.build / f"console-{host}.log").write_text(console)
            assert first - breach <= SERVED_WITHIN_SECONDS
            released.healthy(MOST, "api")
            wait_for("a sum on each new host", lambda: all(running_sums(released, one) for one in new), 60, 0.5)
            assert released.play("provision").succeeded().changed == 0, "what a policy has set stays"
            assert group(released)["DesiredCapacity"] == MOST
        ended = time.monotonic()
        say(f"{len(statuses)} long sums: { ({one: len(list(some)) for one, some in itertools.groupby(sorted(statuses))}) }")
        assert set(statuses) == {200}
        for count in range(MOST - 1, 1, -1):
            wait_for(f"{count} hosts wanted", lambda wanted=count: group(released)["DesiredCapacity"] <= wanted, 240)  # type: ignore[misc]
            say(f"load gone → policy wants {count}: {time.monotonic() - ended:.1f} s")
        assert any("AlarmLow" in one for one in causes(released))
        wait_for("two hosts", lambda: len(released.instances("api")) == 2, 180)
        say(f"load gone → two hosts: {time.monotonic() - ended:.1f} s")
    released.healthy(2, "api")
    gone = (old | new) - set(released.instances("api"))
    assert len(gone) == MOST - 2
    for host in gone:
        kept = logs(released, host)
        say(f"logs of {host}, which left: { ({name: len(text.splitlines()) for name, text in kept.items()}) } lines")
        # Each has answered clients, and has put itself in order.
        assert any('"message":"request"' in text.replace(" ", "") for name, text in kept.items() if name != "host"), kept
        assert "this host is to be terminated; waiting until its requests are drained" in kept["host"]
        assert not any("No such container" in text for name, text in kept.items() if name != "host")


def logs(system: System, host: str) -> dict[str, str]:
    """What a host that left has written to the bucket, by service."""
    s3, bucket = system.client("s3"), system.outputs()["bucket"]
    rows = s3.list_objects_v2(Bucket=bucket, Prefix=f"logs/{host}/").get("Contents", [])
    read = {one["Key"]: gzip.decompress(s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()).decode() for one in rows}
    return {key.rpartition("/")[2].removesuffix(".log.gz"): text for key, text in read.items()}


@pytest.mark.aside
def test_what_the_stack_no_longer_names_goes(released: System) -> None:
    """Without scaling in the stack file, policy, schedule and hook are gone and the number of hosts is as it was."""
    released.variables["flotilla_stack"] = stack(released, None)
    before = group(released)["DesiredCapacity"]
    assert released.play("provision").succeeded().changed > 0
    autoscaling = released.client("autoscaling")
    assert autoscaling.describe_policies(AutoScalingGroupName=GROUP)["ScalingPolicies"] == []
    assert autoscaling.describe_scheduled_actions(AutoScalingGroupName=GROUP)["ScheduledUpdateGroupActions"] == []
    assert autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=GROUP)["LifecycleHooks"] == []
    assert group(released)["DesiredCapacity"] == before
    assert released.play("provision").succeeded().changed == 0


@pytest.mark.aside
def test_a_fleet_that_could_open_too_many_connections_is_refused(released: System) -> None:
    """Before anything is asked of AWS: hosts at the maximum, pool, class and the ways out are in the message."""
    facts = stack(released, SCALING)
    facts["database"] = {"engine": "mysql"}
    facts["services"]["api"] |= {"database_connections": 20, "environment": {**facts["services"]["api"]["environment"], "DATABASE_HOST": "${database.host}"}}
    released.variables["flotilla_stack"] = facts
    released.play("provision").refused(r"160 connections at the fleets' max \(api: 4 hosts x 20 x 2 colours", "db.t3.micro allows about 54", "lower")
