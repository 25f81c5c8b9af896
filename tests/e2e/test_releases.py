"""Releases that go wrong, on two hosts under load: what is bounded stays bounded, what is said is true.

The tests run in the order of this file: each finds the system that the one before has left serving.
"""

from __future__ import annotations

import collections
import contextlib
import http.server
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.e2e.system import System, say, wait_for

pytestmark = pytest.mark.e2e
# Half an hour: `make test-e2e STACK=releases`.
BY_NAME = True
NAMED_SECONDS = 30.0
SEED = 4  # of the moments at which a deploy is killed
KILLS = 10


@pytest.fixture(scope="session")
def tags(system: System) -> dict[str, str]:
    """Provisioned, configured and, after a plan, on release 1. Version → tag in the registry."""
    system.play("provision").succeeded()
    pushed = {version: system.push("web", version) for version in ("v1", "v2", "v3", "exits")}
    system.play("configure").succeeded()
    system.first = system.play("plan", release_tag=pushed["v1"]).succeeded().output, system.result(), system.newest_record()
    system.play("deploy", release_tag=pushed["v1"]).succeeded()
    system.healthy()
    return pushed


@pytest.fixture
def whole(system: System, tags: dict[str, str]) -> Iterator[None]:
    """Two healthy hosts, one version, no process suspended and no lock before and after a test."""
    system.healthy()
    yield
    system.healthy()
    assert len(system.versions()) == 1
    assert system.suspended() == []
    assert system.client("ssm").get_parameters(Names=["/flotilla/local/hello/lock"])["Parameters"] == []


def test_a_plan_of_the_very_first_release_is_true(system: System, tags: dict[str, str], whole: None) -> None:
    """Before anything was released: image, all hosts at once, nothing made. The release that followed did just that."""
    output, planned, record = system.first
    assert (planned["outcome"], planned["from"], planned["to"], record) == ("planned", None, 1, {})
    lines = [line.strip() for line in output.splitlines()]
    assert "from          nothing (first release)" in lines
    done = system.result()
    assert planned["digest"] == done["digest"]
    assert any(line.startswith(f"to            release 1, {tags['v1']} {planned['digest'][7:19]}, pushed ") for line in lines), output
    assert {line.split()[2] for line in lines if line.startswith("batch 1 ")} == set(system.instances()) == set(done["hosts"])


def container_of(host: str) -> str:
    """The docker container that plays an instance."""
    names = subprocess.run(["docker", "ps", "-a", "--format", "{{.Names}}"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return next(name for name in names if host in name)


@contextlib.contextmanager
def frozen(host: str) -> Iterator[None]:
    """All processes of a host stopped; its kernel still takes connections."""
    subprocess.run(["docker", "pause", container_of(host)], check=True, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        subprocess.run(["docker", "unpause", container_of(host)], check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def dead(host: str) -> Iterator[None]:
    """A host that says nothing any more."""
    silence = ["docker", "exec", container_of(host), "iptables", "-w", "-t", "mangle"]
    rules = [[chain, "-j", "DROP"] for chain in ("PREROUTING", "OUTPUT")]
    for rule in rules:
        subprocess.run([*silence, "-I", *rule], check=True)
    try:
        yield
    finally:
        for rule in rules:
            subprocess.run([*silence, "-D", *rule], check=True)


LOST = {"frozen": frozen, "dead": dead}
POINTS = (
    "before_lock", "after_lock", "before_prepare", "after_prepare", "before_release", "before_host", "before_traffic", "after_traffic", "after_host",
    "after_release", "on_failure",
)  # fmt: skip


@contextlib.contextmanager
def unreplaced(system: System) -> Iterator[None]:
    """Auto Scaling leaves a host alone that does not answer, so that the same one can come back."""
    api = system.client("autoscaling")
    group = {"AutoScalingGroupName": api.describe_auto_scaling_groups()["AutoScalingGroups"][0]["AutoScalingGroupName"]}
    api.suspend_processes(**group, ScalingProcesses=["HealthCheck", "ReplaceUnhealthy"])
    try:
        yield
    finally:
        # One that was frozen has failed its status checks until it passes the next one.
        failed = {"Filters": [{"Name": "instance-status.status", "Values": ["impaired"]}]}
        wait_for("good status checks", lambda: not system.client("ec2").describe_instance_status(**failed)["InstanceStatuses"], 30)
        api.resume_processes(**group, ScalingProcesses=["HealthCheck", "ReplaceUnhealthy"])


def lose(system: System, how: str, variables: dict[str, Any]) -> tuple[str, str, float]:
    """Deploy, and lose the first host while it is out of service. (host, what was printed, seconds until it was named)."""
    hosts = sorted(system.instances())
    deploy = system.start("deploy", **variables)
    log = sorted(system.build.glob("*-deploy-killed.log"))[-1]

    def out_of_service() -> list[str]:
        assert deploy.poll() is None, log.read_text()[-3000:]
        states = system.targets()
        return [host for host in hosts if states.get(host) != "healthy"]

    host = wait_for("a host out of service", out_of_service, 120, 0.1)[0]
    with LOST[how](host):
        began = time.monotonic()
        wait_for("its name", lambda: re.search(rf"fatal: \[{host}\]: UNREACHABLE", log.read_text()), 60, 0.2)
        named = time.monotonic() - began
        deploy.wait(120)
        say(f"{how}: named after {named:.0f} s, ended after {time.monotonic() - began:.0f} s")
    return host, log.read_text(), named


@pytest.mark.parametrize("how", ["frozen", "dead"])
def test_a_host_lost_in_mid_roll_is_named_and_the_release_goes_back(system: System, tags: dict[str, str], whole: None, how: str) -> None:
    with unreplaced(system):
        host, output, named = lose(system, how, {"release_tag": tags["v2"]})
    assert named < NAMED_SECONDS
    assert f"{host} is OUT OF SERVICE" in output
    result = system.result()
    assert (result["outcome"], result["exit_code"], result["needs_hand"]) == ("failed", 30, [host])
    assert system.versions() == {"v1"}
    system.play("deploy", release_tag=tags["v1"]).succeeded()


def test_a_lost_host_does_not_stop_a_release_that_may_do_without_it(system: System, tags: dict[str, str], whole: None) -> None:
    stack = system.stack_facts()
    stack["services"]["web"]["release"] |= {"max_failures": 1}
    with unreplaced(system):
        host, output, named = lose(system, "frozen", {"release_tag": tags["v2"], "flotilla_stack": stack, "release_min_healthy": "0"})
    assert named < NAMED_SECONDS
    result = system.result()
    assert (result["outcome"], result["exit_code"], result["needs_hand"]) == ("succeeded", 0, [host])
    assert f"{host} is OUT OF SERVICE" in output
    assert system.versions() == {"v2"}
    system.play("deploy", release_tag=tags["v2"]).succeeded()


def test_a_host_that_is_frozen_before_a_release_is_named_at_once(system: System, tags: dict[str, str], whole: None) -> None:
    host = sorted(system.instances())[0]
    with unreplaced(system), frozen(host):
        run = system.play("deploy", release_tag=tags["v3"]).refused(f"{host} does not answer")
    assert run.seconds < NAMED_SECONDS + 5, "with ansible's own start"


def test_a_container_that_exits_at_once_is_seen_in_seconds(system: System, tags: dict[str, str], whole: None) -> None:
    with system.load("exits"):
        system.play("deploy", release_tag=tags["exits"]).refused("exited with code 3", "HELLO_FAULT=exit")
    result = system.result()
    assert result["exit_code"] == 20
    record = system.newest_record()
    assert (record["number"], record["tag"], record["outcome"]) == (result["to"], tags["exits"], "failed")
    # From its drain to the failed start; the drain is as long as any.
    (host,) = (row for row in result["hosts"].values() if row["outcome"] == "back")
    seen = host["seconds"] - host["steps"]["drain"]
    say(f"a container that exits was seen {seen:.1f} s after its host was out of service")
    assert seen < 10, "its deadline are 30 s"


@pytest.mark.parametrize("number", ["99", "banana"])
def test_a_rollback_to_something_unknown_is_refused(system: System, tags: dict[str, str], whole: None, number: str) -> None:
    before = system.containers()
    system.play("rollback", to=number).refused(number, r"Fix: -e to=")
    assert system.result()["exit_code"] == 10
    assert system.containers() == before


def test_a_rollback_goes_to_the_release_that_is_named(system: System, tags: dict[str, str], whole: None) -> None:
    """By its number, image and settings, while requests come in; one that has failed is refused, with the reason."""
    failed = system.newest_record()
    assert failed["tag"] == tags["exits"], "the test before has left it"
    system.play("rollback", to=failed["number"]).refused(f"release {failed['number']} of web never was in service", "exited with code 3")
    with system.load("named"):
        system.play("deploy", release_tag=tags["v3"]).succeeded()
        system.play("rollback", to=1).succeeded()
    assert (system.result()["to"], system.versions()) == (1, {"v1"})
    assert json.loads(system.client("ssm").get_parameter(Name="/flotilla/local/hello/services/web/release")["Parameter"]["Value"])["number"] == 1


def test_a_second_release_is_refused_at_once_or_waits(system: System, tags: dict[str, str], whole: None) -> None:
    """The refusal names owner, message and start; with release_wait_seconds the second follows the first."""
    first = system.start("deploy", release_tag=tags["v3"], release_message="the first one")
    try:
        wait_for("the lock", lambda: system.client("ssm").get_parameters(Names=["/flotilla/local/hello/lock"])["Parameters"], 60, 0.1)
        run = system.play("deploy", release_tag=tags["v2"]).refused("another release holds the lock", "the first one", r"since 20\d\d-")
        assert run.seconds < 15
        system.play("deploy", release_tag=tags["v2"], release_wait_seconds=300).succeeded()
        assert first.wait(10) == 0
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
    assert system.versions() == {"v2"}


def test_history_plan_and_page_tell_what_was_and_what_would_be(system: System, tags: dict[str, str], whole: None) -> None:
    system.play("rollback", to=99).refused("no record of release 99")
    history = system.play("history").succeeded().output
    for text in ("web: release", "succeeded", "refused", "phases: look", "reason: there is no record of release 99"):
        assert text in history
    before = system.containers()
    plan = system.play("plan", release_tag=tags["v3"], flotilla_stack=painted(system)).succeeded().output
    for text in ("from          release", "+ COLOUR  ********", "on failure    every host goes back", "expected      about", "COLOUR=********"):
        assert text in plan
    assert "crimson" not in plan
    assert system.containers() == before
    assert system.result()["outcome"] == "planned"


def painted(system: System) -> dict[str, Any]:
    """The stack with one more setting."""
    stack = system.stack_facts()
    stack["services"]["web"]["environment"] |= {"COLOUR": "crimson"}
    return stack


def test_own_steps_run_at_their_points_and_one_that_fails_takes_the_host_back(system: System, tags: dict[str, str], whole: None) -> None:
    steps = system.build / "steps"
    steps.mkdir(exist_ok=True)
    told = steps / "told.txt"
    line = "{{ point }} {{ release_facts.service }} {{ release_facts.number }} {{ release_facts.tag }} >> {{ file }}"
    note = f"- ansible.builtin.shell: echo {line}\n  delegate_to: localhost\n  become: false\n"
    hooks = {}
    for point in POINTS:
        file = steps / f"{point}.yml"
        file.write_text(note.replace("{{ point }}", point).replace("{{ file }}", str(told)))
        hooks[point] = str(file)
    with system.load("steps"):
        system.play("deploy", release_tag=tags["v3"], release_hooks=hooks).succeeded()
    lines = [line.split() for line in told.read_text().splitlines()]
    begun, host = list(POINTS[:5]), list(POINTS[5:9])
    assert [line[0] for line in lines] == [*begun, *host, *host, "after_release"]
    number = str(system.result()["to"])
    assert {tuple(line[1:]) for line in lines if line[0] not in begun} == {("web", number, tags["v3"])}
    assert "<svg" in Path(system.result()["report"]).read_text()
    (steps / "smoke.yml").write_text("- ansible.builtin.fail:\n    msg: the smoke test says no\n")
    failing = {"before_traffic": str(steps / "smoke.yml"), "on_failure": hooks["on_failure"]}
    (steps / "on_failure.yml").write_text((steps / "on_failure.yml").read_text().replace("release_facts.tag", "release_facts.outcome"))
    system.play("deploy", release_tag=tags["v2"], release_hooks=failing).refused("the smoke test says no")
    assert told.read_text().splitlines()[-1] == f"on_failure web {system.result()['to']} failed"
    assert system.versions() == {"v3"}
    before = system.containers()
    system.play("deploy", release_tag=tags["v2"], release_hooks={"before_release": str(steps / "smoke.yml")}).refused("the smoke test says no")
    assert (system.result()["exit_code"], system.containers()) == (10, before), "a host was touched"
    assert "the smoke test says no" in system.newest_record()["reason"] and not system.unfinished()


def test_hosts_that_have_the_release_go_back_when_it_fails_on_another(system: System, tags: dict[str, str], whole: None) -> None:
    """A step that does well on the first host and fails on the second: both serve what they did before, and no request is lost."""
    now = next(iter(system.versions(4)))
    other = "v2" if now != "v2" else "v3"
    step = system.build / "second.yml"
    step.write_text(f"- ansible.builtin.command: mkdir {system.build}/once\n  delegate_to: localhost\n  become: false\n")
    with system.load("reverted"):
        system.play("deploy", release_tag=tags[other], release_hooks={"after_traffic": str(step)}).refused(r"File\s+exists")
        system.healthy()
    result = system.result()
    assert (result["outcome"], result["exit_code"], result["needs_hand"]) == ("failed", 20, [])
    assert sorted(row["outcome"] for row in result["hosts"].values()) == ["back", "back"]
    assert system.versions() == {now}
    assert len({text.split()[-1] for text in system.containers().values()}) == 1, "mixed images"


class Told(http.server.BaseHTTPRequestHandler):
    """A webhook that keeps what it is told."""

    documents: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.documents.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_words: Any) -> None:
        """Nothing on the terminal."""


@contextlib.contextmanager
def listening(system: System) -> Iterator[tuple[dict[str, str], Callable[[str], list[dict[str, Any]]]]]:
    """A topic, a bus and a webhook, as the environment names them; and what each has been told so far."""
    queues, topics, events = system.client("sqs"), system.client("sns"), system.client("events")
    arns: dict[str, str] = {}
    urls: dict[str, str] = {}
    for name in ("topic", "bus"):
        urls[name] = queues.create_queue(QueueName=f"releases-{name}")["QueueUrl"]
        arns[name] = queues.get_queue_attributes(QueueUrl=urls[name], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = topics.create_topic(Name="releases")["TopicArn"]
    topics.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arns["topic"], Attributes={"RawMessageDelivery": "true"})
    events.put_rule(Name="releases", EventPattern=json.dumps({"source": ["flotilla.release"]}))
    events.put_targets(Rule="releases", Targets=[{"Id": "queue", "Arn": arns["bus"]}])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Told)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def told(channel: str) -> list[dict[str, Any]]:
        rows = queues.receive_message(QueueUrl=urls[channel], MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(row["Body"]) for row in rows]

    try:
        yield {"sns_topic_arn": topic, "event_bus": "default", "webhook_url": f"http://127.0.0.1:{server.server_port}/hook"}, told
    finally:
        server.shutdown()
        server.server_close()


def test_a_topic_a_bus_and_a_webhook_are_told_of_a_release(system: System, tags: dict[str, str], whole: None) -> None:
    """Its beginning and its end, each with number, who and digest; a channel that is away is a warning and fails nothing."""
    now = next(iter(system.versions(4)))
    other = "v2" if now != "v2" else "v3"
    Told.documents.clear()
    with listening(system) as (channels, told):
        given = {"flotilla_environment": {**system.environment_facts(), "notices": channels}}
        with system.load("notices"):
            system.play("deploy", release_tag=tags[other], **given).succeeded()
        heard = {"topic": told("topic"), "bus": [row["detail"] for row in told("bus")], "webhook": [row["release"] for row in Told.documents]}
        number = system.result()["to"]
        for channel, rows in heard.items():
            assert [row["outcome"] for row in rows] == ["started", "succeeded"], (channel, rows)
            assert {(row["number"], row["service"], row["environment"]) for row in rows} == {(number, "web", "local")}, channel
            assert all(row["who"] and row["digest"].startswith("sha256:") for row in rows), channel
        assert f"hello (local): deploy of web {number} succeeded" in Told.documents[-1]["text"]
    run = system.play("deploy", release_tag="no-such-tag", **given).refused("no-such-tag")
    assert "webhook_url 127.0.0.1 was not sent" in run.output
    assert [row["outcome"] for row in told("topic")] == ["refused"]


def test_a_living_owner_is_pushed_aside_only_on_request_and_that_is_recorded(system: System, tags: dict[str, str], whole: None) -> None:
    """The one that lost the lock stops before it takes another host out; the other ends the release everywhere, and no request is lost."""
    now = next(iter(system.versions(4)))
    lost, kept = [one for one in ("v1", "v2", "v3") if one != now][:2]
    with system.load("stolen"):
        first = system.start("deploy", release_tag=tags[lost], release_message="the one that is pushed aside")
        log = sorted(system.build.glob("*-deploy-killed.log"))[-1]
        try:
            wait_for("a host out of service", lambda: set(system.targets().values()) != {"healthy"}, 120, 0.1)
            system.play("deploy", release_tag=tags[kept], release_break_lock=True).succeeded()
            assert first.wait(120) != 0
        finally:
            if first.poll() is None:
                os.killpg(first.pid, signal.SIGKILL)
                first.wait()
        assert "taken by another release" in log.read_text()
        system.healthy()
    assert system.versions() == {kept}
    taken = system.newest_record()["lock_taken_from"]
    assert (taken["message"], taken["reason"]) == ("the one that is pushed aside", "broken by release_break_lock")
    assert f"took the lock from {taken['owner']}: broken by release_break_lock" in system.play("history").succeeded().output


def test_people_see_a_table_and_pipelines_see_lines(system: System, tags: dict[str, str], whole: None) -> None:
    """bin/flotilla at a terminal: hosts, step, time and target health, kept up to date; elsewhere a line for each step."""
    now = next(iter(system.versions(4)))
    other = "v2" if now != "v2" else "v3"
    hosts = sorted(system.instances())
    command = [sys.executable, "bin/flotilla", "deploy", *system.options(release_tag=tags[other])]
    shown = system.at_a_terminal(command, prompt="^$", timeout=120).output
    for host in hosts:
        steps = {line[21:63].strip() for line in shown.splitlines() if line.startswith(host)}
        assert len(steps) > 2, shown[-3000:]
        assert "healthy" in {line[75:87].strip() for line in shown.splitlines() if line.startswith(host)}, shown[-3000:]
    plain = system.command([sys.executable, "bin/flotilla", "rollback", *system.options()])
    assert plain.code == 0 and "\x1b" not in plain.output, plain.output[-3000:]
    assert all(sum(host in line for line in plain.output.splitlines()) > 2 for host in hosts), plain.output[-3000:]
    assert system.versions() == {now}


def one_then_the_rest(system: System, tag: str) -> None:
    """A release of three hosts: the canary by itself, a pause, and then all others at once."""
    stack = system.stack_facts()
    stack["services"]["web"]["release"] |= {"batches": [1, "100%"], "pause_seconds": 5}
    sizes: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            sizes.append(3 - list(system.targets().values()).count("healthy"))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        with system.load("batches"):
            system.play("deploy", release_tag=tag, flotilla_stack=stack).succeeded()
    finally:
        over.set()
        watching.join()
    runs = [size for size, _same in itertools.groupby(sizes)]
    say(f"hosts out of service, one after the other: {runs}")
    assert max(sizes) == 2 and [size for size in runs if size][0] == 1 and 0 in runs[runs.index(1) : runs.index(2)], runs


def one_leaves(system: System, tag: str, group: str) -> None:
    """A release of three hosts, of which Auto Scaling ends one meanwhile. No request is lost, and the others get it: those of a batch that was planned for
    three hosts and is too large for two leave service one after the other."""
    with system.load("leaves"):
        deploy = system.start("deploy", release_tag=tag)
        log = sorted(system.build.glob("*-deploy-killed.log"))[-1]
        try:
            wait_for("the first host out of service", lambda: set(system.targets().values()) != {"healthy"}, 120, 0.1)
            system.client("autoscaling").set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=2)
            code = deploy.wait(300)
        finally:
            if deploy.poll() is None:
                os.killpg(deploy.pid, signal.SIGKILL)
                deploy.wait()
        wait_for("two hosts", lambda: len(system.instances()) == 2, 180)
        system.healthy()
        result = system.result()
        say(f"one left: code {result.get('exit_code')}, {[row['outcome'] for row in result['hosts'].values()]}")
        assert "departed" in [row["outcome"] for row in result["hosts"].values()], log.read_text()[-6000:]
        assert (code, result["exit_code"], result.get("needs_hand") or [], system.versions()) == (0, 0, [], {"v3"}), result
        system.play("deploy", release_tag=tag).succeeded()
    assert system.versions() == {"v3"}


def test_a_host_that_is_born_during_a_release_has_it_at_its_end(system: System, tags: dict[str, str], whole: None) -> None:
    group = system.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"][0]["AutoScalingGroupName"]
    deploy = system.start("deploy", release_tag=tags["v2"])
    try:
        wait_for("the release", lambda: set(system.targets().values()) != {"healthy"}, 120, 0.2)
        system.client("autoscaling").set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=3)
        assert deploy.wait(400) == 0
    finally:
        if deploy.poll() is None:
            os.killpg(deploy.pid, signal.SIGKILL)
            deploy.wait()
    system.healthy(3)
    assert len(system.instances()) == 3 and system.versions(30) == {"v2"}
    assert "joined" in [row["outcome"] for row in system.result()["hosts"].values()]
    one_then_the_rest(system, tags["v1"])
    one_leaves(system, tags["v3"], group)


def test_a_control_machine_that_vanishes_holds_the_next_up_for_a_minute_at_most(system: System, tags: dict[str, str], whole: None) -> None:
    """Killed with all that it ran, while a host is out of service; from another machine the same command is refused at once, and with waiting finishes it."""
    now = next(iter(system.versions(4)))
    other = "v2" if now != "v2" else "v3"
    parameters = system.client("ssm")
    with system.load("vanished"):
        deploy = system.start("deploy", release_tag=tags[other], release_message="from a machine that is gone")
        wait_for("a host out of service", lambda: set(system.targets().values()) != {"healthy"}, 120, 0.1)
        os.killpg(deploy.pid, signal.SIGKILL)
        deploy.wait()
        killed = time.monotonic()
        held = json.loads(parameters.get_parameter(Name="/flotilla/local/hello/lock")["Parameter"]["Value"])
        parameters.put_parameter(Name="/flotilla/local/hello/lock", Value=json.dumps({**held, "machine": "another"}), Overwrite=True)
        system.play("deploy", release_tag=tags[other]).refused("another release holds the lock", "from a machine that is gone")
        system.play("deploy", release_tag=tags[other], release_wait_seconds=90).succeeded()
        system.healthy()
    taken = system.newest_record()["lock_taken_from"]
    say(f"taken over: {taken['reason']}, {time.monotonic() - killed:.0f} s until the release was everywhere")
    assert "expired" in taken["reason"]
    blocked = datetime.fromisoformat(taken["when"]) - datetime.fromisoformat(taken["heartbeat"])
    assert blocked.total_seconds() <= 65, "a lease of a minute, and the next look at it"
    assert system.versions() == {other}


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_release_killed_at_any_moment_is_finished_or_undone(system: System, tags: dict[str, str], whole: None, kill: int) -> None:
    """kill -9 of ansible and its children at ten moments of a release chosen by a seed; then the same command, or rollback."""
    dice = random.Random(f"{SEED} {kill}")
    if not kill:
        system.first = system.play("deploy", release_tag=tags["v1"]).succeeded().seconds
    now = next(iter(system.versions(4)))
    other = "v2" if now != "v2" else "v3"
    moment, undone = system.first * (kill + dice.random()) / KILLS, dice.random() < 0.4
    with system.load(f"kill-{kill}"):
        alive = system.killed("deploy", moment, release_tag=tags[other])
        undone = undone and alive and system.unfinished()
        say(f"kill {kill}: after {moment:.1f} of {system.first:.0f} s, targets {system.targets()}, then {'rollback' if undone else 'the same'}")
        system.play("rollback" if undone else "deploy", **({} if undone else {"release_tag": tags[other]})).succeeded()
        system.healthy()
    assert system.versions() == {now if undone else other}
    assert len({text.split()[-1] for text in system.containers().values()}) == 1, "mixed images"


def test_requests_of_twenty_seconds_finish(system: System, tags: dict[str, str], whole: None) -> None:
    """With 25 seconds of grace: eight clients, each with one request after the other that takes 20 seconds, from before a release until after it."""
    stack = system.stack_facts()
    stack["services"]["web"]["grace_seconds"] = 25
    now = next(iter(system.versions(4)))
    other = "v2" if now != "v2" else "v3"
    system.play("provision", flotilla_stack=stack).succeeded()
    over = threading.Event()

    def client(late: float) -> list[tuple[int, str]]:
        time.sleep(late)
        seen = []
        while not over.is_set():
            answer = system.get("/slow?seconds=20", timeout=60)
            seen.append((answer.status_code, answer.headers.get("X-App-Version", "-")))
        return seen

    with ThreadPoolExecutor(8) as clients:
        begun = [clients.submit(client, 2.5 * number) for number in range(8)]
        try:
            system.play("deploy", release_tag=tags[other], flotilla_stack=stack).succeeded()
        finally:
            over.set()
        seen = [one for each in begun for one in each.result()]
    say(f"{len(seen)} requests of 20 s: {dict(collections.Counter(seen))}")
    assert {status for status, _version in seen} == {200}
    assert {version for _status, version in seen} == {now, other}
