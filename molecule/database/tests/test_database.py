"""A private, encrypted database that takes TLS only, and a user that may do what its service needs and no more."""

import base64
import json

import pytest

IDENTIFIER = "database-test"
AUTHORITY = "/etc/ssl/certs/flotilla-database.pem"
# Runs on a host of the fleet, with the user's password on standard input. Prints an error's number, or the answer's rows.
CLIENT = """
import json, ssl, sys, pymysql
asked = json.load(sys.stdin)
tls = {"ssl": ssl.create_default_context(cafile=asked["authority"])} if asked["tls"] else {"ssl_disabled": True}
try:
    session = pymysql.connect(host=asked["host"], user=asked["user"], password=asked["password"], database=asked["schema"], connect_timeout=10, **tls)
    with session.cursor() as cursor:
        for statement in asked["statements"]:
            cursor.execute(statement)
        print(json.dumps(cursor.fetchall()))
except pymysql.MySQLError as error:
    print(json.dumps({"error": error.args[0], "text": str(error)}))
"""


@pytest.fixture(scope="module")
def instance(aws):
    (found,) = aws("rds").describe_db_instances(DBInstanceIdentifier=IDENTIFIER)["DBInstances"]
    return found


@pytest.fixture(scope="module")
def secrets(aws):
    manager = aws("secretsmanager")
    return {
        name: json.loads(manager.get_secret_value(SecretId=f"flotilla/test/database/database-{name}")["SecretString"]) for name in ("master", "database_web")
    }


@pytest.fixture
def sql(host, instance, secrets):
    def sql(*statements, tls=True, authority=AUTHORITY, schema="database"):
        secret = secrets["database_web"]
        asked = {
            "host": instance["Endpoint"]["Address"],
            "user": secret["username"],
            "password": secret["password"],
            "schema": schema,
            "authority": authority,
            "tls": tls,
            "statements": statements,
        }
        return json.loads(host.check_output("printf %%s %s | base64 -d | python3 -c %s", base64.b64encode(json.dumps(asked).encode()).decode(), CLIENT))

    return sql


def test_it_is_private_encrypted_and_backed_up(instance, tags):
    assert (instance["Engine"], instance["StorageEncrypted"], instance["PubliclyAccessible"]) == ("mysql", True, False)
    assert (instance["BackupRetentionPeriod"], instance["AutoMinorVersionUpgrade"]) == (3, False)
    assert {tag["Key"]: tag["Value"] for tag in instance["TagList"]} == tags


def test_its_parameter_group_requires_tls(aws, instance):
    (group,) = instance["DBParameterGroups"]
    pages = aws("rds").get_paginator("describe_db_parameters").paginate(DBParameterGroupName=group["DBParameterGroupName"])
    ours = [one for page in pages for one in page["Parameters"] if one.get("Source") == "user"]
    assert {one["ParameterName"]: one.get("ParameterValue") for one in ours} == {"require_secure_transport": "1"}


def test_its_passwords_are_generated_and_the_users_secret_is_all_that_a_service_needs(instance, secrets):
    assert secrets["master"]["password"] != secrets["database_web"]["password"]
    assert all(len(one["password"]) >= 24 for one in secrets.values())
    user = secrets["database_web"]
    assert (user["username"], user["host"], str(user["port"]), user["dbname"]) == ("database_web", instance["Endpoint"]["Address"], "3306", "database")


def test_the_user_works_in_its_schema_over_verified_tls(sql):
    rows = sql("CREATE TABLE IF NOT EXISTS seen (id INT PRIMARY KEY)", "REPLACE INTO seen VALUES (1)", "SELECT id FROM seen")
    assert rows == [[1]]
    assert sql("SHOW STATUS LIKE 'Ssl_version'")[0][1].startswith("TLSv1.")


def test_without_tls_or_with_another_authority_there_is_no_connection(sql):
    assert sql("SELECT 1", tls=False)["error"] in (1045, 3159)
    assert "certificate verify failed" in sql("SELECT 1", authority="/etc/ssl/certs/ca-certificates.crt")["text"]


def test_the_user_may_do_no_more(sql):
    """1044, 1045, 1142, 1227: access denied to the schema, with FILE, to the table, for want of a privilege."""
    assert sql("SELECT user FROM mysql.user")["error"] == 1142
    assert sql("CREATE DATABASE other")["error"] == 1044
    assert sql("CREATE USER other")["error"] == 1227
    assert sql("SET GLOBAL require_secure_transport = OFF")["error"] == 1227
    assert sql("SELECT 1", schema="mysql")["error"] == 1044
    grants = [row[0] for row in sql("SHOW GRANTS")]
    assert grants[0].startswith("GRANT USAGE ON *.*"), grants
    assert len(grants) == 2 and " ON `database`.* TO " in grants[1] and "GRANT OPTION" not in grants[1], grants
