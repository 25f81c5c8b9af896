"""What the provisioning roles hand to each other and to the other playbooks: their variables, evaluated over a model and what modules would return."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder
from ansible_collections.flotilla.ec2.plugins.module_utils.stack import references
from ansible_collections.flotilla.ec2.plugins.module_utils.stack.model import load

from tests.unit.stack.samples import ENVIRONMENT, ROOT, STACK, WHOLE, WHOLE_ENVIRONMENT

ROLES = ("identity", "network", "certificate", "load_balancer", "fleet", "registry", "bucket", "media", "cache", "database", "outputs")
Evaluate = Any


def trusted(value: Any) -> Any:
    """Texts of a role's files are templates."""
    if isinstance(value, dict):
        return {key: trusted(one) for key, one in value.items()}
    if isinstance(value, list):
        return [trusted(one) for one in value]
    return trust_as_template(value) if isinstance(value, str) else value


def returned(model: dict[str, Any]) -> dict[str, Any]:
    """What the tasks would have registered."""
    subnets = [
        {"item": {**zone, "public": public}, "subnet": {"id": f"{'public' if public else 'private'}-{zone['name'][-1]}"}}
        for public in (True, False)
        for zone in model["network"]["zones"]
    ]
    balancers = [one for one in (model["internal_load_balancer"], model["internal_network_load_balancer"]) if one]
    balanced = [{"name": instance} for service in model["services"] if service["target_group"] for instance in service["instances"]]
    listeners = (model["internal_load_balancer"] or {}).get("listeners", [])
    return {
        "__identity_caller": {"account": "123456789012", "arn": "arn:aws:iam::123456789012:root"},
        "__network_vpc": {"vpc": {"id": "vpc-1"}},
        "__network_subnets": {"results": subnets},
        "__network_group_load_balancer": {"group_id": "sg-lb"},
        "__network_group_internal": {"results": [{"item": one, "group_id": f"sg-{one['type']}"} for one in balancers]},
        "__network_group_fleets": {"results": [{"item": one, "group_id": f"sg-{one['name']}"} for one in model["fleets"]]},
        "__certificate_found": {"certificates": [{"certificate_arn": "arn:certificate", "not_after": "2030-01-01"}]},
        "__load_balancer_target_groups": {"results": [{"item": one, "target_group_arn": f"arn:{one['name']}"} for one in balanced]},
        "__load_balancer": {"load_balancer_arn": "arn:lb", "dns_name": "lb.example", "listeners": [{"rules": [{"is_default": True}]}]},
        "__load_balancer_ruled": {"rules": [{"priority": str(number), "arn": f"arn:rule-{number}"} for number in (1, 2, 50000)]},
        "__load_balancer_internal_made": {"load_balancer_arn": "arn:int", "dns_name": "int.example"},
        "__load_balancer_internal_ruled": {"results": [{"item": one, "rules": [{"arn": f"arn:rule-{one['service']}"}]} for one in listeners]},
        "__load_balancer_internal_network_made": {"dns_name": "tcp.example"},
        "__cache_group": {"primary_endpoint": {"address": "cache.example", "port": 6379}},
        "__media_file_system": {"file_system_id": "fs-1", "access_points": [{"name": "web", "id": "fsap-1"}]},
        "__database_instance": {"endpoint": {"address": "db.example"}},
    }


@pytest.fixture(autouse=True, scope="module")
def finder() -> Iterator[None]:
    """Ansible's finder of collections, for these tests alone: a collection that others have imported without it has no metadata."""
    init_plugin_loader()
    yield
    _AnsibleCollectionFinder._remove()


def evaluator(stack: dict[str, Any], environment: dict[str, Any]) -> tuple[dict[str, Any], Evaluate]:
    """The model, and `evaluate(expression, **variables)` over it."""
    model = load(copy.deepcopy(stack), copy.deepcopy(environment))
    variables: dict[str, Any] = {"ansible_facts": {"flotilla": model}, **returned(model)}
    for role in ROLES:
        for folder in ("defaults", "vars"):
            path = ROOT / "roles" / role / folder / "main.yml"
            if path.exists():
                variables.update(trusted(yaml.safe_load(path.read_text(encoding="utf-8")) or {}))

    def evaluate(expression: str, **more: Any) -> Any:
        return Templar(DataLoader(), variables={**variables, **more}).template(trust_as_template(f"{{{{ {expression} }}}}"))

    return model, evaluate


@pytest.mark.parametrize(("stack", "environment"), [(STACK, ENVIRONMENT), (WHOLE, WHOLE_ENVIRONMENT)], ids=["hello", "everything"])
def test_the_outputs_answer_every_reference(stack, environment):
    model, evaluate = evaluator(stack, environment)
    outputs = evaluate("outputs_values")
    for service in model["services"]:
        found = references.resolve(service["environment"], outputs, service["name"])
        assert not any("${" in value or value == "" for value in found.values()), found


def test_only_the_fleets_of_clients_reach_a_service():
    model, evaluate = evaluator(WHOLE, WHOLE_ENVIRONMENT)
    rules = {one["name"]: evaluate("__network_client_rules", item=one) for one in evaluate("__network_internal_load_balancers")}
    assert [(rule["ports"], rule["group_id"]) for rule in rules["whole-local-int"]] == [([4567], ["sg-web"])]
    assert [(rule["ports"], rule["group_id"]) for rule in rules["whole-local-tcp"]] == [([6379], ["sg-api"])]
    assert evaluate("__network_cache_fleets") == evaluate("__network_media_fleets") == ["web"]


def test_services_that_share_a_balancer_are_told_apart_by_rules_and_one_is_the_default():
    _, evaluate = evaluator(WHOLE, WHOLE_ENVIRONMENT)
    (rule,) = evaluate("__load_balancer_rules")
    assert rule["service"] == "admin"
    assert rule["rule"] == {"priority": 1, "hosts": [], "paths": ["/admin/*"], "target_groups": ["arn:admin"]}
    assert evaluate("__load_balancer_listeners")[1]["DefaultActions"] == [{"Type": "forward", "TargetGroupName": "whole-local-web"}]
    nobody = {**WHOLE, "services": {**WHOLE["services"], "web": {**WHOLE["services"]["web"], "hosts": ["www.example.org"]}}}
    _, evaluate = evaluator(nobody, WHOLE_ENVIRONMENT)
    assert evaluate("__load_balancer_listeners")[1]["DefaultActions"][0]["Type"] == "fixed-response"
    assert [rule["rule"]["priority"] for rule in evaluate("__load_balancer_rules")] == [1, 2]


def test_a_service_with_two_colours_has_both_groups_in_one_rule_and_both_ports_behind_the_balancer_alone():
    services = {name: {**service, "strategy": "blue_green"} if name in ("web", "api") else service for name, service in WHOLE["services"].items()}
    services["admin"] = {**services["admin"], "port": 8090}
    model, evaluate = evaluator({**WHOLE, "services": services}, WHOLE_ENVIRONMENT)
    assert {rule["service"]: rule["rule"] for rule in evaluate("__load_balancer_rules")}["web"] == {
        "priority": 50000,
        "hosts": [],
        "paths": ["/*"],
        "target_groups": ["arn:web", "arn:web-green"],
    }
    (internal,) = evaluate("__load_balancer_internal_rules")
    assert (internal["service"], internal["rule"]["target_groups"]) == ("api", ["arn:api", "arn:api-green"])
    assert evaluate("load_balancer_rule_arns") == {"admin": "arn:rule-1", "web": "arn:rule-50000", "api": "arn:rule-api"}
    web = next(fleet for fleet in model["fleets"] if fleet["name"] == "web")
    assert evaluate("__fleet_instances", item=web) == ["web", "web-green", "admin"]
    ports = "__network_fleet_services | selectattr('exposure', 'eq', 'public') | map(attribute='ports') | flatten"
    assert evaluate(ports, item=web) == [8080, 8081, 8090]


def test_a_fleet_with_a_volume_stands_in_one_subnet():
    _, evaluate = evaluator(WHOLE, WHOLE_ENVIRONMENT)
    (fleet,) = evaluate("__fleet_single_zone")
    assert (fleet["name"], evaluate("__fleet_zone_subnets", item=fleet)) == ("state", ["private-a"])


def test_a_fleet_that_scales_follows_its_own_balancer_and_keeps_the_floor_of_its_schedule():
    schedule = [{"name": "morning", "cron": "0 7 * * *", "min": 3}]
    scaling = {"web": {"requests_per_target": 900, "service": "admin"}, "api": {"requests_per_target": 600, "schedule": schedule}}
    fleets = {**WHOLE["fleets"], **{name: {"max": 4, "scaling": one} for name, one in scaling.items()}}
    model, evaluate = evaluator({**WHOLE, "fleets": fleets}, WHOLE_ENVIRONMENT)
    by_name = {fleet["name"]: fleet for fleet in model["fleets"]}
    asked = {name: evaluate("__fleet_scaling", item=fleet) for name, fleet in by_name.items()}
    assert asked["web"]["requests"] == {"per_minute": 900, "load_balancer_arn": "arn:lb", "target_group_arn": "arn:admin"}
    assert asked["api"]["requests"] == {"per_minute": 600, "load_balancer_arn": "arn:int", "target_group_arn": "arn:api"}
    assert not asked["state"]

    def floor(now: int) -> int:
        found = {"results": [{"item": {"name": "api"}, "results": [{"min_size": now}]}]}
        return int(evaluate("__fleet_min", item=by_name["api"], __fleet_found=found))

    assert [floor(now) for now in (2, 3, 4)] == [2, 3, 2], "only what the schedule has set stays"


def test_a_host_of_a_fleet_that_scales_may_end_its_own_leaving_and_keep_its_logs():
    """Whatever else its role may do; without the first, each scale-in would take all the time that the lifecycle hook has."""
    found = {}
    for scaling in (None, {"cpu_percent": 60}):
        fleets = {**WHOLE["fleets"], "api": {"max": 4, **({"scaling": scaling} if scaling else {})}}
        _, evaluate = evaluator({**WHOLE, "fleets": fleets}, WHOLE_ENVIRONMENT)
        found[bool(scaling)] = {one["Sid"]: (one["Action"], one["Resource"]) for one in evaluate("__identity_policy")["Statement"]}
    assert all(found[True][sid] == statement for sid, statement in found[False].items())
    prefix = "arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:*"
    assert {sid: statement for sid, statement in found[True].items() if sid not in found[False]} == {
        "SeeOwnEnd": ("autoscaling:DescribeAutoScalingInstances", "*"),
        "LetGo": ("autoscaling:CompleteLifecycleAction", f"{prefix}:autoScalingGroupName/whole-local-*"),
        "KeepLogs": ("s3:PutObject", "arn:aws:s3:::whole-local-123456789012-eu-central-1/logs/*"),
    }
