"""RDS for MySQL: a MySQL server in a container for each DB instance, with TLS from the local authority and parameters from its group.

The data directory is initialised in the image, so that a server boots in two or three seconds. Data lives in the container, which StopDBInstance,
StartDBInstance and RebootDBInstance act upon; a container that ends without having been asked to is started again, as RDS recovers an instance.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from moto.rds import models
from moto.rds.exceptions import InvalidDBInstanceStateFault, InvalidParameterValue

from .base import Plane

log = logging.getLogger(__name__)

BOOT_SECONDS = 60
# "Master user account privileges" in the RDS User Guide, for MySQL 8: everything but SUPER, SHUTDOWN, FILE and the like.
MASTER_PRIVILEGES = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER, SHOW DATABASES, CREATE TEMPORARY TABLES, LOCK TABLES, "
    "EXECUTE, REPLICATION SLAVE, REPLICATION CLIENT, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER, EVENT, TRIGGER, "
    "CREATE ROLE, DROP ROLE, APPLICATION_PASSWORD_ADMIN, ROLE_ADMIN, SET_ANY_DEFINER, XA_RECOVER_ADMIN, CONNECTION_ADMIN, SHOW_ROUTINE"
)


def endpoint(identifier: str, account: str, region: str) -> str:
    """The DNS name of a DB instance; its second label is the same for all instances of an account in a region."""
    label = base64.b32encode(hashlib.sha256(f"{account} {region}".encode()).digest()).decode().lower()[:11]
    return f"{identifier}.c{label}.{region}.rds.amazonaws.com"


def text(value: str) -> str:
    """A string literal of MySQL's."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def initial_statements(master: str, password: str, database: str | None) -> str:
    """SQL that each boot runs: idempotent, so that master user, password and first database are there whatever happened before."""
    user = f"{text(master)}@'%'"
    lines = [
        f"CREATE USER IF NOT EXISTS {user} IDENTIFIED BY {text(password)};",
        f"ALTER USER {user} IDENTIFIED BY {text(password)};",
        f"GRANT {MASTER_PRIVILEGES} ON *.* TO {user} WITH GRANT OPTION;",
    ]
    if database:
        lines.append(f"CREATE DATABASE IF NOT EXISTS `{database.replace('`', '``')}`;")
    return "\n".join(lines) + "\n"


def configuration(port: int, parameters: Mapping[str, str]) -> str:
    """my.cnf: what RDS sets by itself, then the parameters of the group. Formulas over the instance class are left at MySQL's defaults."""
    lines = [
        "[mysqld]",
        "user = mysql",
        "datadir = /var/lib/mysql",
        "socket = /run/mysqld/mysqld.sock",
        "pid-file = /run/mysqld/mysqld.pid",
        "bind-address = 0.0.0.0",
        f"port = {port}",
        "mysqlx = OFF",
        "secure-file-priv = NULL",
        "skip-name-resolve",
        "skip-log-bin",
        "innodb-redo-log-capacity = 16M",
        "innodb-buffer-pool-size = 64M",
        "innodb-numa-interleave = OFF",
        "performance-schema = OFF",
        "ssl-ca = /etc/rds/ca.pem",
        "ssl-cert = /etc/rds/server.pem",
        "ssl-key = /etc/rds/server.key",
        "init-file = /etc/rds/init.sql",
    ]
    lines += [f"{name} = {value}" for name, value in sorted(parameters.items()) if value != "" and "{" not in value and name != "skip_name_resolve"]
    return "\n".join(lines) + "\n"


def user_parameters(group: Any, *, immediate: bool = False) -> dict[str, str]:
    """The parameters that somebody set in a parameter group of moto's; with ``immediate`` those only that do not wait for a reboot."""
    return {
        name: str(one["ParameterValue"])
        for name, one in group.parameters.items()
        if one.get("Source") == "user" and "ParameterValue" in one and (not immediate or one.get("ApplyMethod") == "immediate")
    }


def immediate_statements(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """SQL that brings changed dynamic parameters to a running server ("Changes to dynamic parameters are applied immediately", ModifyDBParameterGroup)."""
    changed = {name: value for name, value in sorted(after.items()) if before.get(name) != value and value != "" and "{" not in value}
    return [f"SET GLOBAL {name} = {value if re.fullmatch(r'[0-9.]+', value) else text(value)};" for name, value in changed.items()]


class RdsPlane(Plane):
    """See the module."""

    name = "rds"

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.lock = threading.RLock()
        self.passwords: dict[str, str] = {}
        self.addresses: dict[str, str] = {}
        self.certificates: dict[str, tuple[bytes, bytes]] = {}
        self.protected: dict[str, list[str]] = {}
        self.parameters: dict[str, dict[str, str]] = {}  # as the running server has them
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None

    # -- the API's side -------------------------------------------------------------------------------------------------------------------

    def install(self) -> None:
        """Patch moto: instances have containers, and their endpoint is the name in their certificate."""
        plane, backend = self, models.RDSBackend
        models.DBInstance.address = property(lambda self: endpoint(self.db_instance_identifier, self.account_id, self.region))
        create, modify, delete = backend.create_db_instance, backend.modify_db_instance, backend.delete_db_instance
        stop, start, reboot = backend.stop_db_instance, backend.start_db_instance, backend.reboot_db_instance

        def creating(self: Any, options: dict[str, Any]) -> Any:
            password = options.get("master_user_password")
            database = create(self, options)
            if database.engine == "mysql":
                try:
                    plane.launch(database, password or "")
                except Exception:
                    database.deletion_protection = False
                    delete(self, database.db_instance_identifier, skip_final_snapshot=True)  # and the automated snapshot, whose name has the minute only
                    raise
            return database

        def modifying(self: Any, db_instance_identifier: str, options: dict[str, Any]) -> Any:
            password = options.get("master_user_password")
            database = modify(self, db_instance_identifier, options)
            if database.engine == "mysql" and password and password != plane.passwords.get(db_instance_identifier):
                if database.status != "available":
                    raise InvalidDBInstanceStateFault(f"Database instance is not in available state: {db_instance_identifier}")
                plane.change_password(database, password)
            return database

        def deleting(self: Any, db_instance_identifier: str, *args: Any, **options: Any) -> Any:
            database = delete(self, db_instance_identifier, *args, **options)
            plane.remove(database)
            return database

        def stopping(self: Any, db_instance_identifier: str, *args: Any, **options: Any) -> Any:
            database = stop(self, db_instance_identifier, *args, **options)
            plane.later(database, "stopping", "stopped", lambda: plane.cloud.engine.stop(plane.container(database), 30))
            return database

        def starting(self: Any, db_instance_identifier: str) -> Any:
            database = start(self, db_instance_identifier)
            plane.later(database, "starting", "available", lambda: plane.boot(database))
            return database

        def rebooting(self: Any, db_instance_identifier: str, *args: Any, **options: Any) -> Any:
            database = reboot(self, db_instance_identifier, *args, **options)
            if database.status != "available":
                raise InvalidDBInstanceStateFault(f"Database instance is not in available state: {db_instance_identifier}")

            def act() -> None:
                plane.cloud.engine.stop(plane.container(database), 30)
                plane.boot(database)

            plane.later(database, "rebooting", "available", act)
            return database

        backend.create_db_instance, backend.modify_db_instance, backend.delete_db_instance = creating, modifying, deleting
        backend.stop_db_instance, backend.start_db_instance, backend.reboot_db_instance = stopping, starting, rebooting

    def container(self, database: Any) -> str:
        return self.cloud.container_name(f"rds-{database.db_instance_identifier}")

    def later(self, database: Any, meanwhile: str, afterwards: str, act: Any) -> None:
        """Do this in the background, showing the state it is in."""
        if database.engine != "mysql":
            return
        database.status = meanwhile

        def run() -> None:
            try:
                act()
                database.status = afterwards
            except Exception:
                database.status = "failed"
                log.exception("DB instance %s: %s failed", database.db_instance_identifier, meanwhile)

        threading.Thread(target=run, daemon=True, name=f"rds {database.db_instance_identifier}").start()

    # -- containers -----------------------------------------------------------------------------------------------------------------------

    def launch(self, database: Any, password: str) -> None:
        """Create and boot the container of a new DB instance.

        CreateDBInstance answers when it is there: rds_instance and boto3's waiter would sleep for 30 seconds at every ``creating`` they see.
        """
        identifier = database.db_instance_identifier
        group = database.db_subnet_group
        if group is None:
            raise InvalidParameterValue("The local cloud makes DB instances in a DB subnet group only: DBSubnetGroupName is missing")
        database.status = "creating"  # not the thread's business yet
        subnet = group._subnets[0]
        address = self.cloud.address_in(subnet)
        database.availability_zone = subnet.availability_zone
        with self.lock:
            self.passwords[identifier], self.addresses[identifier] = password, address
            self.certificates[identifier] = self.cloud.authority.issue([database.address])
        began = time.monotonic()
        try:
            self.cloud.engine.run(
                self.container(database),
                self.cloud.image("mysql"),
                network=self.cloud.network_of(subnet.vpc_id),
                address=address,
                files=self.files(database),
                labels={"flotilla.plane": self.name},
            )
            self.wait(database)
        except Exception:
            self.remove(database)
            raise
        self.protect(database)
        self.cloud.publish(database.address, address)
        database.status = "available"
        log.info("DB instance %s is available after %.1f s", identifier, time.monotonic() - began)

    def files(self, database: Any) -> dict[str, Any]:
        identifier = database.db_instance_identifier
        certificate, key = self.certificates[identifier]
        parameters = user_parameters(database.db_parameter_groups()[0])
        self.parameters[identifier] = dict(parameters)
        statements = initial_statements(database.master_username, self.passwords[identifier], database.db_name)
        return {
            "/etc/rds/my.cnf": configuration(int(database.port), parameters).encode(),
            "/etc/rds/init.sql": (statements.encode(), 0o400),
            "/etc/rds/ca.pem": self.cloud.authority.certificate_pem,
            "/etc/rds/server.pem": certificate,
            "/etc/rds/server.key": (key, 0o400),
        }

    def boot(self, database: Any) -> None:
        """Start a stopped container with the parameters of now and wait until it serves."""
        name = self.container(database)
        self.cloud.engine.put(name, self.files(database))
        self.cloud.engine.start(name)
        self.wait(database)
        self.protected.pop(database.db_instance_identifier, None)
        self.protect(database)

    def wait(self, database: Any) -> None:
        """Until the server takes connections and its initial statements have run. RuntimeError when it ends instead, TimeoutError after a minute."""
        name, deadline = self.container(database), time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline and not self.stopping.is_set():
            if self.ping(name):
                return
            if database.status == "deleting":
                raise InvalidDBInstanceStateFault(f"DB instance {database.db_instance_identifier} was deleted while it started")
            if not self.cloud.engine.running(name):
                raise RuntimeError(
                    f"MySQL of DB instance {database.db_instance_identifier} ended while it started; its last lines: {self.cloud.engine.logs(name, 5)}"
                )
            time.sleep(0.2)
        raise TimeoutError(f"MySQL of DB instance {database.db_instance_identifier} does not start; see: docker logs {name}")

    def ping(self, name: str) -> bool:
        """The server listens only after the init file has run."""
        try:
            return bool(self.cloud.engine.exec(name, ["mysqladmin", "--user=root", "--socket=/run/mysqld/mysqld.sock", "--connect-timeout=2", "ping"])[0] == 0)
        except Exception:  # the container is not running (any more); which error says so is the engine's business
            return False

    def change_password(self, database: Any, password: str) -> None:
        identifier, name = database.db_instance_identifier, self.container(database)
        self.tell(name, f"ALTER USER {text(database.master_username)}@'%' IDENTIFIED BY {text(password)};")
        with self.lock:
            self.passwords[identifier] = password

    def apply_parameters(self, database: Any) -> None:
        """Have a running server take the dynamic parameters that were changed with the apply method ``immediate``."""
        known = self.parameters[database.db_instance_identifier]
        wanted = user_parameters(database.db_parameter_groups()[0], immediate=True)
        statements = immediate_statements(known, wanted)
        known |= wanted
        if statements:
            self.tell(self.container(database), *statements)

    def tell(self, name: str, *statements: str) -> None:
        """Run SQL as root in a container. RuntimeError with MySQL's message when it fails."""
        sql = "\n".join(statements) + "\n"
        code, output = self.cloud.engine.exec(name, ["mysql", "--user=root", "--socket=/run/mysqld/mysqld.sock"], input=sql.encode())
        if code != 0:
            raise RuntimeError(f"{name}: {output}")

    def protect(self, database: Any) -> None:
        identifier, groups = database.db_instance_identifier, list(database.vpc_security_group_ids)
        if self.protected.get(identifier) != groups:
            self.cloud.protect(self.container(database), groups)
            self.protected[identifier] = groups

    def remove(self, database: Any) -> None:
        identifier = database.db_instance_identifier
        with self.lock:
            known = self.addresses.pop(identifier, None)
            self.passwords.pop(identifier, None)
            self.certificates.pop(identifier, None)
            self.protected.pop(identifier, None)
        if known:
            self.cloud.engine.remove(self.container(database))
            database.db_subnet_group._subnets[0].del_subnet_ip(known)

    # -- the thread -----------------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.stopping.clear()
        self.thread = threading.Thread(target=self._run, daemon=True, name="rds")
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        if self.thread:
            self.thread.join(15)

    def _run(self) -> None:
        while not self.stopping.wait(1):
            for database in list(self.cloud.backend("rds").databases.values()):
                try:
                    self.heal(database)
                except Exception:
                    log.exception("DB instance %s", database.db_instance_identifier)

    def heal(self, database: Any) -> None:
        """Start a server that ended by itself; tell the firewall of changed security groups and the server of changed parameters."""
        if database.engine != "mysql" or database.status != "available" or database.db_instance_identifier not in self.addresses:
            return
        if not self.cloud.engine.running(self.container(database)):
            log.warning("DB instance %s ended; starting it", database.db_instance_identifier)
            database.status = "starting"
            try:
                self.boot(database)
            finally:
                if database.status == "starting":
                    database.status = "available"
            return
        self.protect(database)
        self.apply_parameters(database)

    def status(self) -> list[dict[str, str]]:
        """One line per DB instance for ``local_cloud status``."""
        return [
            {"kind": "database", "name": name, "state": database.status, "address": self.addresses.get(name, ""), "url": database.address}
            for name, database in list(self.cloud.backend("rds").databases.items())
        ]
