"""A VPC over two zones, and security groups that let in who has to come in, and nobody else."""

import pytest


@pytest.fixture(scope="module")
def vpc(aws, ours):
    (found,) = aws("ec2").describe_vpcs(Filters=ours)["Vpcs"]
    return found


@pytest.fixture(scope="module")
def inside(vpc):
    return [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]


@pytest.fixture(scope="module")
def groups(aws, inside):
    return {group["GroupName"]: group for group in aws("ec2").describe_security_groups(Filters=inside)["SecurityGroups"]}


def rules(group):
    """Who is let in: (protocol, from, to, sources), sources being address ranges or ids of groups."""
    return sorted(
        (rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort"), source)
        for rule in group["IpPermissions"]
        for source in [one["CidrIp"] for one in rule["IpRanges"]] + [one["GroupId"] for one in rule["UserIdGroupPairs"]]
    )


def test_the_vpc_is_the_environments(aws, vpc, tags):
    assert vpc["CidrBlock"] == "198.19.56.0/21"
    assert {tag["Key"]: tag["Value"] for tag in vpc["Tags"]} == {**tags, "Name": "network-test"}
    for attribute in ("enableDnsSupport", "enableDnsHostnames"):
        answer = aws("ec2").describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute=attribute)
        assert answer[attribute[0].upper() + attribute[1:]]["Value"] is True


def test_each_zone_has_a_subnet_with_a_way_in_and_one_with_a_way_out_only(aws, inside):
    ec2 = aws("ec2")
    (gateway,) = ec2.describe_nat_gateways(Filters=[*inside, {"Name": "state", "Values": ["available"]}])["NatGateways"]
    (internet,) = ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": inside[0]["Values"]}])["InternetGateways"]
    ways = {}
    for table in ec2.describe_route_tables(Filters=inside)["RouteTables"]:
        for route in table["Routes"]:
            if route.get("DestinationCidrBlock") == "0.0.0.0/0":
                for association in table["Associations"]:
                    ways[association.get("SubnetId")] = route.get("GatewayId") or route.get("NatGatewayId")
    subnets = ec2.describe_subnets(Filters=inside)["Subnets"]
    assert [subnet["SubnetId"] for subnet in subnets if subnet["MapPublicIpOnLaunch"]] == []
    seen = sorted((subnet["AvailabilityZone"], ways[subnet["SubnetId"]]) for subnet in subnets)
    by_zone = {zone: {way for where, way in seen if where == zone} for zone in ("eu-central-1a", "eu-central-1b")}
    assert len(seen) == 4
    assert all(found == {internet["InternetGatewayId"], gateway["NatGatewayId"]} for found in by_zone.values()), seen
    # The gateway itself stands where it can get out.
    assert ways[gateway["SubnetId"]] == internet["InternetGatewayId"]


def test_each_group_lets_in_those_before_it_by_reference_and_nothing_wider(groups):
    assert set(groups) == {"default", "network-test-lb", "network-test-web", "network-test-database"}
    balancer, fleet = groups["network-test-lb"]["GroupId"], groups["network-test-web"]["GroupId"]
    assert rules(groups["network-test-lb"]) == [("tcp", 80, 80, "0.0.0.0/0"), ("tcp", 443, 443, "0.0.0.0/0")]
    assert rules(groups["network-test-web"]) == [("tcp", 22, 22, "198.19.48.1/32"), ("tcp", 8080, 8080, balancer)]
    assert rules(groups["network-test-database"]) == [("tcp", 3306, 3306, fleet)]


def test_nothing_leaves_the_database_and_the_default_group_is_shut(groups):
    assert groups["network-test-database"]["IpPermissionsEgress"] == []
    assert groups["default"]["IpPermissions"] == groups["default"]["IpPermissionsEgress"] == []
