"""hello, from an empty account to an empty account, as its users, its operator and its attacker see it.

The tests run in the order of this file: each finds the system that the one before has left serving.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from typing import Any

import pytest
import requests

from tests.e2e.system import System, say, wait_for

pytestmark = pytest.mark.e2e
TWO_HOSTS = {"web": {"min": 2, "max": 2}}


@pytest.fixture(scope="session")
def released(system: System) -> dict[str, str]:
    """Provisioned, after a plan, configured and on release 1. Version → tag in the registry (v1 alone)."""
    system.first = system.play("provision", "--check", "--diff").succeeded()
    assert system.client("ec2").describe_vpcs(Filters=[{"Name": "tag:flotilla:stack", "Values": ["hello"]}])["Vpcs"] == [], "the plan has made something"
    system.up()
    system.healthy()
    return {"v1": system.push("web", "v1")}


@pytest.fixture
def quiet(system: System, released: dict[str, str]) -> Any:
    """The system before and after a test: two healthy hosts, no process suspended, no lock held."""
    before = system.containers()
    yield before
    system.healthy()
    assert system.suspended() == []
    locks = system.client("ssm").get_parameters(Names=["/flotilla/local/hello/lock"])["Parameters"]
    assert locks == [], "the release lock is still held"


# ---- provision


def test_a_plan_on_an_empty_account_foretells_the_run(system: System, released: dict[str, str]) -> None:
    planned, made = (re.findall(r"^localhost\s+:.*?changed=(\d+)", run.output, re.M) for run in (system.first, system.provisioned))
    assert planned == made
    assert int(made[0]) > 20


def test_release_one_serves_over_https(system: System, released: dict[str, str]) -> None:
    answer = requests.get(system.http + "/", allow_redirects=False, timeout=10)
    assert answer.status_code == 301
    assert answer.headers["Location"] == system.https + "/"
    page = system.get("/")
    assert page.status_code == 200
    assert page.headers["X-App-Version"] == "v1"
    assert system.get("/whoami").json()["release"] == "1"


def test_both_hosts_in_two_zones_take_traffic(system: System, released: dict[str, str]) -> None:
    hosts = system.instances()
    assert len(hosts) == 2
    assert len({host["Placement"]["AvailabilityZone"] for host in hosts.values()}) == 2
    assert {system.get("/whoami").json()["host"] for _ in range(40)} == set(hosts)


def test_a_row_written_by_one_host_is_read_by_the_other(system: System, released: dict[str, str]) -> None:
    wait_for("the database behind the page", lambda: system.get("/visits").status_code == 200)
    answer = requests.post(system.https + "/visits", data={"note": "e2e"}, verify=False, timeout=10)
    assert answer.status_code == 201
    written = answer.json()
    readers = {}
    for _ in range(40):
        body = system.get("/visits.json").json()
        readers[body["host"]] = [row["id"] for row in body["visits"]]
    assert set(readers) == set(system.instances())
    assert all(written["id"] in rows for rows in readers.values())


def test_only_the_load_balancer_reaches_the_app_and_only_the_app_the_database(system: System, released: dict[str, str]) -> None:
    database = system.client("rds").describe_db_instances()["DBInstances"][0]
    first, second = (host["PrivateIpAddress"] for host in system.instances().values())
    with pytest.raises(OSError), socket.create_connection((first, 8080), 2):
        pass
    probe = "python3 -c 'import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2); print(\"open\")' {} {} 2>&1 | tail -1"
    source = next(iter(system.instances()))
    assert "open" not in system.on_host(source, probe.format(second, 8080))
    assert system.on_host(source, probe.format(database["Endpoint"]["Address"], 3306)) == "open"
    address = system.on_host(source, f"getent hosts {database['Endpoint']['Address']} | cut -d' ' -f1")
    with pytest.raises(OSError), socket.create_connection((address, 3306), 2):
        pass
    assert database["StorageEncrypted"] and not database["PubliclyAccessible"]


def test_the_container_is_confined_and_keeps_its_secret_to_itself(system: System, released: dict[str, str]) -> None:
    host = next(iter(system.instances()))
    facts = json.loads(system.on_host(host, "docker inspect flotilla-web"))[0]
    assert facts["Config"]["User"] == "10001:10001"
    assert facts["HostConfig"]["ReadonlyRootfs"] and facts["HostConfig"]["CapDrop"] == ["ALL"]
    assert any(option.startswith("no-new-privileges") for option in facts["HostConfig"]["SecurityOpt"])
    assert facts["HostConfig"]["Memory"] > 0
    assert "@sha256:" in facts["Config"]["Image"]
    secret = json.loads(system.client("secretsmanager").get_secret_value(SecretId="flotilla/local/hello/database-hello_web")["SecretString"])["password"]
    assert secret not in json.dumps(facts)
    assert system.on_host(host, f"grep -rlF '{secret}' /etc/flotilla /etc/systemd/system /var/lib/docker/containers 2>/dev/null | wc -l") == "0"


# ---- releases


def test_release_two_under_load_loses_nothing(system: System, quiet: Any, released: dict[str, str]) -> None:
    released["v2"] = system.push("web", "v2")
    with system.load("deploy"):
        system.play("deploy", release_tag=released["v2"]).succeeded()
    assert system.versions() == {"v2"}
    assert system.result()["outcome"] == "succeeded"


def test_a_plan_changes_nothing(system: System, quiet: dict[str, str], released: dict[str, str]) -> None:
    plan = system.play("deploy", "--check", "--diff", release_tag=released["v1"]).succeeded()
    assert released["v1"] in plan.output
    assert system.containers() == quiet
    assert system.result()["outcome"] == "planned"


def refusals(system: System) -> list[dict[str, Any]]:
    """The records of refused releases, the oldest first."""
    api, bucket = system.client("s3"), system.outputs()["bucket"]
    rows = api.list_objects_v2(Bucket=bucket, Prefix="releases/web/refused/").get("Contents", [])
    return [json.loads(api.get_object(Bucket=bucket, Key=row["Key"])["Body"].read()) for row in rows]


def test_a_missing_tag_is_refused_before_anything_changes(system: System, quiet: dict[str, str], released: dict[str, str]) -> None:
    """The refusal is on record; a plan is refused the same way, and leaves nothing."""
    before = refusals(system)
    system.play("plan", release_tag="no-such-tag").refused("no-such-tag", re.escape(released["v2"]))
    assert refusals(system) == before
    system.play("deploy", release_tag="no-such-tag").refused("no-such-tag", re.escape(released["v2"]))
    assert system.containers() == quiet
    assert system.result()["outcome"] == "refused"
    assert [row["asked"] for row in refusals(system)[len(before) :]] == ["no-such-tag"]


def test_a_registry_that_is_away_is_refused_before_anything_changes(system: System, quiet: dict[str, str], released: dict[str, str]) -> None:
    names = subprocess.run(["docker", "ps", "--format", "{{.Names}}"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    identity = json.loads(system.cloud("status", "--json").succeeded().output)["identity"]
    registry = next(name for name in names if identity in name and "registry" in name)
    subprocess.run(["docker", "stop", "-t", "1", registry], check=True, stdout=subprocess.DEVNULL)
    try:
        with system.load("registry"):
            system.play("deploy", release_tag=released["v1"]).refused("registry")
        assert system.containers() == quiet
    finally:
        subprocess.run(["docker", "start", registry], check=True, stdout=subprocess.DEVNULL)
    wait_for("the registry", lambda: system.client("ecr").describe_images(repositoryName="hello/web")["imageDetails"])


def test_a_host_that_does_not_answer_is_refused_before_anything_changes(system: System, quiet: dict[str, str], released: dict[str, str]) -> None:
    host = sorted(system.instances())[0]
    silence = ["docker", "exec", container_of(system, host), "iptables", "-w", "-t", "mangle"]
    rule = ["PREROUTING", "-p", "tcp", "--dport", "22", "-j", "DROP"]
    subprocess.run([*silence, "-I", *rule], check=True)
    try:
        run = system.play("deploy", release_tag=released["v1"]).refused(host)
    finally:
        subprocess.run([*silence, "-D", *rule], check=True)
    assert run.seconds < 60, "it has served before, and is waited for as if it booted"
    assert system.containers() == quiet
    record = refusals(system)[-1]
    assert record["tag"] == released["v1"] and record["digest"].startswith("sha256:"), record


def container_of(system: System, host: str) -> str:
    """The docker container that plays an instance."""
    names = subprocess.run(["docker", "ps", "-a", "--format", "{{.Names}}"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return next(name for name in names if host in name)


def test_a_broken_release_stops_at_the_first_host_and_is_undone(system: System, quiet: dict[str, str]) -> None:
    broken = system.push("web", "broken")
    with system.load("broken"):
        run = system.play("deploy", release_tag=broken).refused("HELLO_FAULT=unhealthy", r"Target\.|health checks? failed|codes")
    assert system.versions() == {"v2"}
    assert system.result()["outcome"] == "failed"
    after = system.containers()
    assert sum(after[host] == quiet[host] for host in after) == 1, "the second host was touched too"
    assert re.search(r"rolled back|back on release|back in service", run.output, re.I)


def test_rollback_needs_no_argument_and_loses_nothing(system: System, quiet: Any, released: dict[str, str]) -> None:
    with system.load("rollback"):
        system.play("rollback").succeeded()
    assert system.versions() == {"v1"}


def test_status_tells_release_hosts_and_health(system: System, released: dict[str, str]) -> None:
    output = system.play("status").succeeded().output
    for text in (*system.instances(), released["v1"], "healthy", "eu-central-1a", "eu-central-1b"):
        assert text in output


@pytest.mark.parametrize("moment", [pytest.param("draining", marks=pytest.mark.by_name), "second"])
def test_a_killed_deploy_is_finished_by_the_same_command(system: System, released: dict[str, str], quiet: Any, moment: str) -> None:
    """kill -9 of ansible and all its children while a host is out of service; then the same command."""
    version = {"draining": "v2", "second": "v3"}[moment]
    if version not in released:
        released[version] = system.push("web", version)
    hosts = sorted(system.instances())
    with system.load(f"killed-{moment}"):
        deploy = system.start("deploy", release_tag=released[version])

        def out_of_service() -> bool:
            assert deploy.poll() is None, "the deploy ended before it could be killed"
            states = system.targets()
            return any(states.get(host) != "healthy" for host in hosts)

        def first_done() -> bool:
            return any(version in text for text in system.versions(4)) and out_of_service()

        wait_for("a host out of service", {"draining": out_of_service, "second": first_done}[moment], 180, 0.1)
        os.killpg(deploy.pid, signal.SIGKILL)
        deploy.wait()
        say(f"killed with targets {system.targets()}")
        time.sleep(1)
        system.play("deploy", release_tag=released[version]).succeeded()
        system.healthy()
    assert system.versions() == {version}


# ---- things that break


def test_the_page_heals_when_the_database_returns(system: System, quiet: dict[str, str]) -> None:
    rds = system.client("rds")
    name = rds.describe_db_instances()["DBInstances"][0]["DBInstanceIdentifier"]
    rds.stop_db_instance(DBInstanceIdentifier=name)
    wait_for("a stopped database", lambda: rds.describe_db_instances()["DBInstances"][0]["DBInstanceStatus"] == "stopped")
    wait_for("an honest 503", lambda: system.get("/visits").status_code == 503)
    assert all(system.get("/healthz").status_code == 200 for _ in range(10))
    rds.start_db_instance(DBInstanceIdentifier=name)
    wait_for("the page", lambda: all(system.get("/visits").status_code == 200 for _ in range(6)))
    assert system.containers() == quiet, "a container was restarted"


def test_a_crashed_app_comes_back(system: System, quiet: Any) -> None:
    host = sorted(system.instances())[0]
    before = system.containers()[host]
    system.on_host(host, "docker kill flotilla-web")
    wait_for("another container", lambda: system.on_host(host, "docker inspect --format '{{.State.Running}} {{.Id}}' flotilla-web || true").startswith("true"))
    assert wait_for("a new start", lambda: (now := system.containers()[host]) != before and now)


def test_a_killed_host_is_replaced_and_the_number_of_hosts_is_one_variable(system: System, released: dict[str, str]) -> None:
    """Auto Scaling's new host and a third one that is asked for are brought in together; then two are enough, and the environment is protected."""
    victim, survivor = sorted(system.instances())
    system.client("ec2").terminate_instances(InstanceIds=[victim])
    wait_for("service by the survivor", lambda: all(system.get("/whoami").json()["host"] == survivor for _ in range(10)))
    wait_for("another instance", lambda: len(system.instances()) == 2 and victim not in system.instances(), 120)
    wanted = {"web": {"min": 3, "max": 4}}
    with system.load("scale"):
        for verb, more in (("provision", {}), ("configure", {}), ("deploy", {"release_tag": released["v3"]})):
            system.play(verb, flotilla_fleets=wanted, **more).succeeded()
        system.healthy(3)
        assert len(system.instances()) == 3
        # The one that goes is the first that provisioning would ask to reach the database.
        first, *others = sorted(system.instances())
        scaling, (group,) = system.client("autoscaling"), system.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        protected = {"AutoScalingGroupName": group["AutoScalingGroupName"], "InstanceIds": others}
        scaling.set_instance_protection(**protected, ProtectedFromScaleIn=True)
        system.variables["flotilla_environment"] = {**system.environment_facts(), "protected": True}
        shrunk = system.play("provision", flotilla_fleets=TWO_HOSTS).succeeded()
        assert shrunk.seconds < 120, "provisioning has waited for a host that leaves"
        wait_for("two hosts", lambda: sorted(system.instances()) == others, 180)
        system.healthy(2)
        scaling.set_instance_protection(**protected, ProtectedFromScaleIn=False)
    assert system.versions() == {"v3"}


# ---- the end


@pytest.mark.aside
def test_the_same_again_changes_nothing(system: System, quiet: dict[str, str], released: dict[str, str]) -> None:
    for verb, variables in (("provision", {}), ("configure", {}), ("deploy", {"release_tag": released["v3"]})):
        run = system.play(verb, flotilla_fleets=TWO_HOSTS, **variables).succeeded()
        assert run.changed == 0, run.output[-6000:]
    assert system.play("provision", "--check", "--diff", flotilla_fleets=TWO_HOSTS).succeeded().changed == 0
    assert system.result()["outcome"] == "unchanged"
    assert system.containers() == quiet


@pytest.mark.aside
def test_destroy_removes_all_of_it_and_nothing_else(system: System, released: dict[str, str]) -> None:
    ec2, rds = system.client("ec2"), system.client("rds")
    foreign = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    hosts = set(system.instances())
    assert [one["DeletionProtection"] for one in rds.describe_db_instances()["DBInstances"]] == [True]
    assert system.play("destroy", "--check").succeeded().changed > 5
    system.play("destroy").refused("environment local is protected", "destroy_confirmation=hello-local")
    assert set(system.instances()) == hosts

    confirmed = {"destroy_confirmation": "hello-local"}
    destroy = system.start("destroy", **confirmed)
    wait_for("the load balancer gone", lambda: not system.client("elbv2").describe_load_balancers()["LoadBalancers"], 120, 0.1)
    os.killpg(destroy.pid, signal.SIGKILL)
    destroy.wait()
    say("killed destroy with the load balancer gone")
    system.play("destroy", **confirmed).succeeded()
    assert system.instances() == {}
    assert ec2.describe_vpcs(Filters=[{"Name": "tag:flotilla:stack", "Values": ["hello"]}])["Vpcs"] == []
    assert [vpc["VpcId"] for vpc in ec2.describe_vpcs(VpcIds=[foreign])["Vpcs"]] == [foreign]
    assert rds.describe_db_instances()["DBInstances"] == []
    assert [one["DBSnapshotIdentifier"].startswith("hello-local") for one in rds.describe_db_snapshots()["DBSnapshots"]] == [True]
    assert system.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
    assert system.client("elbv2").describe_target_groups()["TargetGroups"] == []
    assert system.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"] == []
    assert system.client("ecr").describe_repositories()["repositories"] == []
    assert [role["RoleName"] for role in system.client("iam").list_roles()["Roles"] if "hello" in role["RoleName"]] == []
    assert system.client("s3").list_buckets()["Buckets"] == []
    assert system.client("ssm").describe_parameters()["Parameters"] == []
    assert system.play("destroy", **confirmed).succeeded().changed == 0
