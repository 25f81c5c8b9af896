"""Where moto's RDS differs from AWS in ways that Ansible's modules or a caller notice."""

from __future__ import annotations

import re
import secrets
import string
from typing import Any

from moto.rds import models
from moto.rds.exceptions import InvalidParameterCombination, InvalidParameterValue, RDSClientError

# Parameters of the MySQL 8 families with data type, apply type and allowed values (DescribeDBParameters of a mysql8.4 group). With moto's
# empty catalogue rds_instance_param_group ignores every parameter, saying so only in "errors" of its result.
PARAMETERS: dict[str, tuple[str, str, str]] = {
    "binlog_format": ("string", "dynamic", "ROW,STATEMENT,MIXED"),
    "character_set_server": ("string", "dynamic", ""),
    "collation_server": ("string", "dynamic", ""),
    "connect_timeout": ("integer", "dynamic", "2-31536000"),
    "event_scheduler": ("string", "dynamic", "ON,OFF"),
    "general_log": ("boolean", "dynamic", "0,1"),
    "group_concat_max_len": ("integer", "dynamic", "4-18446744073709547520"),
    "innodb_buffer_pool_size": ("integer", "dynamic", "5242880-9223372036854775807"),
    "innodb_flush_log_at_trx_commit": ("integer", "dynamic", "0-2"),
    "innodb_lock_wait_timeout": ("integer", "dynamic", "1-1073741824"),
    "innodb_print_all_deadlocks": ("boolean", "dynamic", "0,1"),
    "interactive_timeout": ("integer", "dynamic", "1-31536000"),
    "local_infile": ("boolean", "dynamic", "0,1"),
    "log_bin_trust_function_creators": ("boolean", "dynamic", "0,1"),
    "log_output": ("string", "dynamic", "TABLE,FILE,NONE"),
    "long_query_time": ("float", "dynamic", "0-31536000"),
    "max_allowed_packet": ("integer", "dynamic", "1024-1073741824"),
    "max_connect_errors": ("integer", "dynamic", "1-9223372036854775807"),
    "max_connections": ("integer", "dynamic", "1-100000"),
    "max_execution_time": ("integer", "dynamic", "0-18446744073709551615"),
    "net_read_timeout": ("integer", "dynamic", "1-31536000"),
    "net_write_timeout": ("integer", "dynamic", "1-31536000"),
    "performance_schema": ("boolean", "static", "0,1"),
    "require_secure_transport": ("boolean", "dynamic", "0,1"),
    "slow_query_log": ("boolean", "dynamic", "0,1"),
    "sort_buffer_size": ("integer", "dynamic", "32768-18446744073709551615"),
    "sql_mode": ("string", "dynamic", ""),
    "table_open_cache": ("integer", "dynamic", "1-524288"),
    "time_zone": ("string", "dynamic", ""),
    "tls_version": ("string", "static", "TLSv1.2,TLSv1.3"),
    "tmp_table_size": ("integer", "dynamic", "1024-9223372036854775807"),
    "transaction_isolation": ("string", "dynamic", "READ-UNCOMMITTED,READ-COMMITTED,REPEATABLE-READ,SERIALIZABLE"),
    "wait_timeout": ("integer", "dynamic", "1-31536000"),
}
PARAMETERS |= dict.fromkeys(("innodb_file_per_table", "skip_name_resolve"), ("boolean", "static", "0,1"))
PARAMETERS |= dict.fromkeys(("character_set_client", "character_set_connection", "init_connect"), ("string", "dynamic", ""))


def allowed(name: str, value: str) -> bool:
    """Whether RDS would take this value for the parameter. Formulas ({DBInstanceClassMemory/…}) are taken as they are."""
    kind, _, values = PARAMETERS[name]
    if value == "" or "{" in value or not values:
        return True
    if kind == "boolean":
        return value in ("0", "1")
    if kind in ("integer", "float"):
        low, high = values.split("-")
        try:
            return float(low) <= float(value) <= float(high)
        except ValueError:
            return False
    return all(part in values.split(",") for part in value.split(","))


def _parameter_groups() -> None:
    original, update = models.DBParameterGroup.__init__, models.DBParameterGroup.update_parameters

    def init(self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        if str(self.family).startswith("mysql"):
            for name, (kind, apply_type, values) in PARAMETERS.items():
                self.parameters[name].update(
                    ParameterName=name,
                    Description=name,
                    DataType=kind,
                    ApplyType=apply_type,
                    AllowedValues=values,
                    IsModifiable=True,
                    Source="engine-default",
                    ApplyMethod="pending-reboot",
                )

    def update_parameters(self: Any, new_parameters: Any) -> None:
        changes = list(new_parameters)
        for one in changes:
            name, value = one["ParameterName"], str(one.get("ParameterValue", ""))
            if str(self.family).startswith("mysql"):
                # ModifyDBParameterGroup: InvalidParameterValue / InvalidParameterCombination
                if name not in PARAMETERS:
                    raise InvalidParameterValue(f"Could not find parameter with name: {name}")
                if not allowed(name, value):
                    raise InvalidParameterValue(f"Value: {value} is outside of range: {PARAMETERS[name][2]} for parameter: {name}")
                if PARAMETERS[name][1] == "static" and one.get("ApplyMethod") == "immediate":
                    raise InvalidParameterCombination("cannot use immediate apply method for static parameter")
        update(self, [{**one, "Source": "user"} for one in changes])

    models.DBParameterGroup.__init__, models.DBParameterGroup.update_parameters = init, update_parameters
    describe, delete = models.RDSBackend.describe_db_parameter_groups, models.RDSBackend.delete_db_parameter_group

    def describe_db_parameter_groups(self: Any, options: dict[str, Any]) -> Any:
        found = describe(self, options)
        if options.get("db_parameter_group_name") and not found:
            raise models.DBParameterGroupNotFoundError(options["db_parameter_group_name"])
        return found

    def delete_db_parameter_group(self: Any, db_parameter_group_name: str) -> Any:
        if any(one.db_parameter_group_name == db_parameter_group_name for one in self.databases.values()):
            message = "One or more database instances are still members of this parameter group, so the group cannot be deleted"
            raise RDSClientError("InvalidDBParameterGroupState", message)
        return delete(self, db_parameter_group_name)

    models.RDSBackend.describe_db_parameter_groups = describe_db_parameter_groups
    models.RDSBackend.delete_db_parameter_group = delete_db_parameter_group


def _subnet_groups() -> None:
    original = models.RDSBackend.delete_subnet_group

    def delete_subnet_group(self: Any, subnet_name: str) -> Any:
        if any(one.db_subnet_group and one.db_subnet_group.name == subnet_name for one in self.databases.values()):
            message = f"Cannot delete the subnet group '{subnet_name}' because at least one database instance is still using it."
            raise RDSClientError("InvalidDBSubnetGroupStateFault", message)
        return original(self, subnet_name)

    models.RDSBackend.delete_subnet_group = delete_subnet_group


def _instances() -> None:
    original, delete = models.DBInstance.__init__, models.RDSBackend.delete_db_instance

    def init(self: Any, *args: Any, **options: Any) -> None:
        password = options.get("master_user_password")
        # CreateDBInstance, MasterUserPassword for MySQL: 8 to 41 characters, printable ASCII without / " @ and space
        if options.get("engine") == "mysql" and password is not None and not re.fullmatch(r"[!#-.0-?A-~]{8,41}", password):
            message = "The parameter MasterUserPassword is not a valid password. Only printable ASCII characters besides '/', '@', '\"', ' ' may be used."
            raise InvalidParameterValue(message)
        original(self, *args, **options)
        if options.get("engine") == "mysql" and not options.get("engine_version"):
            self.engine_version = "8.4.6"
        if self.storage_type == "gp3":
            # User guide, gp3 storage: a baseline of 3000 IOPS and 125 MiB/s below 400 GiB, and DescribeDBInstances says so; rds_instance reads both.
            self.iops, self.storage_throughput = self.iops or 3000, self.storage_throughput or 125
        letters = string.ascii_uppercase + string.digits
        self.dbi_resource_id = "db-" + "".join(secrets.choice(letters) for _ in range(26))

    def delete_db_instance(
        self: Any,
        db_instance_identifier: str,
        final_db_snapshot_identifier: str | None = None,
        skip_final_snapshot: bool | None = False,
        delete_automated_backups: bool | None = True,
    ) -> Any:
        # DeleteDBInstance: FinalDBSnapshotIdentifier "must be specified" unless SkipFinalSnapshot, and must not be with it.
        known = self.databases.get(db_instance_identifier)
        if known and not known.deletion_protection and bool(skip_final_snapshot) == bool(final_db_snapshot_identifier):
            raise InvalidParameterCombination("FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified, and only then.")
        return delete(self, db_instance_identifier, final_db_snapshot_identifier, skip_final_snapshot, delete_automated_backups)

    models.DBInstance.__init__, models.RDSBackend.delete_db_instance = init, delete_db_instance


def apply() -> None:
    """Correct moto, once, before it serves."""
    _parameter_groups()
    _subnet_groups()
    _instances()
