"""RDS as its API shows it, and what its MySQL servers are configured with. Containers are only written down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_cloud.fixes import rds as fixes
from local_cloud.planes.rds import RdsPlane, configuration, endpoint, initial_statements, text
from tests.unit.local_cloud.edge_support import PaperCloud, client, paper_cloud, subnets

CONTAINER = "test-rds-hello"


class Stack:
    def __init__(self, cloud: PaperCloud, plane: RdsPlane) -> None:
        self.cloud, self.plane, self.api = cloud, plane, client("rds")
        self.api.create_db_subnet_group(DBSubnetGroupName="hello", DBSubnetGroupDescription="d", SubnetIds=subnets()[1])
        self.api.create_db_parameter_group(DBParameterGroupName="hello", DBParameterGroupFamily="mysql8.4", Description="d")

    def parameters(self, **values: str) -> None:
        changes = [{"ParameterName": name, "ParameterValue": value, "ApplyMethod": "pending-reboot"} for name, value in values.items()]
        self.api.modify_db_parameter_group(DBParameterGroupName="hello", Parameters=changes)

    def create(self, **options: Any) -> dict[str, Any]:
        given: dict[str, Any] = {
            "DBInstanceIdentifier": "hello",
            "Engine": "mysql",
            "EngineVersion": "8.4.6",
            "DBInstanceClass": "db.t3.micro",
            "AllocatedStorage": 20,
        }
        given |= {
            "MasterUsername": "admin",
            "MasterUserPassword": "Secret-12345",
            "DBName": "hello",
            "DBSubnetGroupName": "hello",
            "DBParameterGroupName": "hello",
        }
        return dict(self.api.create_db_instance(**{**given, **options})["DBInstance"])

    def delete(self, **options: Any) -> None:
        self.api.delete_db_instance(DBInstanceIdentifier="hello", **options)

    def status(self) -> str:
        return str(self.api.describe_db_instances(DBInstanceIdentifier="hello")["DBInstances"][0]["DBInstanceStatus"])

    def becomes(self, status: str) -> bool:
        deadline = time.monotonic() + 5
        while self.status() != status and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.status() == status

    def file(self, name: str) -> str:
        content = self.cloud.engine.containers[CONTAINER]["files"][f"/etc/rds/{name}"]
        return (content[0] if isinstance(content, tuple) else content).decode()


@pytest.fixture
def stack() -> Iterator[Stack]:
    with paper_cloud() as cloud:
        fixes.apply()
        plane = RdsPlane(cloud)
        plane.install()
        yield Stack(cloud, plane)


def fails(call: Any, code: str) -> None:
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] == code


def test_an_instance_is_available_under_the_name_in_its_certificate(stack: Stack) -> None:
    made = stack.create()
    assert made["DBInstanceStatus"] == "available"
    name = made["Endpoint"]["Address"]
    assert name.startswith("hello.") and name.endswith(".eu-central-1.rds.amazonaws.com")
    assert stack.cloud.names[name] == stack.cloud.engine.containers[CONTAINER]["address"]
    assert stack.file("server.pem") == f"certificate of {name}"
    assert CONTAINER in stack.cloud.protected


def test_parameters_of_the_group_reach_the_server(stack: Stack) -> None:
    stack.parameters(require_secure_transport="1", max_connections="55", innodb_buffer_pool_size="{DBInstanceClassMemory*3/4}")
    stack.create()
    lines = stack.file("my.cnf").splitlines()
    assert "require_secure_transport = 1" in lines and "max_connections = 55" in lines
    assert not any("{" in line for line in lines)


def test_the_catalogue_is_there_so_that_no_parameter_is_ignored(stack: Stack) -> None:
    known = {one["ParameterName"]: one for one in stack.api.describe_db_parameters(DBParameterGroupName="hello")["Parameters"]}
    assert known["require_secure_transport"]["IsModifiable"] and known["require_secure_transport"]["DataType"] == "boolean"
    stack.parameters(max_connections="200")
    known = {one["ParameterName"]: one for one in stack.api.describe_db_parameters(DBParameterGroupName="hello")["Parameters"]}
    assert (known["max_connections"]["ParameterValue"], known["max_connections"]["Source"]) == ("200", "user")


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_conections", "5"), ("max_connections", "0"), ("max_connections", "many"), ("require_secure_transport", "2"), ("tls_version", "SSLv3")],
)
def test_wrong_parameters_are_refused(stack: Stack, name: str, value: str) -> None:
    fails(lambda: stack.parameters(**{name: value}), "InvalidParameterValue")


def test_what_does_not_exist_is_not_found(stack: Stack) -> None:
    fails(lambda: stack.api.describe_db_parameter_groups(DBParameterGroupName="nope"), "DBParameterGroupNotFound")
    fails(lambda: stack.create(DBSubnetGroupName="nope"), "DBSubnetGroupNotFoundFault")
    fails(lambda: stack.create(DBParameterGroupName="nope"), "DBParameterGroupNotFound")
    assert stack.cloud.engine.containers == {}


def test_what_is_used_cannot_be_deleted(stack: Stack) -> None:
    stack.create()
    fails(lambda: stack.api.delete_db_parameter_group(DBParameterGroupName="hello"), "InvalidDBParameterGroupState")
    fails(lambda: stack.api.delete_db_subnet_group(DBSubnetGroupName="hello"), "InvalidDBSubnetGroupStateFault")
    stack.delete(SkipFinalSnapshot=True)
    stack.api.delete_db_parameter_group(DBParameterGroupName="hello")
    stack.api.delete_db_subnet_group(DBSubnetGroupName="hello")


def test_deletion_protection_then_final_snapshot(stack: Stack) -> None:
    stack.create(DeletionProtection=True)
    fails(lambda: stack.delete(SkipFinalSnapshot=True), "InvalidParameterCombination")
    stack.api.modify_db_instance(DBInstanceIdentifier="hello", DeletionProtection=False, ApplyImmediately=True)
    fails(lambda: stack.delete(), "InvalidParameterCombination")
    stack.delete(FinalDBSnapshotIdentifier="hello-final")
    assert stack.cloud.engine.containers == {}
    snapshots = stack.api.describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
    assert [one["DBSnapshotIdentifier"] for one in snapshots] == ["hello-final"]


def test_a_new_master_password_reaches_the_server_once(stack: Stack) -> None:
    stack.create()
    for _ in range(2):
        stack.api.modify_db_instance(DBInstanceIdentifier="hello", MasterUserPassword="Another-1234", ApplyImmediately=True)
    told = [given for _, _, given in stack.cloud.engine.executed if given]
    assert told == [b"ALTER USER 'admin'@'%' IDENTIFIED BY 'Another-1234';\n"]
    assert not any("Another" in word for _, arguments, _ in stack.cloud.engine.executed for word in arguments)


def test_a_dynamic_parameter_changes_on_the_running_server(stack: Stack) -> None:
    stack.parameters(max_connections="50", wait_timeout="60")
    stack.create()
    for name, value, method in (("max_connections", "70", "immediate"), ("wait_timeout", "90", "pending-reboot")):
        change = {"ParameterName": name, "ParameterValue": value, "ApplyMethod": method}
        stack.api.modify_db_parameter_group(DBParameterGroupName="hello", Parameters=[change])
    for _ in range(2):
        stack.plane.heal(stack.cloud.backend("rds").databases["hello"])
    assert [given for _, _, given in stack.cloud.engine.executed if given] == [b"SET GLOBAL max_connections = 70;\n"]


@pytest.mark.parametrize("password", ["short", "with space 1", 'quote"quote1', "at@at@at@1", "slash/slash1", "x" * 42])
def test_passwords_that_rds_does_not_take(stack: Stack, password: str) -> None:
    fails(lambda: stack.create(MasterUserPassword=password), "InvalidParameterValue")


def test_stop_and_start(stack: Stack) -> None:
    stack.create()
    stack.api.stop_db_instance(DBInstanceIdentifier="hello")
    assert stack.becomes("stopped")
    assert not stack.cloud.engine.running(CONTAINER)
    fails(lambda: stack.api.stop_db_instance(DBInstanceIdentifier="hello"), "InvalidDBInstanceState")
    stack.plane.heal(stack.cloud.backend("rds").databases["hello"])
    assert not stack.cloud.engine.running(CONTAINER), "stopped on purpose"
    stack.api.start_db_instance(DBInstanceIdentifier="hello")
    assert stack.becomes("available")
    assert stack.cloud.engine.running(CONTAINER)


def test_a_server_that_ends_is_started_again_with_the_password_of_now(stack: Stack) -> None:
    stack.create()
    stack.api.modify_db_instance(DBInstanceIdentifier="hello", MasterUserPassword="Another-1234", ApplyImmediately=True)
    stack.cloud.engine.stop(CONTAINER)
    stack.plane.heal(stack.cloud.backend("rds").databases["hello"])
    assert stack.cloud.engine.running(CONTAINER)
    assert "IDENTIFIED BY 'Another-1234'" in stack.file("init.sql")
    assert stack.status() == "available"


def test_a_server_is_not_started_again_while_it_boots_for_the_first_time(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = stack.cloud.engine
    run = engine.run
    started: list[str] = []

    def looked_at(name: str, image: str, **options: Any) -> str:
        stack.plane.heal(stack.cloud.backend("rds").databases["hello"])  # as the plane's thread does every second
        return run(name, image, **options)

    monkeypatch.setattr(engine, "run", looked_at)
    monkeypatch.setattr(engine, "start", started.append)
    assert stack.create()["DBInstanceStatus"] == "available"
    assert started == []


def test_a_server_that_ends_in_its_first_boot_is_an_error_with_its_words_and_leaves_nothing(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stack.cloud.engine.run

    def ending(name: str, image: str, **options: Any) -> str:
        stack.cloud.engine.code = 1
        run(name, image, **options)
        stack.cloud.engine.stop(name)
        return name

    monkeypatch.setattr(stack.cloud.engine, "run", ending)
    with pytest.raises(RuntimeError, match=f"ended while it started.*what {CONTAINER} said"):
        stack.create()
    monkeypatch.setattr(stack.cloud.engine, "run", run)
    stack.cloud.engine.code = 0
    assert stack.create()["DBInstanceStatus"] == "available"


def test_statements_take_any_password() -> None:
    assert text("a'b\\c") == "'a''b\\\\c'"
    statements = initial_statements("admin", "p'w", None)
    assert "CREATE USER IF NOT EXISTS 'admin'@'%' IDENTIFIED BY 'p''w';" in statements
    assert "CREATE DATABASE" not in statements
    assert "CREATE DATABASE IF NOT EXISTS `hello`;" in initial_statements("admin", "p", "hello")


def test_the_master_user_is_no_superuser() -> None:
    granted = initial_statements("admin", "p", None)
    for privilege in ("SUPER", "SHUTDOWN", "FILE", "SYSTEM_USER", "ALL"):
        assert f" {privilege}," not in granted and f" {privilege} ON" not in granted


def test_configuration_has_tls_and_the_port() -> None:
    lines = configuration(3307, {"sql_mode": ""}).splitlines()
    assert "port = 3307" in lines and "ssl-cert = /etc/rds/server.pem" in lines and "sql_mode = " not in lines


def test_endpoints_differ_by_identifier_only() -> None:
    one, two = endpoint("a", "1", "eu-central-1"), endpoint("b", "1", "eu-central-1")
    assert one.split(".", 1)[1] == two.split(".", 1)[1]
    assert endpoint("a", "2", "eu-central-1") != one
