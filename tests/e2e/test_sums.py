"""sums: a public client, a private api that ends with exit code 0 when asked for 13, and a redis that forgets nothing.

The tests run in the order of this file: each finds the system that the one before has left serving.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import yaml

from tests.e2e.system import ROOT, Run, System, say, wait_for

pytestmark = pytest.mark.e2e
# Lines of this system that tests of their own show.
ELSEWHERE = {
    "line 5: the api fleet grows by itself under load and shrinks after": "scaling",
    "line 6: how much of the traffic each share of a release takes, kills at ten moments, alarms": "blue_green",
}
# A developer; her commits have the same names in every run of the tests, so that the engine knows their images' layers.
ANN = {"NAME": "ann", "EMAIL": "ann@example.org", "DATE": "2026-01-01T00:00:00Z"}


@pytest.fixture(scope="session")
def released(system: System) -> System:
    """Provisioned, configured with a developer's account, and every service on its first release."""
    key = system.build / "ann"
    system.command(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]).succeeded()
    developer = {"name": "ann", "public_key": key.with_suffix(".pub").read_text().strip()}
    system.variables["flotilla_environment"] = {**system.environment_facts(), "developers": [developer]}
    system.up()
    return system


def total(system: System, number: int) -> str:
    return system.get(f"/?n={number}", timeout=120).text.strip()


def remembered(system: System) -> str:
    """What the page says, once it says anything good."""

    def probe() -> str:
        answer = system.get("/")
        return answer.text.strip() if answer.status_code == 200 else ""

    return wait_for("the last sum", probe)


def test_the_sum_passes_through_client_api_and_redis(released: System) -> None:
    """Line 1: /?n=100 says 5050, and / remembers it, whichever client is asked."""
    assert total(released, 100) == "Your sum was 5050"
    assert {remembered(released) for _ in range(10)} == {"Last sum was 5050"}
    assert released.get("/?n=zero").status_code == 422


def test_two_clients_and_two_apis_are_on_hosts_of_their_own_in_two_zones(released: System) -> None:
    """Line 4: instances, their zones, and who answers 40 requests."""
    for fleet in ("client", "api"):
        hosts = released.instances(fleet)
        assert len(hosts) == 2
        assert len({host["Placement"]["AvailabilityZone"] for host in hosts.values()}) == 2
        released.healthy(2, fleet)
    assert {released.get("/").headers["X-App-Host"] for _ in range(40)} == set(released.instances("client"))


def test_only_clients_reach_the_api_and_only_apis_reach_redis(released: System) -> None:
    """Isolation: TCP connections from hosts of each fleet, and from outside, to the balancers inside and to the hosts themselves."""
    outputs = released.outputs()
    api, redis = (outputs["services"][name] for name in ("api", "redis"))
    client_host, api_host = (next(iter(released.instances(fleet))) for fleet in ("client", "api"))
    redis_address = next(iter(released.instances("redis").values()))["PrivateIpAddress"]
    assert released.reaches(client_host, api["host"], api["port"])
    assert released.reaches(api_host, redis["host"], redis["port"])
    assert not released.reaches(client_host, redis["host"], redis["port"])
    assert not released.reaches(client_host, redis_address, redis["port"])
    for address in [one["PrivateIpAddress"] for one in released.instances("api").values()]:
        assert not released.reaches(client_host, address, api["port"]), "past the balancer"
    with pytest.raises(requests.RequestException):
        requests.get(f"http://{address}:{api['port']}/", timeout=2)


def test_thirteen_ends_the_api_with_exit_code_0_and_it_is_back_every_time(released: System) -> None:
    """Line 3: five times in a row; the other replica serves meanwhile, and each time the same host is back within seconds."""
    for turn in range(5):
        before = released.containers("api", "api")
        assert released.get("/?n=13").status_code == 502
        began = time.monotonic()
        assert total(released, 20) == "Your sum was 210", "the second replica did not serve"
        after = released.restarted(before, "api", "api", 30)
        assert sum(after[host] != before[host] for host in before) == 1
        say(f"thirteen, turn {turn + 1}: back after {time.monotonic() - began:.1f} s")
        released.healthy(2, "api")


def test_a_slow_answer_is_not_taken_for_a_dead_app(released: System) -> None:
    """Line 5: while two long sums burn both apis' CPU, their targets stay healthy, nothing is restarted, and the sums are right."""
    before = released.containers("api", "api")
    with ThreadPoolExecutor(2) as pool:
        sums = [pool.submit(total, released, 200_000_000) for _ in range(2)]
        while not all(one.done() for one in sums):
            assert set(released.targets("api").values()) == {"healthy"}
            time.sleep(1)
    assert {one.result() for one in sums} == {"Your sum was 20000000100000000"}
    assert released.containers("api", "api") == before


def test_redis_keeps_its_state(released: System) -> None:
    """Line 2: the last sum over a restart, kill -9, a deploy that makes the container anew, and a reboot of the host."""
    assert total(released, 1000) == "Your sum was 500500"
    host = next(iter(released.instances("redis")))
    unit = "flotilla-redis.service"
    for what, script in (
        ("restart", f"systemctl restart {unit}"),
        ("kill -9", "docker kill --signal KILL flotilla-redis"),
        ("re-creation", f"systemctl stop {unit}; docker rm --force flotilla-redis; systemctl start {unit}"),
    ):
        before = released.containers("redis", "redis")
        released.on_host(host, script)
        released.restarted(before, "redis", "redis")
        assert remembered(released) == "Last sum was 500500", what
        say(f"redis kept its state over {what}")
    released.release("redis", "v2").succeeded()
    assert remembered(released) == "Last sum was 500500"
    released.client("ec2").reboot_instances(InstanceIds=[host])
    wait_for("the reboot", lambda: released.get("/").status_code != 200, 60, 0.2)
    assert remembered(released) == "Last sum was 500500"


def test_a_release_of_the_api_and_the_way_back_lose_no_request(released: System) -> None:
    """Line 6: every request is answered while the api goes over to its other colour and while one command takes that back; sums under way too."""
    released.push("api", "v2")
    before = released.live("api")
    with released.load("release", rate=30):
        released.release("api", "v2").succeeded()
        assert released.live("api") != before
        released.play("rollback", release_service="api").succeeded()
    assert released.live("api") == before
    released.healthy(2, "api")


def test_a_broken_api_is_undone(released: System) -> None:
    """Line 6: a build that never becomes healthy: exit code not 0, the colour that serves untouched, no request lost."""
    serving = released.live("api")
    before = released.containers(serving, "api")
    stack = released.stack_facts()
    stack["services"]["api"]["release"]["healthy_deadline_seconds"] = 30
    with released.load("broken", rate=30):
        released.play("deploy", release_service="api", release_tag=released.push("api", "broken"), flotilla_stack=stack).refused("APP_FAULT|unhealthy|failed")
    assert released.live("api") == serving and released.containers(serving, "api") == before
    released.healthy(2, "api")


@pytest.fixture(scope="session")
def work(released: System) -> Path:
    """The client's source and stack.yml as a developer has cloned them: what is pushed from here deploys itself."""
    bare, work = released.build / "client.git", released.build / "client"
    released.environment |= {f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER") for key, value in ANN.items()}
    released.command([sys.executable, "-m", "tools.pipeline", "init", str(bare)]).succeeded()
    released.command(["git", "clone", "--quiet", str(bare), str(work)]).succeeded()
    shutil.copytree(ROOT / "examples" / "sums" / "client", work / "client")
    (work / "stack.yml").write_text(yaml.safe_dump({"flotilla_stack": released.stack_facts()}), encoding="utf-8")
    return work


def commit(system: System, work: Path, old: str, new: str) -> str:
    """Change the client's application; the name of the commit, and of its image."""
    source = work / "client" / "application.rb"
    source.write_text(source.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    git(system, work, "add", ".")
    git(system, work, "-c", "commit.gpgsign=false", "commit", "--quiet", "--message", new)
    return git(system, work, "rev-parse", "--short=12", "HEAD").output.strip()


def git(system: System, work: Path, *words: str) -> Run:
    return system.command(["git", "-C", str(work), *words]).succeeded()


def test_a_push_deploys_itself_and_of_quick_ones_the_newest_stays(released: System, work: Path) -> None:
    """Line 8: two pushes, the second during the first one's run: built, tested, put into the registry and released, one at a time; no request lost."""
    with released.load("pushes", rate=30), ThreadPoolExecutor(1) as pool:
        older = commit(released, work, "# The page.", "# The page, once more.")
        first = pool.submit(git, released, work, "push", "origin", "HEAD:main")
        wait_for("the first run", lambda: f"build and test client at {older}" in (released.build / "client.git" / "pipeline.log").read_text(), 30, 0.1)
        newer = commit(released, work, "# The page, once more.", "# The page, twice more.")
        second = git(released, work, "push", "origin", "HEAD:main")
        assert f"{older} is deployed" in first.result().output
    assert "another run is under way" in second.output and f"{newer} is deployed" in second.output
    assert released.versions(path="/") == {newer}
    released.given = newer


@pytest.mark.aside
def test_a_push_with_a_failing_test_deploys_nothing(released: System, work: Path) -> None:
    """Line 8: whoever pushes sees the test that failed; the registry holds no image of the commit, containers and release are as before."""
    serving = released.live("client")
    before = released.containers(serving, "client")
    broken = commit(released, work, "Your sum was", "Her sum was")
    pushed = git(released, work, "push", "origin", "HEAD:main")
    for text in (f"FAILED at {broken}", r"Expected: \[200, \"Your sum was 10\"\]", "Nothing was pushed, nothing was deployed"):
        assert re.search(text, pushed.output), pushed.output
    images = released.client("ecr").describe_images(repositoryName="sums/client")["imageDetails"]
    assert broken not in [tag for image in images for tag in image.get("imageTags", [])]
    assert released.live("client") == serving and released.containers(serving, "client") == before
    assert released.versions(path="/") == {released.given}


@pytest.mark.aside
def test_the_volume_follows_to_another_host(released: System) -> None:
    """Line 2: the host of redis is terminated; its successor makes itself, without a command, and has the same data."""
    assert total(released, 2000) == "Your sum was 2001000"
    victim = next(iter(released.instances("redis")))
    released.client("ec2").terminate_instances(InstanceIds=[victim])
    began = time.monotonic()
    wait_for("another host for redis", lambda: len(released.instances("redis")) == 1 and victim not in released.instances("redis"), 180)
    released.healthy(1, "redis")
    assert remembered(released) == "Last sum was 2001000"
    say(f"redis serves its data from another host {time.monotonic() - began:.0f} s after its host was terminated")
    assert released.play("configure").succeeded().changed == 0


@pytest.mark.aside
def test_a_developer_opens_irb_in_the_running_application(released: System) -> None:
    """Line 7: one command, a login of their own; in the running container or in one apart; who, when and what is on record; nothing else is allowed."""
    assert total(released, 30) == "Your sum was 465"
    key = released.build / "ann"
    host = sorted(released.instances("api"))[0]
    options = released.options(console_user="ann", console_key=str(key), console_host=host)
    flotilla = str(ROOT / "bin" / "flotilla")
    for more in ([], ["--new"]):
        command = [flotilla, "console", "api", "irb", *more, *options]
        session = released.at_a_terminal(command, "[Sums.last, Process.uid]", "exit", prompt=r"irb\(main\)\S*> ").succeeded()
        assert "[465, 10001]" in session.output
        say(f"irb {' '.join(more)}: open and closed within {session.seconds:.1f} s")
    assert released.command([flotilla, "console", "api", "bash", *options]).refused("api allows: irb").code == 10

    bucket, s3 = released.outputs()["bucket"], released.client("s3")
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="consoles/api/")["Contents"]
    records = [json.loads(s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()) for one in listed]
    assert {(one["who"], one["program"], one["exit_code"], one["release"]) for one in records} == {("ann", "irb", 0, records[0]["release"])}
    assert {one["container"] for one in records} == {"running", "new"} and all(one["began"] <= one["ended"] for one in records)

    assert released.logged_in(host, "ann", key, "id -nG") == "ann flotilla-developers"
    refused = released.logged_in(host, "ann", key, "sudo flotilla-console api bash; sudo -n id; docker ps; cat /run/flotilla/api/secrets/*", check=False)
    for text in ("Allowed here: api: irb", "a password is required", "permission denied", "Permission denied"):
        assert text in refused
    journal = released.on_host(host, "journalctl --output cat --identifier flotilla-console")
    assert [line.split()[0] for line in journal.splitlines()] == ["opened", "closed"] * 2 + ["refused"]
    assert all('"who": "ann"' in line for line in journal.splitlines())


@pytest.mark.aside
@pytest.mark.by_name
def test_the_same_again_changes_nothing(released: System) -> None:
    """changed=0 from provision, configure and deploy; container ids and start times as before."""
    fleets = {"redis": "redis", "api": "api", "client": "client"}
    before = {service: released.containers(released.live(service), fleet) for service, fleet in fleets.items()}
    for verb in ("provision", "configure"):
        assert released.play(verb).succeeded().changed == 0
    for service, tag in {"redis": released.push("redis", "v2"), "api": released.push("api", "v1"), "client": released.given}.items():
        assert released.play("deploy", release_service=service, release_tag=tag).succeeded().changed == 0
    assert {service: released.containers(released.live(service), fleet) for service, fleet in fleets.items()} == before


@pytest.mark.aside
@pytest.mark.by_name
def test_two_public_services_share_the_load_balancer(released: System) -> None:
    """Another build of the client, for one host name and one path: the rule's requests reach it, all others the client."""
    stack = released.stack_facts()
    seen_at = {"port": 4570, "container_port": 4567, "hosts": ["preview.example.org"], "paths": ["/preview*"]}
    stack["services"]["preview"] = {**stack["services"]["client"], **seen_at}
    released.variables["flotilla_stack"] = stack
    released.play("provision").succeeded()
    released.play("deploy", release_service="preview", release_tag=released.push("client", "v2")).succeeded()
    asked = [(host, path) for host in ("preview.example.org", "example.org") for path in ("/preview", "/")]
    answers = [requests.get(released.https + path, headers={"Host": host}, verify=False, timeout=10) for host, path in asked]
    assert [answer.headers["X-App-Version"] for answer in answers] == ["v2", *[released.given] * 3]


@pytest.mark.aside
@pytest.mark.by_name
def test_destroy_leaves_nothing(released: System) -> None:
    """The account is empty afterwards, the volume of redis included."""
    released.play("destroy").succeeded()
    assert released.instances() == {}
    ec2 = released.client("ec2")
    assert [one["VolumeId"] for one in ec2.describe_volumes(Filters=[{"Name": "tag:flotilla:stack", "Values": ["sums"]}])["Volumes"]] == []
    assert released.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
    assert ec2.describe_vpcs(Filters=[{"Name": "tag:flotilla:stack", "Values": ["sums"]}])["Vpcs"] == []
    assert released.play("destroy").succeeded().changed == 0
