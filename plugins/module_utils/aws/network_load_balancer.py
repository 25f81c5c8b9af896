# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An internal Network Load Balancer with security groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.aws.common import Step, code_of, missing_tags, tag_list


def find(elbv2: Any, name: str) -> dict[str, Any] | None:
    """The load balancer with its listeners, attributes and tags, or None. ValueError when the name is that of another kind."""
    try:
        found: dict[str, Any] = elbv2.describe_load_balancers(Names=[name])["LoadBalancers"][0]
    except elbv2.exceptions.ClientError as error:
        if code_of(error) == "LoadBalancerNotFound":
            return None
        raise
    if found["Type"] != "network":
        raise ValueError(f"{name} is a load balancer of type {found['Type']} already; delete it, or take another name")
    arn = found["LoadBalancerArn"]
    return {
        **found,
        "Listeners": elbv2.describe_listeners(LoadBalancerArn=arn)["Listeners"],
        "Attributes": {one["Key"]: one["Value"] for one in elbv2.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]},
        "Tags": elbv2.describe_tags(ResourceArns=[arn])["TagDescriptions"][0]["Tags"],
    }


def creation(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of CreateLoadBalancer. Security groups can be given at creation only: a balancer made without never gets any."""
    return {
        "Name": wanted["name"],
        "Type": "network",
        "Scheme": "internal",
        "Subnets": list(wanted["subnets"]),
        "SecurityGroups": list(wanted["security_groups"]),
        **({"Tags": tag_list(wanted["tags"])} if wanted["tags"] else {}),
    }


def steps(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Step]:
    """The calls that lead from what is there to what is wanted; none when nothing differs."""
    arn = current["LoadBalancerArn"]
    found: list[Step] = []
    if {zone["SubnetId"] for zone in current["AvailabilityZones"]} != set(wanted["subnets"]):
        found.append(("set_subnets", {"LoadBalancerArn": arn, "Subnets": list(wanted["subnets"])}))
    if set(current.get("SecurityGroups") or []) != set(wanted["security_groups"]):
        found.append(("set_security_groups", {"LoadBalancerArn": arn, "SecurityGroups": list(wanted["security_groups"])}))
    attributes = {
        "load_balancing.cross_zone.enabled": str(bool(wanted["cross_zone"])).lower(),
        "deletion_protection.enabled": str(bool(wanted["deletion_protection"])).lower(),
    }
    differ = [{"Key": key, "Value": value} for key, value in attributes.items() if current["Attributes"].get(key, "false") != value]
    if differ:
        found.append(("modify_load_balancer_attributes", {"LoadBalancerArn": arn, "Attributes": differ}))
    tags = missing_tags(current["Tags"], wanted["tags"])
    if tags:
        found.append(("add_tags", {"ResourceArns": [arn], "Tags": tags}))
    return found + _listener_steps(arn, current["Listeners"], wanted["listeners"])


def _listener_steps(arn: str, current: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> list[Step]:
    ports = {listener["Port"]: listener for listener in current}
    found: list[Step] = [
        ("delete_listener", {"ListenerArn": listener["ListenerArn"]}) for port, listener in ports.items() if port not in {one["port"] for one in wanted}
    ]
    for one in wanted:
        actions = [{"Type": "forward", "TargetGroupArn": one["target_group_arn"]}]
        listener = ports.get(one["port"])
        if listener is None:
            found.append(("create_listener", {"LoadBalancerArn": arn, "Protocol": "TCP", "Port": one["port"], "DefaultActions": actions}))
        elif [action.get("TargetGroupArn") for action in listener["DefaultActions"]] != [one["target_group_arn"]]:
            found.append(("modify_listener", {"ListenerArn": listener["ListenerArn"], "DefaultActions": actions}))
    return found


def removal(current: Mapping[str, Any]) -> list[Step]:
    """The calls that delete it."""
    arn = current["LoadBalancerArn"]
    found: list[Step] = []
    if current["Attributes"].get("deletion_protection.enabled") == "true":
        attribute = {"Key": "deletion_protection.enabled", "Value": "false"}
        found.append(("modify_load_balancer_attributes", {"LoadBalancerArn": arn, "Attributes": [attribute]}))
    return [*found, ("delete_load_balancer", {"LoadBalancerArn": arn})]
