"""Releases that go wrong, on two hosts under load: what is bounded stays bounded, what is said is true.

The tests run in the order of this file: each finds the system that the one before has left serving.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.system import System, say, wait_for

pytestmark = pytest.mark.e2e
NAMED_SECONDS = 30.0


@pytest.fixture(scope="session")
def tags(system: System) -> dict[str, str]:
    """Provisioned, configured and on release 1. Version → tag in the registry."""
    system.play("provision").succeeded()
    pushed = {version: system.push("web", version) for version in ("v1", "v2", "v3", "exits")}
    system.play("configure").succeeded()
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
    host, output, named = lose(system, how, {"release_tag": tags["v2"]})
    assert named < NAMED_SECONDS
    assert f"{host} is OUT OF SERVICE" in output
    result = system.result()
    assert (result["outcome"], result["exit_code"], result["needs_hand"]) == ("failed", 30, [host])
    assert system.versions() == {"v1"}
    system.play("rollback").succeeded()


def test_a_lost_host_does_not_stop_a_release_that_may_do_without_it(system: System, tags: dict[str, str], whole: None) -> None:
    stack = system.stack_facts()
    stack["services"]["web"]["release"] |= {"max_failures": 1}
    host, output, named = lose(system, "frozen", {"release_tag": tags["v2"], "flotilla_stack": stack, "release_min_healthy": "0"})
    assert named < NAMED_SECONDS
    result = system.result()
    assert (result["outcome"], result["exit_code"], result["needs_hand"]) == ("succeeded", 0, [host])
    assert f"{host} is OUT OF SERVICE" in output
    assert system.versions() == {"v2"}
    system.play("deploy", release_tag=tags["v2"]).succeeded()


def test_a_host_that_is_frozen_before_a_release_is_named_at_once(system: System, tags: dict[str, str], whole: None) -> None:
    host = sorted(system.instances())[0]
    with frozen(host):
        run = system.play("deploy", release_tag=tags["v3"]).refused(f"{host} does not answer")
    assert run.seconds < NAMED_SECONDS + 5, "with ansible's own start"


def test_a_container_that_exits_at_once_is_seen_in_seconds(system: System, tags: dict[str, str], whole: None) -> None:
    with system.load("exits"):
        system.play("deploy", release_tag=tags["exits"]).refused("exited with code 3", "HELLO_FAULT=exit")
    assert system.result()["exit_code"] == 20
    record = json.loads(system.client("s3").get_object(Bucket=system.outputs()["bucket"], Key="releases/web/000003.json")["Body"].read())
    assert record["outcome"] == "failed"
    slowest = max(row["seconds"] or 0 for row in system.result()["hosts"].values())
    say(f"a container that exits cost its host {slowest} s")


@pytest.mark.parametrize("number", ["99", "banana"])
def test_a_rollback_to_something_unknown_is_refused(system: System, tags: dict[str, str], whole: None, number: str) -> None:
    before = system.containers()
    system.play("rollback", to=number).refused(number, r"Fix: -e to=")
    assert system.result()["exit_code"] == 10
    assert system.containers() == before
