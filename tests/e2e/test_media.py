"""media: a PHP application with MySQL, a cache and a shared file store.

The tests run in the order of this file: each finds the system that the one before has left serving.
"""

from __future__ import annotations

import subprocess
import time

import pytest
import requests

from tests.e2e.system import System, wait_for

pytestmark = pytest.mark.e2e
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="session")
def released(system: System) -> System:
    """Provisioned, configured and on release 1."""
    system.up()
    system.healthy()
    return system


def make(system: System) -> str:
    """Have an image made; its path."""
    answer = system.get("/api/generate-image")
    assert answer.status_code == 201, answer.text
    return str(answer.json()["url"])


def seen_by_all(system: System, path: str) -> None:
    """Every host serves the file, with the same bytes."""
    answers = [system.get(path) for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].content.startswith(PNG)
    assert {answer.headers["X-App-Host"] for answer in answers} == set(system.instances())


def cache_container(system: System) -> str:
    """The docker container that plays the cache."""
    names = subprocess.run(["docker", "ps", "-a", "--format", "{{.Names}}"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return next(name for name in names if f"flotilla-{system.settings.identity}-cache" in name)


def test_health_names_database_cache_and_media(released: System) -> None:
    """GET /api/health: each with state and latency; never throttled; /api/ping answers, and with the address that the load balancer forwards."""
    health = released.get("/api/health").json()
    assert health["status"] == "ok"
    assert {name: check["state"] for name, check in health["checks"].items()} == {"database": "ok", "cache": "ok", "media": "ok"}
    assert all(check["latency_ms"] >= 0 for check in health["checks"].values())
    forged = requests.get(released.https + "/api/ping", headers={"X-Forwarded-For": "203.0.113.9"}, verify=False, timeout=10).json()
    assert forged["pong"] is True
    assert forged["client"] != "203.0.113.9"


def test_a_file_written_on_one_host_is_read_on_the_other_at_once(released: System) -> None:
    """Five images, each read 20 times right after it was made."""
    for _ in range(5):
        seen_by_all(released, make(released))


def test_the_cache_keeps_what_it_is_given(released: System) -> None:
    """POST /api/cache and GET it through both hosts; 404 for an unknown key, 422 for bad input."""
    put = requests.post(released.https + "/api/cache", json={"key": "e2e", "value": "kept", "ttl": 300}, verify=False, timeout=10)
    assert put.status_code in (200, 201)
    answers = [released.get("/api/cache/e2e") for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200}
    assert all("kept" in answer.text for answer in answers)
    assert released.get("/api/cache/unknown").status_code == 404
    assert requests.post(released.https + "/api/cache", json={"key": "", "ttl": -1}, verify=False, timeout=10).status_code == 422


def test_sessions_live_in_the_cache(released: System) -> None:
    """One visitor's count goes up whichever host answers."""
    visitor = requests.Session()
    hosts, counts = set(), []
    for _ in range(8):
        answer = visitor.get(released.https + "/", verify=False, timeout=10)
        hosts.add(answer.headers["X-App-Host"])
        counts.append(answer.text.partition("Visits of yours: ")[2].partition(".")[0])
    assert counts == [str(number) for number in range(1, 9)]
    assert hosts == set(released.instances())


def test_a_cache_that_is_away_is_told_within_a_second(released: System) -> None:
    """503 from /api/cache within a second, health says so, the pages go on; it heals by itself and nothing is restarted."""
    before = released.containers()
    container = cache_container(released)
    subprocess.run(["docker", "stop", "-t", "1", container], check=True, stdout=subprocess.DEVNULL)
    try:
        for _ in range(6):
            began = time.monotonic()
            assert released.get("/api/cache/e2e").status_code == 503
            assert time.monotonic() - began < 1
        assert released.get("/api/health").json()["checks"]["cache"]["state"] == "down"
        assert released.get("/").status_code == 200
    finally:
        subprocess.run(["docker", "start", container], check=True, stdout=subprocess.DEVNULL)
    wait_for("the cache", lambda: all(released.get("/api/health").json()["status"] == "ok" for _ in range(4)))
    assert released.containers() == before


def test_only_the_hosts_reach_cache_database_and_file_store(released: System) -> None:
    """TCP from a host is let in, from outside the fleet it is not."""
    outputs = released.outputs()
    host = next(iter(released.instances()))
    for where in ("cache", "database"):
        assert released.reaches(host, outputs[where]["host"], outputs[where]["port"])
        address = released.on_host(host, f"getent hosts {outputs[where]['host']} | cut -d' ' -f1")
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://{address}:{outputs[where]['port']}/", timeout=2)


def test_files_survive_a_release_under_load(released: System) -> None:
    """No request is lost, and a file made before is there on both hosts."""
    path = make(released)
    released.push("web", "v2")
    with released.load("release", rate=30):
        released.release("web", "v2").succeeded()
    assert released.versions(path="/healthz") == {"v2"}
    seen_by_all(released, path)


@pytest.mark.by_name
def test_rollback_is_one_command(released: System) -> None:
    """Without an argument, and no request is lost."""
    with released.load("rollback", rate=30):
        released.play("rollback").succeeded()
    assert released.versions(path="/healthz") == {"v1"}


@pytest.mark.aside
def test_files_survive_containers_reboots_and_hosts(released: System) -> None:
    """The container removed, its host rebooted, the other one replaced without a command: the file is there, byte for byte, on both hosts."""
    path = make(released)
    bytes_before = released.get(path).content
    (version,) = released.versions(path="/healthz")
    first, second = sorted(released.instances())
    released.on_host(first, "systemctl stop flotilla-web; docker rm -f flotilla-web; systemctl start flotilla-web")
    released.healthy()
    before = released.containers()[first]
    released.client("ec2").reboot_instances(InstanceIds=[first])
    wait_for("the reboot", lambda: released.containers()[first] != before, 120)
    released.healthy()
    seen_by_all(released, path)
    released.client("ec2").terminate_instances(InstanceIds=[second])
    wait_for("another instance", lambda: len(released.instances()) == 2 and second not in released.instances(), 180)
    released.healthy()
    seen_by_all(released, path)
    assert released.get(path).content == bytes_before
    assert released.versions(path="/healthz") == {version}
    assert released.play("configure").succeeded().changed == 0


@pytest.mark.aside
def test_a_missing_mount_is_unhealthy_and_never_a_local_write(released: System) -> None:
    """The mount is taken away under the running application: generate-image fails honestly, the host leaves service, nothing is written to its disk."""
    host = sorted(released.instances())[0]
    mount = "/srv/flotilla/media/web"
    released.on_host(host, f"systemctl stop flotilla-web; umount -l {mount}; systemctl start --no-block flotilla-web; sleep 3; true")
    written = released.on_host(host, f"mountpoint -q {mount} || find {mount} -type f | wc -l", check=False)
    assert written in ("", "0"), "either mounted again by the unit, or nothing in the directory"
    assert all(released.get("/api/generate-image").status_code == 201 for _ in range(4)), "the other host serves"
    released.healthy()
    seen_by_all(released, make(released))


@pytest.mark.aside
@pytest.mark.by_name
def test_the_same_again_changes_nothing(released: System) -> None:
    """changed=0 and the same containers."""
    before = released.containers()
    for verb, more in (("provision", {}), ("configure", {}), ("deploy", {"release_tag": released.push("web", "v1")})):
        assert released.play(verb, **more).succeeded().changed == 0
    assert released.containers() == before


@pytest.mark.aside
@pytest.mark.by_name
def test_destroy_leaves_nothing(released: System) -> None:
    """Hosts, load balancer, database, cache and file store are gone."""
    released.play("destroy").succeeded()
    assert released.instances() == {}
    assert released.client("efs").describe_file_systems()["FileSystems"] == []
    assert released.client("elasticache").describe_replication_groups()["ReplicationGroups"] == []
    assert released.client("rds").describe_db_instances()["DBInstances"] == []
    assert released.play("destroy").succeeded().changed == 0
