"""The model of hello: names, defaults and references as everything else will find them."""

from __future__ import annotations

import copy
import ipaddress
import json
from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.stack import connections, references
from ansible_collections.flotilla.ec2.plugins.module_utils.stack.model import load, subnets

from .samples import ENVIRONMENT, ROOT, STACK, WHOLE, WHOLE_ENVIRONMENT


def model(stack: Any = STACK, environment: Any = ENVIRONMENT, fleets: Any = None) -> dict[str, Any]:
    return load(copy.deepcopy(stack), copy.deepcopy(environment), fleets)


def test_hello_in_local_is_what_it_was() -> None:
    """A change of this file is a change of the interface that roles, modules and playbooks read."""
    assert model() == json.loads((ROOT / "tests/unit/stack/model_hello_local.json").read_text())


def test_sizes_of_the_environment_go_before_the_stack_files_and_the_command_lines_before_both() -> None:
    larger = {**ENVIRONMENT, "fleets": {"web": {"min": 3, "instance_type": "m7g.large"}}}
    fleet = model(environment=larger)["fleets"][0]
    assert (fleet["min"], fleet["max"], fleet["instance_type"]) == (3, 4, "m7g.large")
    assert model(environment=larger, fleets={"web": {"min": "4"}})["fleets"][0]["min"] == 4


def test_a_protected_environment_keeps_its_database() -> None:
    database = model(environment={**ENVIRONMENT, "protected": True})["database"]
    assert database["deletion_protection"] and database["final_snapshot"]


def test_protection_is_the_default() -> None:
    open_ended = {key: value for key, value in ENVIRONMENT.items() if key != "protected"}
    assert model(environment=open_ended)["environment"]["protected"] is True


@pytest.mark.parametrize(("cidr", "zones"), [("10.0.0.0/16", 2), ("10.0.0.0/24", 3), ("10.0.0.0/26", 2), ("10.1.0.0/20", 6)])
def test_subnets_fit_and_never_overlap(cidr: str, zones: int) -> None:
    cut = subnets({"cidr": cidr}, [f"z{position}" for position in range(zones)])
    blocks = [ipaddress.IPv4Network(zone[kind]) for zone in cut for kind in ("public_cidr", "private_cidr")]
    assert len(blocks) == 2 * zones
    assert all(block.subnet_of(ipaddress.IPv4Network(cidr)) and 20 <= block.prefixlen <= 28 for block in blocks)
    assert not any(one.overlaps(other) for position, one in enumerate(blocks) for other in blocks[:position])


def test_a_stack_without_a_public_service_has_no_load_balancer() -> None:
    stack = {"name": "worker", "services": {"job": {"image": "worker/job", "port": 9000}}, "fleets": {"all": None}}
    found = model(stack=stack)
    assert found["load_balancer"] is None
    assert found["database"] is None
    assert found["services"][0]["fleet"] == "all"
    assert found["services"][0]["target_group"] is None
    assert (found["fleets"][0]["min"], found["fleets"][0]["max"]) == (2, 2)


def services(found: dict[str, Any]) -> dict[str, Any]:
    return {service["name"]: service for service in found["services"]}


def test_who_reaches_whom() -> None:
    found = model(WHOLE, WHOLE_ENVIRONMENT)
    by_name = services(found)
    assert found["load_balancer"]["default_service"] == "web"
    assert found["internal_load_balancer"]["name"] == "whole-local-int"
    assert found["internal_load_balancer"]["listeners"] == [{"service": "api", "port": 4567}]
    assert found["internal_network_load_balancer"]["listeners"] == [{"service": "redis", "port": 6379}]
    assert {name: service["target_group"] for name, service in by_name.items() if service["target_group"]} == {
        name: f"whole-local-{name}" for name in ("web", "admin", "api", "redis")
    }
    assert (by_name["admin"]["priority"], by_name["web"]["priority"]) == (1, None)
    assert (by_name["api"]["clients"], by_name["api"]["clients_fleets"]) == (["web"], ["web"])
    assert (by_name["redis"]["clients"], by_name["redis"]["clients_fleets"]) == (["api"], ["api"])
    assert by_name["redis"]["health"]["path"] is None
    assert found["cache"]["clients"] == ["web"] and found["media"]["services"] == ["web"]


def test_a_host_with_a_volume_stays_in_one_zone() -> None:
    found = model(WHOLE, WHOLE_ENVIRONMENT)
    assert {fleet["name"]: len(fleet["zones"]) for fleet in found["fleets"]} == {"web": 2, "api": 2, "state": 1}
    volume = services(found)["redis"]["volumes"][0]
    assert volume == {"name": "data", "path": "/data", "size_gb": 8, "mount": "/srv/flotilla/volumes/redis/data", "tag": "whole-local-redis-data"}


def test_secrets_are_files_or_variables_by_their_name() -> None:
    found = model(WHOLE, WHOLE_ENVIRONMENT)
    api = services(found)["api"]
    assert api["secrets"] == {"database_password": {"secret": "flotilla/local/whole/database-whole_api", "field": "password"}}
    assert api["secret_environment"] == {"UPLOAD_SECRET": {"secret": "flotilla/local/whole/upload_secret", "field": None}}
    assert services(found)["web"]["secrets"] == {"cache_token": {"secret": found["cache"]["token_secret"], "field": None}}
    assert found["secrets"] == [{"name": "upload_secret", "secret": "flotilla/local/whole/upload_secret", "length": 32}]


def test_each_user_has_its_schema() -> None:
    database = model(WHOLE, WHOLE_ENVIRONMENT)["database"]
    assert database["schemas"] == ["whole", "sums"] and database["name"] == "whole"
    assert [(user["service"], user["schema"]) for user in database["users"]] == [("api", "sums")]


def test_what_is_known_at_once_stands_in_the_model_and_the_environment_goes_first() -> None:
    environment = services(model(WHOLE, WHOLE_ENVIRONMENT))["web"]["environment"]
    assert (environment["PLACE"], environment["MEDIA"], environment["LOG_LEVEL"]) == ("whole in local", "/srv/media", "debug")


def test_addresses_of_services_and_cache_become_values() -> None:
    outputs = {
        "services": {"api": {"host": "int.example", "port": 4567, "url": "http://int.example:4567"}, "redis": {"host": "tcp.example", "port": 6379}},
        "cache": {"host": "cache.example", "port": 6379},
        "database": {"host": "db.example", "port": 3306, "name": "whole", "users": {"api": "whole_api"}, "schemas": {"api": "sums"}},
    }
    by_name = services(model(WHOLE, WHOLE_ENVIRONMENT))
    assert references.resolve(by_name["web"]["environment"], outputs, "web")["API_URL"] == "http://int.example:4567"
    found = references.resolve(by_name["api"]["environment"], outputs, "api")
    assert (found["REDIS"], found["DATABASE_NAME"]) == ("redis://tcp.example:6379", "sums")


def test_the_environments_vpc_goes_before_the_stack_files() -> None:
    def vpc(name: str) -> dict[str, Any]:
        return {"vpc": {"tags": {"Name": name}}, "public_subnets": {"tags": {"Tier": "public"}}, "private_subnets": {"tags": {"Tier": "private"}}}

    stack = {**STACK, "network": vpc("theirs"), "registry": {"adopt": True}}
    assert model(stack)["network"]["adopted"]["vpc"] == {"id": None, "tags": {"Name": "theirs"}}
    assert model(stack)["registry"]["adopt"] is True
    environment = {**ENVIRONMENT, "network": {"adopt": vpc("ours")}, "registry": {"adopt": False}}
    found = model(stack, environment)
    assert found["network"]["adopted"]["vpc"]["tags"] == {"Name": "ours"} and found["network"]["zones"] == []
    assert found["registry"]["adopt"] is False


def test_a_service_with_two_colours_is_blue_where_it_was_and_green_beside_it() -> None:
    stack = copy.deepcopy(STACK)
    stack["services"]["web"]["strategy"] = "blue_green"
    web = services(model(stack))["web"]
    assert web["colours"] == {
        "blue": {"instance": "web", "port": 8080, "target_group": "hello-local-web"},
        "green": {"instance": "web-green", "port": 8081, "target_group": "hello-local-web-green"},
    }
    assert (web["instances"], web["ports"], web["target_group"]) == (["web", "web-green"], [8080, 8081], "hello-local-web")
    assert web["release"]["weights"] == [10, 50, 100] and web["release"]["retire_after_seconds"] is None


def test_references_become_values_for_the_service_that_asks() -> None:
    outputs = {"database": {"host": "db.example", "port": 3306, "name": "hello", "users": {"web": "hello_web"}}}
    found = references.resolve({"URL": "mysql://${database.user}@${database.host}:${database.port}", "PLAIN": "x"}, outputs, "web")
    assert found == {"URL": "mysql://hello_web@db.example:3306", "PLAIN": "x"}


def test_a_reference_before_provisioning_says_what_to_run() -> None:
    with pytest.raises(references.UnknownReference, match="run provision.yml first"):
        references.resolve({"HOST": "${database.host}"}, {}, "web")


def test_a_developers_key_may_end_as_its_file_does() -> None:
    found = model(WHOLE, {**WHOLE_ENVIRONMENT, "developers": [{"name": "ada", "public_key": "ssh-ed25519 AAAA ada\n"}]})
    assert found["developers"] == [{"name": "ada", "public_key": "ssh-ed25519 AAAA ada"}]


def test_a_fleet_follows_its_targets_and_its_schedule() -> None:
    morning = {"name": "morning", "cron": "0 7 * * 1-5", "min": 3}
    stack = copy.deepcopy(STACK)
    stack["fleets"]["web"]["scaling"] = {"cpu_percent": 60, "requests_per_target": 1200, "schedule": [morning]}
    found = model(stack)["fleets"][0]["scaling"]
    assert (found["cpu_percent"], found["requests"]) == (60, {"service": "web", "per_minute": 1200})
    assert (found["warmup_seconds"], found["scale_in"], found["leave_seconds"]) == (120, True, 65)
    assert found["schedule"] == [{**morning, "time_zone": "Etc/UTC", "desired": None}]
    stack["fleets"]["web"]["scaling"] = {"schedule": [morning]}
    assert model(stack)["fleets"][0]["scaling"]["schedule"][0]["desired"] == 3
    assert model(stack, {**ENVIRONMENT, "fleets": {"web": {"scaling": {"cpu_percent": 40}}}})["fleets"][0]["scaling"]["cpu_percent"] == 40


@pytest.mark.parametrize(
    ("instance_class", "seen"), [("db.t3.micro", 66), ("db.t3.small", 150), ("db.t3.medium", 312), ("db.m5.large", 648), ("db.r4.large", 1257)]
)
def test_what_a_database_class_allows_is_never_overstated(instance_class: str, seen: int) -> None:
    """`seen`: about what such instances have been reported to say, those of MySQL, or by the memory that PostgreSQL's limits show (198, 413, 856, 1660)."""
    limit = connections.allowed(instance_class)
    assert limit is not None and seen * 0.75 <= limit <= seen


@pytest.mark.parametrize("instance_class", ["db.m5.medium", "db.z9.large", "db.serverless"])
def test_a_class_that_is_not_in_the_table_is_not_judged(instance_class: str) -> None:
    assert connections.allowed(instance_class) is None
    stack = copy.deepcopy(STACK)
    stack["services"]["web"]["database_connections"] = 5000
    model(stack, {**ENVIRONMENT, "database": {**ENVIRONMENT["database"], "instance_class": "db.z9.large"}})
