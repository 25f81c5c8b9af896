"""The model of hello: names, defaults and references as everything else will find them."""

from __future__ import annotations

import copy
import ipaddress
import json
from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.stack import references
from ansible_collections.flotilla.ec2.plugins.module_utils.stack.model import load, subnets

from .samples import ENVIRONMENT, ROOT, STACK


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


def test_references_become_values_for_the_service_that_asks() -> None:
    outputs = {"database": {"host": "db.example", "port": 3306, "name": "hello", "users": {"web": "hello_web"}}}
    found = references.resolve({"URL": "mysql://${database.user}@${database.host}:${database.port}", "PLAIN": "x"}, outputs, "web")
    assert found == {"URL": "mysql://hello_web@db.example:3306", "PLAIN": "x"}


def test_a_reference_before_provisioning_says_what_to_run() -> None:
    with pytest.raises(references.UnknownReference, match="run provision.yml first"):
        references.resolve({"HOST": "${database.host}"}, {}, "web")
