# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A VPC that exists: find it, and say what it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ANYWHERE = "0.0.0.0/0"
# Where a default route of hosts without public addresses may lead. An internet gateway is of no use to them.
WAYS_OUT = ("NatGatewayId", "TransitGatewayId", "InstanceId", "NetworkInterfaceId", "VpcPeeringConnectionId")


def filters(selection: Mapping[str, Any], identifier: str) -> list[dict[str, Any]]:
    """The filters of a Describe call: by ids or by tags. `identifier` is the filter's name for ids, vpc-id for example."""
    ids = selection.get("ids") or ([selection["id"]] if selection.get("id") else [])
    if ids:
        return [{"Name": identifier, "Values": list(ids)}]
    return [{"Name": f"tag:{key}", "Values": [str(value)]} for key, value in sorted((selection.get("tags") or {}).items())]


def words(selection: Mapping[str, Any]) -> str:
    """A selection as an error names it."""
    ids = selection.get("ids") or ([selection["id"]] if selection.get("id") else [])
    return ", ".join(ids) if ids else ", ".join(f"{key}={value}" for key, value in sorted((selection.get("tags") or {}).items()))


def look(ec2: Any, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """All that is known of the VPC; nothing is judged."""
    vpcs = ec2.describe_vpcs(Filters=filters(wanted["vpc"], "vpc-id"))["Vpcs"]
    if len(vpcs) != 1:
        return {"vpcs": vpcs}
    vpc = [{"Name": "vpc-id", "Values": [vpcs[0]["VpcId"]]}]
    found = {
        "vpcs": vpcs,
        "attributes": {
            name: ec2.describe_vpc_attribute(VpcId=vpcs[0]["VpcId"], Attribute=name)[name[0].upper() + name[1:]]["Value"]
            for name in ("enableDnsSupport", "enableDnsHostnames")
        },
        "tables": ec2.describe_route_tables(Filters=vpc)["RouteTables"],
    }
    for kind in ("public_subnets", "private_subnets"):
        found[kind] = sorted(
            ec2.describe_subnets(Filters=vpc + filters(wanted[kind], "subnet-id"))["Subnets"], key=lambda one: (one["AvailabilityZone"], one["SubnetId"])
        )
    return found


def route(tables: list[dict[str, Any]], subnet_id: str) -> dict[str, Any]:
    """The default route of a subnet: of its own table, or of the VPC's main one. Empty when it has none."""
    own = [table for table in tables if any(one.get("SubnetId") == subnet_id for one in table["Associations"])]
    own = own or [table for table in tables if any(one.get("Main") for one in table["Associations"])]
    routes = own[0]["Routes"] if own else []
    return next((one for one in routes if one.get("DestinationCidrBlock") == ANYWHERE and one.get("State", "active") == "active"), {})


def problems(found: Mapping[str, Any], wanted: Mapping[str, Any], addresses: int) -> list[str]:
    """What does not fit, each with its fix. `addresses`: free ones that each subnet must have."""
    if len(found["vpcs"]) != 1:
        ids = ", ".join(one["VpcId"] for one in found["vpcs"]) or "none"
        return [f"vpc: {words(wanted['vpc'])} names {len(found['vpcs'])} VPCs ({ids}); name exactly one"]
    texts = [
        f"vpc {found['vpcs'][0]['VpcId']}: {name} is off, and names of databases and load balancers would not resolve; switch it on"
        for name, value in found["attributes"].items()
        if not value
    ]
    for kind in ("public_subnets", "private_subnets"):
        subnets = found[kind]
        missing = set(wanted[kind].get("ids") or []) - {one["SubnetId"] for one in subnets}
        if missing:
            texts.append(f"{kind}: {', '.join(sorted(missing))} not found in {found['vpcs'][0]['VpcId']}; name subnets of that VPC")
        zones = sorted({one["AvailabilityZone"] for one in subnets})
        if len(zones) < 2:
            texts.append(f"{kind}: {words(wanted[kind])} is in {', '.join(zones) or 'no zone'}; subnets in two zones are needed at least")
        for one in subnets:
            texts += _subnet(kind, one, route(found["tables"], one["SubnetId"]), addresses)
    both = {one["SubnetId"] for one in found["public_subnets"]} & {one["SubnetId"] for one in found["private_subnets"]}
    if both:
        texts.append(f"{', '.join(sorted(both))}: named as public and as private; a subnet is one of them")
    return texts


def _subnet(kind: str, subnet: Mapping[str, Any], way: Mapping[str, Any], addresses: int) -> list[str]:
    name = f"{kind}: {subnet['SubnetId']} ({subnet['AvailabilityZone']})"
    texts = []
    if kind == "public_subnets" and not str(way.get("GatewayId", "")).startswith("igw-"):
        texts.append(f"{name} has no route to an internet gateway; nobody would reach the load balancer: add one, or name another subnet")
    if kind == "private_subnets" and not any(way.get(key) for key in WAYS_OUT):
        seen = f" (its default route leads to {way['GatewayId']})" if way.get("GatewayId") else ""
        texts.append(f"{name} has no route to a NAT gateway{seen}; hosts would reach neither registry nor AWS: add one, or name another subnet")
    if subnet["AvailableIpAddressCount"] < addresses:
        texts.append(f"{name} has {subnet['AvailableIpAddressCount']} free addresses and {addresses} are needed; free some, or name a larger one")
    return texts


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a task returns of it."""
    return {
        "vpc_id": found["vpcs"][0]["VpcId"],
        "cidr_block": found["vpcs"][0]["CidrBlock"],
        **{kind: [{"id": one["SubnetId"], "zone": one["AvailabilityZone"]} for one in found[kind]] for kind in ("public_subnets", "private_subnets")},
    }
