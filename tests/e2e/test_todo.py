"""todo: a product team's application in a VPC and with an image repository that exist already.

The tests run in the order of this file: each finds the system that the one before has left serving.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from typing import Any

import pytest
import requests

from tests.e2e.system import ROOT, System, wait_for

pytestmark = pytest.mark.e2e


def given(system: System) -> dict[str, Any]:
    """What was there before this stack: the VPC with its subnets and routes, and the repository, tags included."""
    ec2, ecr = system.client("ec2"), system.client("ecr")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "tag:Name", "Values": ["product"]}])["Vpcs"]
    within = [{"Name": "vpc-id", "Values": [vpc[0]["VpcId"]]}]
    subnets = sorted(ec2.describe_subnets(Filters=within)["Subnets"], key=lambda one: str(one["SubnetId"]))
    for subnet in subnets:
        del subnet["AvailableIpAddressCount"]
    repositories = ecr.describe_repositories(repositoryNames=["product/todo"])["repositories"]
    tags = ecr.list_tags_for_resource(resourceArn=repositories[0]["repositoryArn"])["tags"]
    return json.loads(json.dumps([vpc, subnets, ec2.describe_route_tables(Filters=within)["RouteTables"], repositories, tags], default=str, sort_keys=True))


@pytest.fixture(scope="session")
def released(system: System) -> System:
    """The given things made, the stack provisioned, configured and on release 1."""
    system.command(["ansible-playbook", "-i", "inventories/local", str(ROOT / system.demo["prepare"])]).succeeded()
    system.given = given(system)
    system.up()
    system.healthy()
    return system


def password(system: System) -> str:
    """What Secrets Manager says now."""
    value = system.client("secretsmanager").get_secret_value(SecretId=f"flotilla/{system.name}/todo/database-todo_web")["SecretString"]
    return str(json.loads(value)["password"])


def in_container(system: System, code: str, secret: str = "") -> str:
    """What a Python program in the first host's container prints, its error included. It finds the settings in `s`, the authority in `ca`."""
    host = sorted(system.instances())[0]
    program = (
        "import os, ssl, pymysql\n"
        f"s = dict(host=os.environ['MYSQL_HOST'], user=os.environ['MYSQL_USER'], password={secret or password(system)!r}, connect_timeout=3)\n"
        "ca = os.environ['MYSQL_CA']\n"
        f"try:\n    {code}\nexcept Exception as error:\n    print(type(error).__name__, error)\n"
    )
    return system.on_host(host, f"docker exec -i flotilla-web python3 - <<'END'\n{program}\nEND", check=False)


def test_items_are_made_changed_and_removed(released: System) -> None:
    """POST, GET, PUT and DELETE through the load balancer, over both hosts; and the page."""
    made = requests.post(released.https + "/items", json={"title": "buy milk"}, verify=False, timeout=10)
    assert made.status_code == 201
    address = f"{released.https}/items/{made.json()['id']}"
    for _ in range(10):
        assert "buy milk" in [one["title"] for one in released.get("/items").json()["items"]]
    assert requests.put(address, json={"done": True}, verify=False, timeout=10).json()["done"] is True
    assert requests.delete(address, verify=False, timeout=10).status_code == 204
    assert requests.delete(address, verify=False, timeout=10).status_code == 404
    assert "<html" in released.get("/").text.lower()
    assert {released.get("/items").headers["X-App-Host"] for _ in range(40)} == set(released.instances())


def test_what_was_given_is_used_and_not_touched(released: System) -> None:
    """The hosts lie in the given private subnets; VPC, subnets, routes, repository and their tags are what they were; a misfit is refused."""
    vpc, subnets = released.given[:2]
    assert {host["VpcId"] for host in released.instances().values()} == {vpc[0]["VpcId"]}
    assert {host["SubnetId"] for host in released.instances().values()} <= {one["SubnetId"] for one in subnets}
    assert given(released) == released.given
    stack = released.stack_facts()
    stack["network"]["vpc"] = {"tags": {"Name": "no-such-network"}}
    released.play("provision", flotilla_stack=stack).refused("network", "no-such-network")


def test_the_password_is_in_no_place_where_it_could_be_read(released: System) -> None:
    """docker inspect, the unit and the files of the host, but for its memory, hold no trace of MYSQL_PASSWORD's value."""
    value = password(released)
    host = sorted(released.instances())[0]
    assert value not in released.on_host(host, "docker inspect flotilla-web; systemctl cat flotilla-web; cat /proc/*/cmdline")
    assert released.on_host(host, f"grep -rlF '{value}' /etc /var/lib/docker/containers /var/log 2>/dev/null | wc -l") == "0"


def test_no_secret_is_in_what_a_new_host_is_given(released: System) -> None:
    """Each secret of the stack is looked for in the launch template's user data and in all files of the boot bundle."""
    secrets = released.client("secretsmanager")
    texts = [secrets.get_secret_value(SecretId=one["ARN"])["SecretString"] for one in secrets.list_secrets()["SecretList"] if "/todo/" in one["Name"]]
    values = {value for text in texts for value in ([text] if text[0] != "{" else [json.loads(text)["password"]])}
    assert password(released) in values
    (version,) = released.client("ec2").describe_launch_template_versions(LaunchTemplateName=f"todo-{released.name}-web", Versions=["$Latest"])[
        "LaunchTemplateVersions"
    ]
    given = {"user data": base64.b64decode(version["LaunchTemplateData"]["UserData"]).decode()}
    pointer = json.loads(released.client("ssm").get_parameter(Name=f"/flotilla/{released.name}/todo/fleets/web/boot")["Parameter"]["Value"])
    bundle = released.client("s3").get_object(Bucket=pointer["bucket"], Key=pointer["key"])["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(bundle), mode="r:gz") as archive:
        given |= {entry.name: archive.extractfile(entry).read().decode() for entry in archive}  # type: ignore[union-attr]
    assert any(name.endswith("/secrets.json") for name in given), sorted(given)
    assert {name for name, text in given.items() if any(value in text for value in values)} == set()
    assert "boot.py" in given["user data"]


def test_database_traffic_is_secured(released: System) -> None:
    """From the application's own container: verified TLS works, no TLS and another authority are refused, and the user may touch its own schema only."""
    assert in_container(released, "pymysql.connect(**s, ssl=ssl.create_default_context(cafile=ca)); print('verified')") == "verified"
    assert "OperationalError" in in_container(released, "pymysql.connect(**s, ssl_disabled=True); print('in clear text')")
    system_authorities = "'/etc/ssl/certs/ca-certificates.crt'"
    refused = in_container(released, f"pymysql.connect(**s, ssl=ssl.create_default_context(cafile={system_authorities})); print('unverified')")
    assert "CERTIFICATE_VERIFY_FAILED" in refused
    grants = in_container(
        released,
        "c = pymysql.connect(**s, ssl=ssl.create_default_context(cafile=ca)).cursor(); c.execute('SHOW GRANTS'); print([row[0] for row in c.fetchall()])",
    )
    assert "ON `todo`.*" in grants
    assert "ALL PRIVILEGES" not in grants and "ON *.* TO" not in grants.replace("GRANT USAGE ON *.* TO", "")


def test_the_password_is_rotated_without_a_lost_request(released: System) -> None:
    """rotate.yml under load: a new password, every request answered, the old one refused afterwards."""
    before = password(released)
    with released.load("rotate"):
        released.play("rotate").succeeded()
    assert password(released) != before
    released.healthy()
    assert released.get("/items").status_code == 200
    connect = "pymysql.connect(**s, ssl=ssl.create_default_context(cafile=ca)); print('let in')"
    assert in_container(released, connect) == "let in"
    assert "Access denied" in in_container(released, connect, before)


@pytest.mark.by_name
def test_a_release_under_load_loses_nothing(released: System) -> None:
    """Zero failed requests."""
    released.push("web", "v2")
    with released.load("release"):
        released.release("web", "v2").succeeded()
    assert released.versions(path="/healthz") == {"v2"}


@pytest.mark.aside
def test_started_before_its_database_it_becomes_healthy_when_the_database_does(released: System) -> None:
    """The database is stopped, both applications are restarted, the database is started."""
    rds = released.client("rds")
    name = rds.describe_db_instances()["DBInstances"][0]["DBInstanceIdentifier"]
    rds.stop_db_instance(DBInstanceIdentifier=name)
    wait_for("an honest answer", lambda: released.get("/items").status_code >= 500)
    before = released.containers()
    for host in before:
        released.on_host(host, "systemctl restart --no-block flotilla-web")
    wait_for("both restarted", lambda: set(released.containers().values()).isdisjoint(before.values()), 60)
    wait_for("neither in service", lambda: "healthy" not in released.targets().values(), 60)
    rds.start_db_instance(DBInstanceIdentifier=name)
    released.healthy()
    assert released.get("/items").status_code == 200


@pytest.mark.aside
@pytest.mark.by_name
def test_the_same_again_changes_nothing(released: System) -> None:
    """changed=0 from provision, configure and deploy, and the same containers."""
    before = released.containers()
    for verb, more in (("provision", {}), ("configure", {}), ("deploy", {"release_tag": released.push("web", "v2")})):
        assert released.play(verb, **more).succeeded().changed == 0
    assert released.containers() == before


@pytest.mark.aside
def test_a_second_environment_of_the_same_digest_stands_beside_the_first(released: System) -> None:
    """Line 6: `staging`, by an inventory of its own: the same image, another password and other items; destroyed, it leaves the first as it was."""
    before = released.containers()
    (version,) = released.versions(path="/healthz")
    staging = released.beside("staging")
    staging.play("provision").succeeded()
    staging.play("configure").succeeded()
    staging.release("web", version).succeeded()
    assert {text.rpartition("@")[2] for text in (*before.values(), *staging.containers().values())} == {next(iter(before.values())).rpartition("@")[2]}
    assert password(staging) != password(released)
    requests.post(staging.https + "/items", json={"title": "only in staging"}, verify=False, timeout=10).raise_for_status()
    assert "only in staging" in staging.get("/items").text
    assert "only in staging" not in released.get("/items").text
    databases = [one.outputs()["database"] for one in (released, staging)]
    host = next(iter(staging.instances()))
    assert [staging.reaches(host, one["host"], one["port"]) for one in databases] == [False, True]
    staging.play("destroy").succeeded()
    assert staging.instances() == {} and released.containers() == before
    assert released.get("/items").status_code == 200


@pytest.mark.aside
def test_destroy_leaves_what_was_given(released: System) -> None:
    """All of the stack goes; VPC, subnets, routes and repository stay as they were."""
    released.play("destroy").succeeded()
    assert released.instances() == {}
    assert released.client("rds").describe_db_instances()["DBInstances"] == []
    assert given(released) == released.given
