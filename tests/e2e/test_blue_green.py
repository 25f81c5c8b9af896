"""Two colours on two hosts under load: deploy, back, a release that answers with errors, a killed deploy.

The tests run in the order of this file: each finds the system that the one before has left serving. The releases are of one image and differ in its
environment.
"""

from __future__ import annotations

import collections
import http.client
import json
import os
import random
import re
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.system import LATENCY_PERCENT, System, say, wait_for

pytestmark = pytest.mark.e2e
BY_NAME = True
BAKE_SECONDS = 6
RATE = 25
SEED = 7  # of the moments at which a deploy is killed
KILLS = 10
THREE_HOSTS: dict[str, Any] = {"flotilla_fleets": {"web": {"min": 3, "max": 4}}}


@pytest.fixture(scope="session")
def tag(system: System) -> str:
    """Provisioned with two colours, configured and on release 1, which is blue. The tag of the image."""
    plain = system.stack_facts

    def coloured() -> dict[str, Any]:
        stack = plain()
        web = stack["services"]["web"]
        web["strategy"] = "blue_green"
        limits = {"max_latency_percent": LATENCY_PERCENT}  # the test of a slower release has the default of its own
        web["release"] = {"healthy_deadline_seconds": 40, "min_healthy_seconds": 1, "bake_seconds": BAKE_SECONDS, **limits}
        return stack

    system.__dict__["stack_facts"] = coloured
    system.play("provision").succeeded()
    pushed = system.push("web", "v1")
    system.play("configure").succeeded()
    deploy(system, pushed, "one").succeeded()
    return pushed


def variables(version: str, fault: str = "") -> dict[str, Any]:
    """What makes a release: its environment, laid over the stack's by the local environment."""
    return {"web": {"HELLO_VERSION": version, **({"HELLO_FAULT": fault} if fault else {})}}


def given(system: System, version: str, fault: str = "") -> dict[str, Any]:
    return {"flotilla_environment": {**system.environment_facts(), "variables": variables(version, fault)}}


def deploy(system: System, tag: str, version: str, fault: str = "", **more: Any) -> Any:
    return system.play("deploy", release_tag=tag, **given(system, version, fault), **more)


def rule(system: System) -> dict[str, int]:
    """The weights of both colours."""
    weights = system.weights("web")
    return {"blue": weights["web"], "green": weights["web-green"]}


def back_within(result: dict[str, Any]) -> float:
    """The seconds in which all traffic was back once a limit was seen to be passed, as the release says."""
    found = re.search(r"All traffic went back to blue (\d+\.\d+) s after that was seen; blue never stopped", result["message"])
    assert found, result["message"]
    return float(found[1])


class Seen(list[tuple[float, str, int]]):
    """Answers: when, of which version, with which status (0: none)."""

    def failed(self) -> list[tuple[float, str, int]]:
        return [one for one in self if one[2] != 200]

    def versions(self) -> dict[str, int]:
        return dict(collections.Counter(version for _, version, _ in self))


@contextmanager
def asking(system: System, name: str) -> Iterator[Seen]:
    """A client at a constant rate around a block; what it has seen."""
    seen, ended, begun = Seen(), threading.Event(), time.monotonic()

    where = urlsplit(system.https)
    context = ssl._create_unverified_context()  # one for all: to make one takes longer than a request

    def ask() -> None:
        connection = http.client.HTTPSConnection(str(where.hostname), where.port, timeout=10, context=context)
        try:
            connection.request("GET", "/whoami", headers={"Connection": "close"})
            answer = connection.getresponse()
            answer.read()
            seen.append((time.monotonic() - begun, answer.headers.get("X-App-Version", "-"), answer.status))
        except (OSError, http.client.HTTPException) as error:
            seen.append((time.monotonic() - begun, repr(error)[:200], 0))
        finally:
            connection.close()

    def run(lane: int, lanes: int = 8) -> None:
        due = begun + lane / RATE
        while not ended.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            due += lanes / RATE
            ask()

    threads = [threading.Thread(target=run, args=(lane,)) for lane in range(8)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        say(f"asked {name}: {len(seen)} sent, {len(seen.failed())} failed, answered by {seen.versions()}")


def test_provision_leaves_the_weights_alone(system: System, tag: str) -> None:
    """All weight with blue; the same again changes nothing; hosts let the load balancer alone reach either port."""
    assert rule(system) == {"blue": 100, "green": 0}
    assert system.play("provision").succeeded().changed == 0
    assert system.versions() == {"one"}
    first, second = system.instances()
    address = system.instances()[second]["PrivateIpAddress"]
    assert not system.reaches(first, address, 8080) and not system.reaches(first, address, 8081)


def test_a_deploy_goes_over_share_by_share_and_loses_nothing(system: System, tag: str) -> None:
    """0 failed; both colours answer during the shift; then green alone, blue stays warm and in place."""
    before, hosts = system.containers(), set(system.instances())
    with asking(system, "deploy") as seen:
        run = deploy(system, tag, "two").succeeded()
        time.sleep(1)
    assert seen.failed() == []
    result = system.result()
    assert (result["outcome"], result["exit_code"], result["colour"], result["to"]) == ("succeeded", 0, "green", 2)
    shifting = [one for one in seen if one[1] == "two"]
    early = [one for one in seen if shifting[0][0] < one[0] < shifting[0][0] + BAKE_SECONDS - 1]
    share = sum(version == "two" for _, version, _ in early) / len(early)
    say(f"the first share was {100 * share:.0f} % of {len(early)} requests; deploy {run.seconds:.0f} s")
    assert 0.02 < share < 0.25
    assert rule(system) == {"blue": 0, "green": 100} and system.versions() == {"two"}
    assert system.containers() == before, "the old colour was touched"
    assert set(system.containers("web-green")) == hosts == set(system.instances())
    status = system.play("status").succeeded().output
    assert "green 100 % of the traffic  release 2" in status and "blue    0 % of the traffic  release 1, warm" in status
    assert "Everything is as it was released." in status


def test_the_same_again_and_provision_change_nothing_on_green(system: System, tag: str) -> None:
    assert deploy(system, tag, "two").succeeded().changed == 0
    assert system.play("provision").succeeded().changed == 0
    assert rule(system) == {"blue": 0, "green": 100}


def test_rollback_is_one_change_of_weights(system: System, tag: str) -> None:
    """0 failed, no container started or stopped."""
    before = (system.containers(), system.containers("web-green"))
    with asking(system, "rollback") as seen:
        run = system.play("rollback").succeeded()
        time.sleep(1)
    assert seen.failed() == []
    say(f"rollback {run.seconds:.0f} s")
    assert rule(system) == {"blue": 100, "green": 0} and system.versions() == {"one"}
    assert (system.containers(), system.containers("web-green")) == before


def test_a_release_that_answers_with_errors_is_put_back(system: System, tag: str) -> None:
    """Healthy, but every page is a 500: at most its share sees that, for seconds; exit code 21 with the figures; the old colour never stopped."""
    before = system.containers()
    with asking(system, "errors") as seen:
        run = deploy(system, tag, "bad", "errors")
        time.sleep(1)
    assert run.code != 0
    result = system.result()
    assert (result["outcome"], result["exit_code"], result["needs_hand"]) == ("failed", 21, [])
    assert "of its answers are 5xx" in result["message"] and back_within(result) < 1
    failed = seen.failed()
    assert failed and {version for _, version, _ in failed} == {"bad"}, "somebody else's request was lost"
    # Of the requests in the time for which it had its share: from the first failure to the last there may be a dozen only.
    shared = [one for one in seen if failed[-1][0] - max(result["phases"]["10 %"], failed[-1][0] - failed[0][0]) <= one[0] <= failed[-1][0]]
    assert len(failed) < 0.25 * len(shared), f"{len(failed)} of {len(shared)}"
    say(f"{len(failed)} of {len(seen)} requests saw the errors, for {failed[-1][0] - failed[0][0]:.1f} s")
    assert rule(system) == {"blue": 100, "green": 0} and system.versions() == {"one"}
    assert system.containers() == before
    ask = "docker ps --all --quiet --filter name=flotilla-web-green"
    wait_for("the failed colour to end by itself", lambda: not any(system.on_host(host, ask) for host in before), 60)


def test_the_page_of_a_release_that_was_put_back_tells_why_and_when(system: System, tag: str) -> None:
    """The last one's: its reason first, a lane for each host and for the traffic, figures by release, and nothing from elsewhere."""
    page = Path(system.result()["report"]).read_text()
    assert page.index("of its answers are 5xx") < page.index("<h2>Timeline") < page.index("<h2>Requests") < page.index("<h2>Decisions")
    assert "traffic: 10 %, " in page and all(f"{host}: start, " in page for host in system.instances())
    for text in ("release 1 (blue)", f"release {system.result()['to']} (green)", "5xx answers a second", "The traffic went back: "):
        assert text in page, text
    assert "<script" not in page and "src=" not in page and "href=" not in page
    record = system.newest_record()
    assert all(row["seconds"] and row["steps"]["start"] for row in record["hosts"].values()), record["hosts"]


def test_a_release_that_is_slower_is_put_back(system: System, tag: str) -> None:
    """Right, but half a second late: seen when each colour has answered a hundred requests; exit code 21 with both figures, no request lost.

    The latency of a minute in which green has served the release before is left out (CloudWatch has no part of a minute), so that it takes up to 70 seconds.
    """
    before, stack = system.containers(), system.stack_facts()
    stack["services"]["web"]["release"] |= {"weights": [50, 100], "bake_seconds": 100, "max_latency_percent": 200}
    with asking(system, "slow") as seen:
        run = deploy(system, tag, "late", "slow", flotilla_stack=stack)
        time.sleep(1)
    assert run.code != 0 and seen.failed() == []
    result = system.result()
    assert (result["outcome"], result["exit_code"], result["needs_hand"]) == ("failed", 21, [])
    assert re.search(r"its latency is \d+ ms \(95 % are faster\), the old colour's \d+ ms: \d+ %, max_latency_percent is 200", result["message"])
    late = [when for when, version, _ in seen if version == "late"]
    say(f"{len(late)} of {len(seen)} requests were late, for {late[-1] - late[0]:.1f} s: {result['message'][:200]}")
    assert late[-1] - late[0] < 85, "it was put back at the end of the step only"
    assert back_within(result) < 1
    assert rule(system) == {"blue": 100, "green": 0} and system.versions() == {"one"}
    assert system.containers() == before


def test_an_alarm_that_rings_puts_all_of_it_back(system: System, tag: str) -> None:
    """An alarm of CloudWatch that the stack names, while a tenth is with the new colour: no request lost, exit code 21, the alarm's reason in the message."""
    cloudwatch, stack = system.client("cloudwatch"), system.stack_facts()
    rule_of = {"Namespace": "Shop", "MetricName": "LostCarts", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1.0}
    cloudwatch.put_metric_alarm(AlarmName="lost-carts", ComparisonOperator="GreaterThanThreshold", **rule_of)
    cloudwatch.set_alarm_state(AlarmName="lost-carts", StateValue="OK", StateReason="none lost")
    stack["services"]["web"]["release"]["alarms"] = ["lost-carts"]
    with asking(system, "alarm") as seen:
        process = system.start("deploy", release_tag=tag, flotilla_stack=stack, **given(system, "alarmed"))
        try:
            wait_for("a tenth with green", lambda: rule(system)["green"] == 10, 120, 0.1)
            cloudwatch.set_alarm_state(AlarmName="lost-carts", StateValue="ALARM", StateReason="three carts were lost")
            rang = time.monotonic()
            wait_for("all of it with blue", lambda: rule(system)["green"] == 0, 10, 0.05)
            back = time.monotonic() - rang
            say(f"back {back:.1f} s after the alarm rang")
            assert process.wait(120) != 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    assert seen.failed() == []
    result = system.result()
    assert (result["outcome"], result["exit_code"], result["needs_hand"]) == ("failed", 21, [])
    assert "three carts were lost" in result["message"] and system.versions() == {"one"}
    assert back_within(result) < 1 and back < 3, "alarms are looked at each second"


def test_the_old_colour_is_stopped_when_the_stack_says_so_and_comes_back_for_a_rollback(system: System, tag: str) -> None:
    """Ten seconds after the traffic has gone over, by the host itself; it is not started when the host boots; rollback starts it first, and nobody notices."""
    stack = system.stack_facts()
    stack["services"]["web"]["release"]["retire_after_seconds"] = 10
    hosts, before = list(system.instances()), system.containers()
    with asking(system, "retired") as seen:
        deploy(system, tag, "brief", flotilla_stack=stack).succeeded()
        over = time.monotonic()
        assert system.containers() == before, "it was stopped at once"
        ask = "docker ps --all --quiet --filter name='^flotilla-web$'; ls /etc/systemd/system/*.wants/flotilla-web.service 2>/dev/null"
        wait_for("the old colour to end", lambda: not any(system.on_host(host, ask, check=False) for host in hosts), 60)
        say(f"stopped {time.monotonic() - over:.0f} s after the release")
        assert system.versions() == {"brief"} and set(system.instances()) == set(hosts), "a host was replaced"
        system.play("rollback").succeeded()
        time.sleep(1)
    assert seen.failed() == []
    assert rule(system) == {"blue": 100, "green": 0} and system.versions() == {"one"}
    system.healthy()


def test_a_deploy_killed_in_the_middle_is_finished_by_the_same_command(system: System, tag: str) -> None:
    """Killed while a tenth of the traffic is with the new colour: both serve; the same command goes on and ends with all of it."""
    with asking(system, "killed") as seen:
        process = system.start("deploy", release_tag=tag, **given(system, "three"))
        wait_for("a tenth with green", lambda: rule(system)["green"] == 10, 120)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(2)
        assert {"one", "three"} <= system.versions(60)
        deploy(system, tag, "three").succeeded()
        time.sleep(1)
    assert seen.failed() == []
    assert rule(system) == {"blue": 0, "green": 100} and system.versions() == {"three"}
    assert system.suspended() == []
    assert system.client("ssm").get_parameters(Names=["/flotilla/local/hello/lock"])["Parameters"] == []
    pointer = json.loads(system.client("ssm").get_parameter(Name="/flotilla/local/hello/services/web/release")["Parameter"]["Value"])
    assert pointer["colour"] == "green"


def test_a_new_host_serves_the_colour_that_serves_and_no_host_is_replaced(system: System, tag: str) -> None:
    """A third host is in both target groups at once; the running release is started on it in its colour, and nothing else is touched."""
    hosts, before = set(system.instances()), system.containers("web-green")
    system.play("provision", **THREE_HOSTS).succeeded()
    wait_for("a third host", lambda: len(system.instances()) == 3)
    system.play("configure", **THREE_HOSTS).succeeded()
    with asking(system, "third") as seen:
        deploy(system, tag, "three", **THREE_HOSTS).succeeded()
        system.healthy(3)
        time.sleep(1)
    assert seen.failed() == [] and seen.versions().keys() == {"three"}
    assert rule(system) == {"blue": 0, "green": 100}
    assert hosts < set(system.instances()), "a host was replaced although nothing but an idle colour was unhealthy"
    after = system.containers("web-green")
    assert {host: after[host] for host in before} == before
    system.answers(3)


def test_a_restart_goes_over_to_the_other_colour(system: System, tag: str) -> None:
    """The same release on blue, as a release of its own: no request lost."""
    with asking(system, "restart") as seen:
        system.play("restart", **given(system, "three"), **THREE_HOSTS).succeeded()
    assert seen.failed() == [] and seen.versions().keys() == {"three"}
    assert rule(system) == {"blue": 100, "green": 0}
    pointer = json.loads(system.client("ssm").get_parameter(Name="/flotilla/local/hello/services/web/release")["Parameter"]["Value"])
    assert pointer["colour"] == "blue"


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_release_killed_at_any_moment_is_finished_or_undone(system: System, tag: str, kill: int) -> None:
    """kill -9 of ansible and its children at ten moments of a release chosen by a seed; then the same command, or rollback."""
    dice = random.Random(f"{SEED} {kill}")
    if not kill:
        with asking(system, "before") as seen:
            system.first = deploy(system, tag, "before", **THREE_HOSTS).succeeded().seconds
        assert seen.failed() == []
    (now,) = system.versions()
    moment, undone = system.first * (kill + dice.random()) / KILLS, dice.random() < 0.4
    with asking(system, f"kill-{kill}") as seen:
        alive = system.killed("deploy", moment, release_tag=tag, **given(system, f"kill-{kill}"), **THREE_HOSTS)
        undone = undone and alive and system.unfinished()
        say(f"kill {kill}: after {moment:.1f} of {system.first:.0f} s with {rule(system)}, then {'rollback' if undone else 'the same'}")
        (system.play("rollback", **THREE_HOSTS) if undone else deploy(system, tag, f"kill-{kill}", **THREE_HOSTS)).succeeded()
        time.sleep(1)
    assert seen.failed() == []
    assert system.versions() == {now if undone else f"kill-{kill}"}
    assert sorted(rule(system).values()) == [0, 100]
    system.healthy(3)
    assert system.suspended() == []
    assert system.client("ssm").get_parameters(Names=["/flotilla/local/hello/lock"])["Parameters"] == []
